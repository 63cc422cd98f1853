"""Choose the camera topics of a recording when the user names none."""

from __future__ import annotations

import re
from collections.abc import Sequence

from activesam_ros.recordings.recorded_frames import RecordedFrame, Recording
from activesam_ros.recordings.serialization import IMAGE

_ONE_CHANNEL = re.compile(r"mono\d+|\d+[USF]C1")


def chosen_topics(recording: Recording, names: Sequence[str]) -> tuple[str, ...]:
    """``names`` without duplicates; the camera topics of the recording when ``names`` is empty.

    A single image topic is the camera topic. Of several, those whose first image has color are;
    this leaves out labels, depth and masks. A compressed copy of another camera topic is left out.
    Raises RecordingError listing the image topics when a name is wrong or no topic qualifies.
    """
    if names:
        return tuple(recording.image_topic(name).name for name in dict.fromkeys(names))
    # A topic may have images of two types.
    filled = list(
        dict.fromkeys(topic.name for topic in recording.image_topics if topic.messages != 0)
    )
    if not filled:
        listed = ", ".join(f"{topic.name} ({topic.message_type})" for topic in recording.topics)
        raise recording.refusal(
            f"{recording.path} has no readable sensor_msgs image; its topics are "
            f"{listed or 'none'}."
        )
    if len(filled) == 1:
        return (filled[0],)
    colored = [name for name in filled if _has_color(next(recording.frames([name]), None))]
    copies = {f"{name}/compressed" for name in colored}
    cameras = tuple(name for name in colored if name not in copies)
    if not cameras:
        raise recording.refusal(
            f"No image topic of {recording.path} has color; choose one of {', '.join(filled)} with "
            "--topic."
        )
    return cameras


def _has_color(frame: RecordedFrame | None) -> bool:
    if frame is None or frame.message is None:
        return False
    if frame.message_type == IMAGE:
        return _ONE_CHANNEL.fullmatch(frame.message.encoding) is None
    # image_transport writes "rgb8; jpeg compressed bgr8", other publishers just "jpeg".
    encoding = frame.message.format.split(";")[0].strip()
    is_depth = "compressedDepth" in frame.message.format
    return not is_depth and _ONE_CHANNEL.fullmatch(encoding) is None
