"""Write the recording of a replay: masks, active classes and the vocabulary in one MCAP file.

It has the profile ros2, ros2msg schemas and QoS, as Foxglove, RViz and ``ros2 bag play`` expect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mcap.writer import CompressionType, Writer

from activesam_ros import __version__
from activesam_ros.errors import RecordingError
from activesam_ros.output_files import whole_file
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.recordings.formats.file_reader import CDR, Channel
from activesam_ros.recordings.recorded_frames import RecordedFrame
from activesam_ros.recordings.serialization import (
    ACTIVE_CLASSES,
    IMAGE,
    VOCABULARY,
    definition,
    deserialize,
    header,
    new,
    serialize,
    vocabulary_message,
)
from activesam_ros.replay.journal import JournalEntry
from activesam_ros.segmentation.result import Segmentation

NAMESPACE = "/activesam"
VOCABULARY_VERSION = 1

_RELIABLE = 1
_TRANSIENT_LOCAL = 1
_VOLATILE = 2


@dataclass(frozen=True, slots=True)
class OutputTopics:
    """The output topics of one image topic."""

    mask: str
    active_classes: str


def output_topics(image_topics: Sequence[str]) -> dict[str, OutputTopics]:
    """The output topics by image topic: below /activesam, with several below /activesam/CAMERA.

    CAMERA is the image topic without a last part ``compressed`` and then without a last part that
    begins with ``image``. Image topics with equal results keep their whole name instead.
    """
    if len(image_topics) == 1:
        return {image_topics[0]: _below(NAMESPACE)}
    cameras = [_camera(topic) for topic in image_topics]
    return {
        topic: _below(
            f"{NAMESPACE}/{camera if camera and cameras.count(camera) == 1 else topic.strip('/')}"
        )
        for topic, camera in zip(image_topics, cameras, strict=True)
    }


def _below(name: str) -> OutputTopics:
    return OutputTopics(f"{name}/semantic_mask", f"{name}/active_classes")


def _camera(topic: str) -> str:
    parts = topic.strip("/").split("/")
    if parts[-1] == "compressed":
        parts.pop()
    if parts and parts[-1].startswith("image"):
        parts.pop()
    return "/".join(parts)


def serialized_mask(frame: RecordedFrame, result: Segmentation) -> bytes:
    """The CDR of a sensor_msgs/Image of class ids, mono8 or 16UC1, with the frame's header."""
    labels = np.ascontiguousarray(result.labels)
    wide = labels.dtype != np.uint8
    little = labels.astype("<u2", copy=False) if wide else labels
    return serialize(
        new(
            IMAGE,
            {
                "header": header(frame.stamp_ns, frame.frame_id),
                "height": labels.shape[0],
                "width": labels.shape[1],
                "encoding": "16UC1" if wide else "mono8",
                "is_bigendian": 0,
                "step": labels.shape[1] * labels.itemsize,
                "data": little.reshape(-1).view(np.uint8),
            },
        )
    )


def serialized_active_classes(
    frame: RecordedFrame, result: Segmentation, vocabulary: Vocabulary
) -> bytes:
    """The CDR of the frame's activesam_ros/ActiveClasses.

    A class that was not decoded has presence 0. latency_ms is the time of network and method.
    """
    classes = [
        new(
            "activesam_ros/msg/ActiveClass",
            {
                "id": entry.id,
                "name": entry.name,
                "presence": entry.presence or 0.0,
                "pixel_fraction": entry.pixels / result.labels.size,
                "reason": int(entry.reason),
            },
        )
        for entry in result.classes
    ]
    return serialize(
        new(
            ACTIVE_CLASSES,
            {
                "header": header(frame.stamp_ns, frame.frame_id),
                "vocabulary_version": VOCABULARY_VERSION,
                "vocabulary_size": len(vocabulary.classes),
                "classes": classes,
                "latency_ms": result.timings_ms["total"],
                "degradation": 0,  # offline there is no latency budget
            },
        )
    )


def write_mask_bag(
    path: Path,
    entries: Iterable[JournalEntry],
    topics: Mapping[str, OutputTopics],
    vocabulary: Vocabulary,
    background_id: int,
    job: Mapping[str, str],
) -> None:
    """Write the recording to ``path``, which exists only once the recording is complete.

    Log times equal those of the source, so that both can be played together. ``job`` is stored in
    a metadata record called activesam. Raises OutputError when it cannot be written, RecordingError
    for an entry that no replay makes.
    """
    with whole_file(path) as stream:
        writer = Writer(stream, compression=CompressionType.ZSTD)
        writer.start(profile="ros2", library=f"activesam_ros {__version__}")
        channels = _channels(writer, topics)
        vocabulary_written = False
        for sequence, entry in enumerate(entries):
            if not vocabulary_written:
                message = serialize(
                    vocabulary_message(
                        vocabulary, entry.log_time_ns, VOCABULARY_VERSION, background_id
                    )
                )
                _write(writer, channels[f"{NAMESPACE}/vocabulary"], entry.log_time_ns, 0, message)
                vocabulary_written = True
            output = topics.get(entry.topic)
            if output is None:
                raise RecordingError(
                    f"The journal has the topic {entry.topic!r}, which is not read."
                )
            for topic, message_type, data in (
                (output.mask, IMAGE, entry.mask),
                (output.active_classes, ACTIVE_CLASSES, entry.active_classes),
            ):
                if data is not None:
                    # Raises RecordingError where a damaged journal has something else.
                    deserialize(data, Channel(topic, message_type, CDR))
                    _write(writer, channels[topic], entry.log_time_ns, sequence, data)
        writer.add_metadata("activesam", dict(job))
        writer.finish()  # type: ignore[no-untyped-call]


def _channels(writer: Writer, topics: Mapping[str, OutputTopics]) -> dict[str, int]:
    """Register every output topic; returns channel ids by topic."""
    types = {f"{NAMESPACE}/vocabulary": (VOCABULARY, _TRANSIENT_LOCAL)}
    for output in topics.values():
        types[output.mask] = (IMAGE, _VOLATILE)
        types[output.active_classes] = (ACTIVE_CLASSES, _VOLATILE)
    definitions = {name: definition(name) for name in dict.fromkeys(t for t, _ in types.values())}
    schemas = {
        name: writer.register_schema(name, "ros2msg", entry.text.encode())
        for name, entry in definitions.items()
    }
    return {
        topic: writer.register_channel(
            topic,
            "cdr",
            schemas[message_type],
            {
                "offered_qos_profiles": _qos(durability),
                "topic_type_hash": definitions[message_type].type_hash,
            },
        )
        for topic, (message_type, durability) in types.items()
    }


def _write(writer: Writer, channel: int, time_ns: int, sequence: int, data: bytes) -> None:
    writer.add_message(
        channel, log_time=time_ns, data=data, publish_time=time_ns, sequence=sequence
    )


def _qos(durability: int) -> str:
    """A QoS profile, in numbers that every rosbag2 since Humble reads."""
    forever = "{sec: 9223372036, nsec: 854775807}"
    return (
        f"- history: 1\n  depth: {1 if durability == _TRANSIENT_LOCAL else 5}\n"
        f"  reliability: {_RELIABLE}\n  durability: {durability}\n"
        f"  deadline: {forever}\n  lifespan: {forever}\n"
        f"  liveliness: 1\n  liveliness_lease_duration: {forever}\n"
        "  avoid_ros_namespace_conventions: false\n"
    )
