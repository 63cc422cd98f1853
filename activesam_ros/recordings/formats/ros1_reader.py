"""Read ROS 1 bags (format 2.0), with or without an index, up to a damaged tail.

The heads of all records are read. The index is used where it agrees with them; else all chunks are
decompressed once to make another. rosbags trusts the index.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from activesam_ros.errors import RecordingError
from activesam_ros.recordings.formats.decompression import MIB, check_size, decompress
from activesam_ros.recordings.formats.file_reader import (
    ROS1,
    Channel,
    damage_at,
    not_used,
    read_exactly,
)
from activesam_ros.recordings.formats.span_reader import SpanReader
from activesam_ros.recordings.formats.spans import Content, FoundMessage, Span, total_counts

MAGIC = b"#ROSBAG V2.0\n"

_MESSAGE, _BAG, _INDEX, _CHUNK, _CHUNK_INFO, _CONNECTION = 2, 3, 4, 5, 6, 7
_METHODS = {b"none": "", b"bz2": "bz2", b"lz4": "lz4"}
_ENTRY = struct.Struct("<III")  # seconds, nanoseconds, offset in the chunk
_COUNT = struct.Struct("<II")  # connection, messages
_MAX_HEADER_BYTES = 16 * MIB


@dataclass(frozen=True, slots=True)
class _Connection:
    topic: str
    message_type: str


@dataclass(frozen=True, slots=True)
class _Record:
    """A record's header, and where its data is."""

    opcode: int
    header: Mapping[bytes, bytes]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class _ChunkInfo:
    start_time_ns: int
    counts: Counter[int]


@dataclass
class _Walk:
    """What the heads of all records say.

    spans: with the counts of the index behind each chunk. chunk_counts: of the last chunk, shared
    with its span while its index is read. infos: of the chunks, by offset, as the index at the end
    of the file says; repeated: whether it lists one of them twice. start_times: the earliest times
    in the index behind each chunk, by the chunk's offset. odd: places of records of no known kind.
    """

    bag: Mapping[bytes, bytes] | None = None
    spans: list[Span] = field(default_factory=list)
    chunk_counts: Counter[int] = field(default_factory=Counter)
    infos: dict[int, _ChunkInfo] = field(default_factory=dict)
    repeated: bool = False
    start_times: dict[int, int] = field(default_factory=dict)
    connections: dict[int, _Connection] = field(default_factory=dict)
    listed_connections: int = 0
    odd: list[int] = field(default_factory=list)
    damage: str | None = None


