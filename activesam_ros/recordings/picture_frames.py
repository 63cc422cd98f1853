"""Image files, or a video, read as the frames of one camera, as those of a recording are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from activesam_ros.errors import ImageError, UsageError, printable
from activesam_ros.image_files import FULL_BIT_DEPTH, MAX_IMAGE_PIXELS, read_image
from activesam_ros.recordings.formats.decompression import DEFAULT_MAX_MESSAGE_MIB
from activesam_ros.recordings.input_files import InputKind, expand_inputs
from activesam_ros.recordings.recorded_frames import RecordedFrame, open_recording
from activesam_ros.recordings.serialization import IMAGE, header, new
from activesam_ros.recordings.video_files import open_video

TOPIC = "/image"
"""The image topic of files."""
# Image files have no times; streaming needs some.
IMAGE_GAP_NS = 100_000_000


class FrameSource(Protocol):
    """What has frames: a recording, image files or a video."""

    @property
    def files(self) -> tuple[Path, ...]: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    def message_count(self, topics: Sequence[str]) -> int | None: ...

    def frames(self, topics: Sequence[str]) -> Iterator[RecordedFrame]: ...


class ImageSequence:
    """Image files as the frames of one camera, 0.1 s apart, their names as ``frame_id``.

    bit_depth, max_pixels: as in Settings.
    """

    def __init__(
        self,
        files: Sequence[Path],
        bit_depth: int = FULL_BIT_DEPTH,
        max_pixels: int = MAX_IMAGE_PIXELS,
    ) -> None:
        self.files = tuple(files)
        self._bit_depth = bit_depth
        self._max_pixels = max_pixels
        self.notes: tuple[str, ...] = ()

    def message_count(self, topics: Sequence[str]) -> int:
        """The number of files."""
        return len(self.files)

    def frames(self, topics: Sequence[str]) -> Iterator[RecordedFrame]:
        """Every file in order; one that cannot be read is a frame with a ``problem``."""
        for place, path in enumerate(self.files):
            try:
                image = read_image(path, self._bit_depth, self._max_pixels)
                yield _frame(path, place * IMAGE_GAP_NS, image)
            except ImageError as error:
                yield _frame(path, place * IMAGE_GAP_NS, None, str(error).rstrip("."))


class VideoFrames:
    """A video as the frames of one camera: stamps from 0, the file's name as ``frame_id``.

    max_pixels: as in Settings.

    Raises RecordingError if the video cannot be opened.
    """

    def __init__(self, path: Path, max_pixels: int = MAX_IMAGE_PIXELS) -> None:
        self._video = open_video(path, max_pixels)
        self.files = (path,)
        self.notes: tuple[str, ...] = ()

    def message_count(self, topics: Sequence[str]) -> int | None:
        """The number of frames by the file's header, None if it does not say."""
        return self._video.frame_count or None

    def frames(self, topics: Sequence[str]) -> Iterator[RecordedFrame]:
        """Every frame; :attr:`notes` then says if there are fewer than the header counts."""
        read = 0
        for frame in self._video.frames():
            yield _frame(self._video.path, frame.stamp_ns, frame.image)
            read = frame.number + 1
        missing = self._video.missing_frames(read)
        self.notes = () if missing is None else (printable(missing),)


def open_frames(
    given: Sequence[Path],
    bit_depth: int = FULL_BIT_DEPTH,
    max_pixels: int = MAX_IMAGE_PIXELS,
    max_message_mib: int = DEFAULT_MAX_MESSAGE_MIB,
) -> FrameSource:
    """The recording, the video or the images that ``given`` names, as expand_inputs finds them.

    bit_depth, max_pixels: of image files, as in Settings; messages are decoded later.
    max_message_mib: of a recording, as in Recording.

    Raises UsageError for several of them, RecordingError for what cannot be opened.
    """
    if len(given) == 1 and not given[0].exists() and not any(c in str(given[0]) for c in "*?["):
        return open_recording(given[0], max_message_mib)  # whose refusal says so
    inputs = expand_inputs(given)
    kinds = [file.kind for file in inputs]
    if set(kinds) == {InputKind.IMAGE}:
        return ImageSequence([file.path for file in inputs], bit_depth, max_pixels)
    if len(inputs) > 1:
        counts = ", ".join(f"{kinds.count(k)} x {k.value}" for k in InputKind if k in kinds)
        raise UsageError(
            f"The inputs are {counts}; give one recording, one video, or images alone."
        )
    (file,) = inputs
    if file.kind is InputKind.VIDEO:
        return VideoFrames(file.path, max_pixels)
    return open_recording(file.path, max_message_mib)


def _frame(
    path: Path, stamp_ns: int, image: NDArray[np.uint8] | None, problem: str | None = None
) -> RecordedFrame:
    """A frame of the file ``path``; image: uint8 RGB [H, W, 3], None for a ``problem``."""
    message = None
    if image is not None:
        height, width = image.shape[:2]
        fields = {
            "header": header(stamp_ns, path.name),
            "height": height,
            "width": width,
            "encoding": "rgb8",
            "is_bigendian": 0,
            "step": 3 * width,
            "data": np.ascontiguousarray(image).reshape(-1),
        }
        message = new(IMAGE, fields)
    return RecordedFrame(TOPIC, IMAGE, stamp_ns, stamp_ns, path.name, False, message, problem)
