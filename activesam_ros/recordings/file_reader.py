"""What every kind of recording file gives: channels and serialised messages."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Protocol

import zstandard

from activesam_ros.errors import RecordingError

CDR = "cdr"
ROS1 = "ros1"

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class DamageError(RecordingError):
    """A file is intact up to a place that was reached while reading it."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A topic as one file has it.

    message_type: ``package/msg/Type``, whatever spelling the file uses. encoding: ``cdr``, ``ros1``
    or what else the file says. messages: how many the file holds, None where it does not say.
    """

    topic: str
    message_type: str
    encoding: str
    messages: int | None


@dataclass(frozen=True, slots=True)
class RawMessage:
    """A serialised message and the time it was recorded at, in nanoseconds since the epoch."""

    channel: Channel
    log_time_ns: int
    data: bytes


class FileReader(Protocol):
    """One open_file file of a recording. ``damage`` says where its tail is damaged, if known."""

    @property
    def channels(self) -> tuple[Channel, ...]: ...

    @property
    def damage(self) -> str | None: ...

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """Messages of ``topics`` by log time; raises DamageError on coming to a damaged place."""

    def close(self) -> None: ...


def full_type_name(name: str) -> str:
    """``sensor_msgs/Image`` and ``sensor_msgs/msg/Image`` -> ``sensor_msgs/msg/Image``."""
    parts = name.split("/")
    return "/".join((parts[0], "msg", parts[1])) if len(parts) == 2 else name


def decompressed(data: bytes, encoding: str) -> bytes:
    """A CDR message as it was before rosbag2's message compression, which only it could start with.

    Raises RecordingError when the compressed message is damaged.
    """
    if encoding != CDR or data[:4] != _ZSTD_MAGIC:
        return data
    try:
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    except zstandard.ZstdError as error:
        raise RecordingError(f"the message's zstd compression is damaged ({error})") from error