class Ros1Reader(SpanReader):
    """An open bag; raises RecordingError when the file is not one.

    max_bytes: what a chunk or a message may take.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        what = "a ROS 1 bag of format 2.0"
        super().__init__(path, max_bytes, MAGIC, what, ", or migrate the bag with rosbag")

    def _content(self, span: Span) -> Content:
        return self._read(span, {})

    def _read_index(self) -> None:
        walk = self._walk()
        if walk.bag is not None and walk.bag.get(b"encryptor"):
            raise RecordingError("an encrypted bag cannot be read; decrypt it with rosbag.")
        is_indexed = walk.bag is not None and any(walk.bag.get(b"index_pos", b""))
        problem = self._contradiction(walk) if is_indexed else None
        found: dict[int, _Connection] = {}
        if is_indexed and problem is None:
            self._spans = [
                replace(span, start_time_ns=walk.infos[span.offset].start_time_ns)
                if span.is_chunk
                else span
                for span in walk.spans
            ]
        else:
            self.damage = walk.damage
            self._scan_spans(walk.spans, lambda span: self._read(span, found))
            if self.damage is None and not is_indexed:
                self.damage = "it is cut off or not indexed"
            if problem is not None:
                self._notes.append(not_used(problem))
            if walk.odd:
                self._notes.append(
                    f"{len(walk.odd)} records of no known kind are skipped, the first at byte "
                    f"{walk.odd[0]}"
                )
            if any(walk.connections.get(id, entry) != entry for id, entry in found.items()):
                self._notes.append("its index names other topics than its chunks, which are used")
        counts = total_counts(self._spans)
        connections = walk.connections | found
        self._by_id = {
            id: Channel.of(entry.topic, entry.message_type, ROS1, counts[id])
            for id, entry in connections.items()
        }
        strays = sum(number for id, number in counts.items() if id not in connections)
        if strays:
            self._notes.append(f"{strays} messages belong to no connection")
        if problem is not None:
            self._note_counts(walk, counts)

    def _note_counts(self, walk: _Walk, found: Counter[int]) -> None:
        stated: Counter[int] = Counter()
        for info in walk.infos.values():
            stated.update(info.counts)
        for id, number in stated.items():
            if number > found[id]:
                topic = self._by_id[id].topic if id in self._by_id else f"connection {id}"
                self._notes.append(
                    f"its index counts {number} messages on {topic}, and {found[id]} are found"
                )

    def _contradiction(self, walk: _Walk) -> str | None:
        """Where the index says something else than the file's records; None if nowhere."""
        assert walk.bag is not None
        if walk.damage is not None:
            return walk.damage
        if walk.odd:
            return f"a record at byte {walk.odd[0]} is of no known kind"
        chunks = [span for span in walk.spans if span.is_chunk]
        stated = _uint32(walk.bag[b"chunk_count"]), _uint32(walk.bag[b"conn_count"])
        if stated != (len(chunks), walk.listed_connections):
            return "the head of the file counts other chunks or connections"
        if walk.repeated or set(walk.infos) != {span.offset for span in chunks}:
            return "it lists other chunks than the file has"
        seen: set[int] = set()
        for span in chunks:
            info = walk.infos[span.offset]
            counts = Counter(span.counts)
            wrong = f"it is wrong about the chunk at byte {span.offset}"
            if counts != info.counts or (
                counts and walk.start_times[span.offset] != info.start_time_ns
            ):
                return wrong
            if set(counts) <= seen:
                continue
            # Chunks define the connections, which the index repeats.
            seen |= set(counts)
            defined: dict[int, _Connection] = {}
            try:
                content = self._read(span, defined)
            except Exception:  # noqa: BLE001 its damage shows when it is read
                continue
            if content.counts() != counts or content.start_time_ns() != info.start_time_ns:
                return wrong
            for id, connection in defined.items():
                if walk.connections.get(id) != connection:
                    return f"it is wrong about connection {id}"
        return None

    def _read(self, span: Span, defined: dict[int, _Connection]) -> Content:
        """The messages of a span; ``defined`` gets its connections, of each id the first."""
        check_size("the record", span.length, self._max_bytes + MIB)
        self._stream.seek(span.offset)
        data = read_exactly(self._stream, span.length)
        if span.is_chunk:
            record = _record_in(data, 0)
            method = record.header[b"compression"]
            name = _METHODS.get(method, method.decode("ascii", "backslashreplace"))
            stated = _uint32(record.header[b"size"])
            packed = memoryview(data)[record.start : record.stop]
            data = decompress("the chunk", packed, name, self._max_bytes, stated)
        messages = []
        place = 0
        while place < len(data):
            record = _record_in(data, place)
            place = record.stop
            if record.opcode == _MESSAGE:
                id, time_ns = _uint32(record.header[b"conn"]), _time_ns(record.header[b"time"])
                messages.append(FoundMessage(id, time_ns, record.start, record.stop))
            elif record.opcode == _CONNECTION:
                fields = _fields(data[record.start : record.stop])
                defined.setdefault(*_connection(record.header, fields))
        return Content(data, tuple(messages))

    def _walk(self) -> _Walk:
        """Read the heads of all records, up to the first that cannot be one."""
        walk = _Walk()
        offset = len(MAGIC)
        try:
            while offset < self._size:
                record = self._record_at(offset)
                self._add(walk, record, offset)
                offset = record.stop
        except Exception as error:  # noqa: BLE001 whatever a parser raises
            walk.damage = damage_at(offset, error)
        return walk

    def _record_at(self, offset: int) -> _Record:
        self._stream.seek(offset)
        length = _uint32(read_exactly(self._stream, 4))
        check_size("the header of a record", length, _MAX_HEADER_BYTES)
        header = _fields(read_exactly(self._stream, length))
        size = _uint32(read_exactly(self._stream, 4))
        start = offset + 8 + length
        if start + size > self._size:
            raise EOFError(f"a record of {size} bytes exceeds the end of the file")
        return _Record(_opcode(header), header, start, start + size)

    def _add(self, walk: _Walk, record: _Record, offset: int) -> None:
        header, length = record.header, record.stop - offset
        if record.opcode == _BAG:
            walk.bag = header if walk.bag is None else walk.bag
        elif record.opcode == _CHUNK:
            walk.chunk_counts = Counter()
            walk.spans.append(Span(offset, length, 0, is_chunk=True, counts=walk.chunk_counts))
        elif record.opcode == _MESSAGE:
            counts = Counter((_uint32(header[b"conn"]),))
            time_ns = _time_ns(header[b"time"])
            walk.spans.append(Span(offset, length, time_ns, is_chunk=False, counts=counts))
        elif record.opcode == _CONNECTION:
            walk.listed_connections += 1
            walk.connections.setdefault(*_connection(header, _fields(self._data(record))))
        elif record.opcode == _INDEX:
            if walk.spans and walk.spans[-1].is_chunk:
                self._add_index(walk, record)
        elif record.opcode == _CHUNK_INFO:
            place = _uint64(header[b"chunk_pos"])
            walk.repeated |= place in walk.infos
            counts = Counter()
            for id, number in _COUNT.iter_unpack(self._data(record)):
                counts[id] += number
            walk.infos[place] = _ChunkInfo(_time_ns(header[b"start_time"]), +counts)
        else:
            walk.odd.append(offset)

    def _add_index(self, walk: _Walk, record: _Record) -> None:
        """Count the entries of an index of the last chunk; each is of another message."""
        chunk = walk.spans[-1]
        data = self._data(record)
        entries = set(_ENTRY.iter_unpack(data))
        stated = _uint32(record.header[b"count"])
        # A wrong number shows when it is compared with that of the index of the file.
        number = len(entries) if stated * _ENTRY.size == len(data) else stated
        id = _uint32(record.header[b"conn"])
        if number:
            walk.chunk_counts[id] += number
        times = [sec * 1_000_000_000 + nanosec for sec, nanosec, _ in entries]
        earlier = walk.start_times.get(chunk.offset)
        if times:
            first = min(times)
            walk.start_times[chunk.offset] = first if earlier is None else min(earlier, first)

    def _data(self, record: _Record) -> bytes:
        check_size("a record of the index", record.stop - record.start, self._max_bytes)
        self._stream.seek(record.start)
        return read_exactly(self._stream, record.stop - record.start)


