"""Deserialize and serialize ROS messages without a ROS installation."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from activesam_ros.errors import RecordingError
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.recordings.formats.file_reader import CDR, ROS1, Channel, reason
from activesam_ros.resources import messages_dir

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
IMAGE_TYPES = (IMAGE, COMPRESSED_IMAGE)
ACTIVE_CLASSES = "activesam_ros/msg/ActiveClasses"
VOCABULARY = "activesam_ros/msg/Vocabulary"

ENCODINGS = (CDR, ROS1)


@functools.cache
def ros2_types() -> Typestore:
    """The types of ROS 2's common messages and of this package's messages."""
    store = get_typestore(Stores.ROS2_JAZZY)
    own: dict[str, Any] = {}
    for path in sorted(messages_dir().glob("*.msg")):
        own.update(get_types_from_msg(path.read_text("utf-8"), f"activesam_ros/msg/{path.stem}"))
    store.register(own)
    return store


@functools.cache
def ros1_types() -> Typestore:
    """The types of ROS 1's common messages."""
    return get_typestore(Stores.ROS1_NOETIC)


def deserialize(data: bytes, channel: Channel) -> Any:
    """The message in ``data``, which is not compressed, with the fields of the channel's type.

    Raises RecordingError when ``data`` does not have the layout of that type.
    """
    try:
        if channel.encoding == ROS1:
            return ros1_types().deserialize_ros1(data, channel.message_type)
        return ros2_types().deserialize_cdr(data, channel.message_type)
    except Exception as error:
        raise RecordingError(
            f"{len(data)} bytes on {channel.topic} are not a {channel.message_type} "
            f"({reason(error)})"
        ) from error


@dataclass(frozen=True, slots=True)
class Definition:
    """How a recording defines a message type. text: ros2msg. type_hash: RIHS01."""

    message_type: str
    text: str
    type_hash: str


def definition(message_type: str) -> Definition:
    """The definition of a type of :func:`ros2_types`, including the types it contains."""
    text, _ = ros2_types().generate_msgdef(message_type, ros_version=2)
    return Definition(message_type, text, ros2_types().hash_rihs01(message_type))


def serialize(message: Any) -> bytes:
    """The CDR of a message made by :func:`new`."""
    return bytes(ros2_types().serialize_cdr(message, message.__msgtype__))


def new(message_type: str, fields: dict[str, Any]) -> Any:
    """A message of ``message_type``; ``fields`` must name all its fields."""
    return ros2_types().types[message_type](**fields)


def header(stamp_ns: int, frame_id: str) -> Any:
    """A std_msgs/Header."""
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamp = new("builtin_interfaces/msg/Time", {"sec": seconds, "nanosec": nanoseconds})
    return new("std_msgs/msg/Header", {"stamp": stamp, "frame_id": frame_id})


def vocabulary_message(
    vocabulary: Vocabulary, stamp_ns: int, version: int, background_id: int | None = None
) -> Any:
    """An activesam_ros/Vocabulary message with every label, in order of id."""
    entries = [
        new(
            "activesam_ros/msg/VocabularyEntry",
            {
                "id": entry.id,
                "name": entry.name,
                "color": new(
                    "std_msgs/msg/ColorRGBA",
                    dict(zip("rgba", (*(level / 255 for level in entry.color), 1.0), strict=True)),
                ),
                "pinned": entry.pinned,
            },
        )
        for entry in vocabulary.labels(background_id)
    ]
    fields = {"header": header(stamp_ns, ""), "version": version, "entries": entries}
    return new(VOCABULARY, fields)
