"""The base of the readers of all file formats: channels and raw messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from activesam_ros.errors import RecordingError, in_short, printable
from activesam_ros.recordings.formats.decompression import (
    ZSTD_MAGIC,
    decompress,
    stated_zstd_size,
)
from activesam_ros.regular_files import ANY_SIZE, open_regular

CDR = "cdr"
ROS1 = "ros1"


class DamageError(RecordingError):
    """A reader reached a damaged place; everything before it was read."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A topic in one file.

    topic, message_type, encoding: printable, whatever the file has. message_type: always
    ``package/msg/Type``. encoding: ``cdr``, ``ros1`` or another name from the file. messages: their
    number. qos: YAML of the quality of service of its publishers as rosbag2 stores it, "" when the
    file does not tell.
    """

    topic: str
    message_type: str
    encoding: str
    messages: int = 0
    qos: str = ""

    @classmethod
    def of(
        cls, topic: str, message_type: str, encoding: str, messages: int, qos: str = ""
    ) -> Channel:
        """A channel with the texts of a file."""
        full = full_type_name(printable(message_type))
        return cls(printable(topic), full, printable(encoding), messages, qos)


@dataclass(frozen=True, slots=True)
class RawMessage:
    """A serialized message and its time of recording in nanoseconds since the epoch.

    problem: why ``data`` is empty, None if it is not.
    """

    channel: Channel
    log_time_ns: int
    data: bytes
    problem: str | None = None


class FileReader(ABC):
    """An open recording file.

    damage: describes a damaged tail, None if none is known. start_time_ns: no message has an
    earlier log time; 0 when the file does not tell.
    """

    def __init__(self) -> None:
        self.damage: str | None = None
        self.start_time_ns = 0
        self._notes: list[str] = []
        self._by_id: dict[int, Channel] = {}

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The topics of the file."""
        return tuple(self._by_id.values())

    @property
    def notes(self) -> tuple[str, ...]:
        """What else is wrong with the file, in words that follow its name."""
        return tuple(self._notes)

    @abstractmethod
    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """Messages on ``topics`` in order of log time, each once.

        Raises DamageError at a damaged place; what other errors a parser raises is up to it.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file."""


def open_with_magic(path: Path, magic: bytes, what: str, advice: str = "") -> BinaryIO:
    """The file at ``path``, read up to the end of ``magic``; the caller closes it.

    what: names the format in the refusal of a file that begins otherwise, a RecordingError.
    advice: what to do but to check the copy.
    """
    stream = open_regular(path, ANY_SIZE)
    try:
        if stream.read(len(magic)) != magic:
            raise RecordingError(
                f"{path} does not begin like {what}; check that the copy is complete{advice}."
            )
    except BaseException:
        stream.close()
        raise
    return stream


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


def damage_at(offset: int, error: BaseException) -> str:
    """What to say of damage that ``error`` shows at a byte of a file."""
    return f"it is damaged at byte {offset} ({reason(error)})"


def reason(error: BaseException) -> str:
    """The words of an error of ours or of a parser, as a part of a sentence."""
    text = str(error) if isinstance(error, RecordingError) else in_short(error)
    return printable(text.rstrip("."))


def not_used(why: str) -> str:
    """What to say of an index that is wrong for the reason ``why``."""
    return f"its index is not used, because {why}; the whole file is scanned"


def decompressed(data: bytes, encoding: str, max_bytes: int) -> bytes:
    """Undo rosbag2's compression of single messages.

    No CDR message starts with zstd's magic number, so the number identifies a compressed message.
    Raises RecordingError when the compressed data is damaged, or takes more than ``max_bytes``.
    """
    if encoding != CDR or data[:4] != ZSTD_MAGIC:
        return data
    try:
        size = stated_zstd_size(data)
        return decompress("the message", data, "zstd", max_bytes, size)
    except RecordingError:
        raise
    except Exception as error:
        raise RecordingError(
            f"the message's zstd compression is damaged ({reason(error)})"
        ) from error