def _record_in(data: bytes, place: int) -> _Record:
    """The record at ``place``; raises EOFError when it is cut off."""
    header_start = place + 4
    header_stop = header_start + _uint32(data[place:header_start])
    start = header_stop + 4
    if start > len(data):
        raise EOFError("a record is cut off")
    header = _fields(data[header_start:header_stop])
    stop = start + _uint32(data[header_stop:start])
    if stop > len(data):
        raise EOFError("a record is cut off")
    return _Record(_opcode(header), header, start, stop)


def _fields(data: bytes) -> dict[bytes, bytes]:
    """The fields of a header; raises EOFError when they do not fill it."""
    fields: dict[bytes, bytes] = {}
    place = 0
    while place < len(data):
        length = _uint32(data[place : place + 4])
        place += 4
        if place + length > len(data):
            raise EOFError("a field of a header is cut off")
        name, _, value = data[place : place + length].partition(b"=")
        fields[name] = value
        place += length
    return fields


def _opcode(header: Mapping[bytes, bytes]) -> int:
    op = header.get(b"op", b"")
    if len(op) != 1:
        raise RecordingError(f"a record has an op of {len(op)} bytes")
    return op[0]


def _connection(
    header: Mapping[bytes, bytes], fields: Mapping[bytes, bytes]
) -> tuple[int, _Connection]:
    """The id, topic and message type of a connection record."""
    topic, message_type = (
        text.decode("utf-8", "backslashreplace") for text in (header[b"topic"], fields[b"type"])
    )
    return _uint32(header[b"conn"]), _Connection(topic, message_type)


def _uint32(data: bytes) -> int:
    (value,) = struct.unpack("<I", data)
    return int(value)


def _uint64(data: bytes) -> int:
    (value,) = struct.unpack("<Q", data)
    return int(value)


def _time_ns(data: bytes) -> int:
    seconds, nanoseconds = struct.unpack("<II", data)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)
