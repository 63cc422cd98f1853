"""Read ROS 1 bags (format 2.0): indexed bags with rosbags, others up to a damaged tail."""

from __future__ import annotations

import bz2
import io
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import lz4.frame  # type: ignore[import-untyped]
from rosbags.rosbag1 import Reader, ReaderError

from activesam_ros.errors import RecordingError
from activesam_ros.recordings.file_reader import (
    ROS1,
    Channel,
    DamageError,
    RawMessage,
    full_type_name,
    read_exactly,
)

MAGIC = b"#ROSBAG V2.0\n"

_MESSAGE, _CHUNK, _CONNECTION = 2, 5, 7
_DECOMPRESS: dict[bytes, Callable[[bytes], bytes]] = {
    b"none": bytes,
    b"bz2": bz2.decompress,
    b"lz4": lz4.frame.decompress,
}
_DAMAGE = (ReaderError, struct.error, EOFError, KeyError, ValueError, OSError, RuntimeError)


def open_ros1(path: Path) -> Ros1Reader | UnindexedRos1Reader:
    """A reader of the bag at ``path``; raises RecordingError when the file is not a bag."""
    with path.open("rb") as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            raise RecordingError(
                f"{path} does not begin like a ROS 1 bag of format 2.0; check that the copy is "
                "complete, or migrate the bag with rosbag."
            )
    reader = Reader(path)
    try:
        reader.open()
    except (ReaderError, AssertionError, *_DAMAGE) as error:
        return UnindexedRos1Reader(path, str(error) or type(error).__name__)
    return Ros1Reader(reader)


class Ros1Reader:
    """An intact bag, read by rosbags."""

    damage: str | None = None

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.start_time_ns: int = reader.start_time
        self.channels = tuple(
            Channel(entry.topic, full_type_name(entry.msgtype), ROS1, entry.msgcount)
            for entry in reader.connections
        )

    def close(self) -> None:
        self._reader.close()

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """Messages on ``topics`` in order of log time; raises DamageError at a damaged place."""
        by_id = {
            entry.id: channel
            for entry, channel in zip(self._reader.connections, self.channels, strict=True)
        }
        wanted = [entry for entry in self._reader.connections if entry.topic in topics]
        if not wanted:
            return
        last_time_ns = 0
        try:
            for entry, last_time_ns, data in self._reader.messages(wanted):
                yield RawMessage(by_id[entry.id], last_time_ns, data)
        except (*_DAMAGE, AssertionError) as error:
            raise DamageError(f"it is damaged after {last_time_ns} ns ({error})") from error


@dataclass(frozen=True, slots=True)
class _Record:
    opcode: int
    header: dict[bytes, bytes]
    data: bytes


class UnindexedRos1Reader:
    """A bag without an index, cut off while recording. Messages come in the order of writing."""

    start_time_ns = 0

    def __init__(self, path: Path, reason: str) -> None:
        self._stream = path.open("rb")
        counts: Counter[int] = Counter()
        connections: dict[int, tuple[str, str]] = {}
        self.damage: str | None = f"it is cut off or not indexed ({reason})"
        try:
            for record in self._records():
                if record.opcode == _CONNECTION:
                    id, topic, message_type = _connection(record)
                    connections[id] = (topic, message_type)
                elif record.opcode == _MESSAGE:
                    counts[_uint32(record.header[b"conn"])] += 1
        except _DAMAGE as error:
            self.damage = f"it is damaged near byte {self._stream.tell()} ({error})"
        self._by_id = {
            id: Channel(topic, full_type_name(message_type), ROS1, counts[id])
            for id, (topic, message_type) in connections.items()
        }

    @property
    def channels(self) -> tuple[Channel, ...]:
        return tuple(self._by_id.values())

    def close(self) -> None:
        self._stream.close()

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """Messages on ``topics`` in the order of writing; raises DamageError at a damaged place."""
        if not any(channel.topic in topics for channel in self.channels):
            return
        try:
            for record in self._records():
                if record.opcode != _MESSAGE:
                    continue
                channel = self._by_id[_uint32(record.header[b"conn"])]
                if channel.topic in topics:
                    yield RawMessage(channel, _time_ns(record.header[b"time"]), record.data)
        except _DAMAGE as error:
            raise DamageError(f"it is damaged near byte {self._stream.tell()} ({error})") from error

    def _records(self) -> Iterator[_Record]:
        """Every record of the file and of its chunks, up to the end or a damaged place."""
        self._stream.seek(len(MAGIC))
        while (record := _read_record(self._stream)) is not None:
            if record.opcode != _CHUNK:
                yield record
                continue
            chunk = io.BytesIO(_DECOMPRESS[record.header[b"compression"]](record.data))
            while (inner := _read_record(chunk)) is not None:
                yield inner


def _read_record(stream: BinaryIO) -> _Record | None:
    """The next record, None at the end of the stream; raises EOFError inside a record."""
    head = stream.read(4)
    if not head:
        return None
    header = _fields(read_exactly(stream, _uint32(head)))
    data = read_exactly(stream, _uint32(read_exactly(stream, 4)))
    return _Record(header[b"op"][0], header, data)


def _fields(data: bytes) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    place = 0
    while place < len(data):
        length = _uint32(data[place : place + 4])
        name, _, value = data[place + 4 : place + 4 + length].partition(b"=")
        fields[name] = value
        place += 4 + length
    return fields


def _connection(record: _Record) -> tuple[int, str, str]:
    """The id, topic and message type of a connection record."""
    topic = record.header[b"topic"].decode()
    return _uint32(record.header[b"conn"]), topic, _fields(record.data)[b"type"].decode()


def _uint32(data: bytes) -> int:
    (value,) = struct.unpack_from("<I", data)
    return int(value)


def _time_ns(data: bytes) -> int:
    seconds, nanoseconds = struct.unpack("<II", data)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)
