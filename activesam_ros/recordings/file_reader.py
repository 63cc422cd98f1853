"""The interface of the readers of all file formats: channels and raw messages."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import zstandard

from activesam_ros.errors import RecordingError

CDR = "cdr"
ROS1 = "ros1"

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class DamageError(RecordingError):
    """A reader reached a damaged place; everything before it was read."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A topic in one file.

    message_type: always ``package/msg/Type``. encoding: ``cdr``, ``ros1`` or another name from the
    file. messages: their number, None when the file does not tell. qos: YAML of the quality of
    service of its publishers as rosbag2 stores it, "" when the file does not tell.
    """

    topic: str
    message_type: str
    encoding: str
    messages: int | None
    qos: str = ""


@dataclass(frozen=True, slots=True)
class RawMessage:
    """A serialized message and its time of recording in nanoseconds since the epoch."""

    channel: Channel
    log_time_ns: int
    data: bytes


class FileReader(Protocol):
    """An open recording file.

    damage: describes a damaged tail, None if none is known. start_time_ns: no message has an
    earlier log time; 0 when the file does not tell.
    """

    @property
    def channels(self) -> tuple[Channel, ...]: ...

    @property
    def damage(self) -> str | None: ...

    @property
    def start_time_ns(self) -> int: ...

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """Messages on ``topics`` in order of log time; raises DamageError at a damaged place."""

    def close(self) -> None: ...


def full_type_name(name: str) -> str:
    """``sensor_msgs/Image`` and ``sensor_msgs/msg/Image`` both give ``sensor_msgs/msg/Image``."""
    parts = name.split("/")
    return "/".join((parts[0], "msg", parts[1])) if len(parts) == 2 else name


def read_exactly(stream: BinaryIO, length: int) -> bytes:
    """``length`` bytes of ``stream``; raises EOFError when it is shorter."""
    data = stream.read(length)
    if len(data) != length:
        raise EOFError(f"{length - len(data)} bytes are missing")
    return data


def decompressed(data: bytes, encoding: str) -> bytes:
    """Undo rosbag2's compression of single messages.

    No CDR message starts with zstd's magic number, so the number identifies a compressed message.
    Raises RecordingError when the compressed data is damaged.
    """
    if encoding != CDR or data[:4] != _ZSTD_MAGIC:
        return data
    try:
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    except zstandard.ZstdError as error:
        raise RecordingError(f"the message's zstd compression is damaged ({error})") from error
