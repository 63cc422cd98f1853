"""The camera of a recording whose images a replay publishes, for launch/replay.launch.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from activesam_ros.errors import RecordingError
from activesam_ros.recordings.recorded_frames import open_recording
from activesam_ros.recordings.serialization import COMPRESSED_IMAGE
from activesam_ros.recordings.topic_choice import chosen_topics

COMPRESSED_SUFFIX = "/compressed"


@dataclass(frozen=True)
class ReplayedCamera:
    """The topic as recorded, and the node's ``image`` and ``image_transport`` for it."""

    recorded_topic: str
    image_topic: str
    transport: str

    @property
    def subscribed_topic(self) -> str:
        """The topic to which the node subscribes; it ends in /compressed for compressed images."""
        compressed = self.transport == "compressed"
        return self.image_topic + (COMPRESSED_SUFFIX if compressed else "")


def replayed_camera(bag: Path, topic: str) -> ReplayedCamera:
    """The camera with the image topic ``topic``, or the only camera if ``topic`` is empty.

    Raises RecordingError if there is no such topic, or if ``topic`` is empty and there are several.
    """
    recording = open_recording(bag)
    names = chosen_topics(recording, [topic] if topic else [])
    if len(names) > 1:
        raise RecordingError(
            f"{bag} has several cameras, {', '.join(names)}; choose one with image_topic."
        )
    chosen = recording.image_topic(names[0])
    compressed = chosen.message_type == COMPRESSED_IMAGE
    return ReplayedCamera(
        recorded_topic=chosen.name,
        image_topic=chosen.name.removesuffix(COMPRESSED_SUFFIX) if compressed else chosen.name,
        transport="compressed" if compressed else "raw",
    )
