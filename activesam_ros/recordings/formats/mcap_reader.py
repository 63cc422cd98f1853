"""Read MCAP files of any profile, with or without an index, up to a damaged tail.

rosbags reads only intact files of the profile ros2. This reader uses the definitions that the
``mcap`` package parses. The heads of all records are read; the index in the file's summary is used
only where it agrees with them, else all chunks are decompressed once to make another.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from mcap import records
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode

from activesam_ros.errors import RecordingError
from activesam_ros.recordings.formats.decompression import MIB, check_size, decompress
from activesam_ros.recordings.formats.file_reader import (
    Channel,
    damage_at,
    not_used,
    read_exactly,
    reason,
)
from activesam_ros.recordings.formats.span_reader import SpanReader
from activesam_ros.recordings.formats.spans import (
    Content,
    FoundMessage,
    Span,
    total_counts,
    without_overlaps,
)

MAGIC = b"\x89MCAP0\r\n"

_OPCODES = frozenset(Opcode)
_HEAD = struct.Struct("<BQ")  # opcode and length of a record
_MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time and publish time
_MESSAGE_INDEX = struct.Struct("<HI")  # channel, bytes of entries
_INDEX_ENTRY_BYTES = 16
_CHUNK = struct.Struct("<QQQII")  # start, end, size, checksum, length of the compression's name
_LENGTH = struct.Struct("<Q")
_FOOTER = struct.Struct("<QQI")  # starts of the summary and its offsets, checksum
_FOOTER_BYTES = _HEAD.size + _FOOTER.size + len(MAGIC)
_MAX_LOOSE_BYTES = MIB  # size of a span of messages outside chunks


class _Fields(ReadDataStream):
    """The fields of a record; raises EOFError where they end too early."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))

    def read(self, length: int) -> bytes:
        data = super().read(length) if length else b""
        if len(data) != length:
            raise EOFError(f"{length - len(data)} bytes are missing")
        return data

    def read_prefixed_string(self) -> str:
        return self.read(self.read4()).decode("utf-8", "backslashreplace")


@dataclass
class _Definitions:
    """Schemas and channels; the first of each id counts."""

    schemas: dict[int, records.Schema] = field(default_factory=dict)
    channels: dict[int, records.Channel] = field(default_factory=dict)
    conflicts: set[int] = field(default_factory=set)

    def add(self, opcode: int, data: bytes) -> None:
        """The record of ``data``, if it is a schema or a channel."""
        if opcode == Opcode.SCHEMA:
            schema = records.Schema.read(_Fields(data))
            self.schemas.setdefault(schema.id, schema)
        elif opcode == Opcode.CHANNEL:
            channel = records.Channel.read(_Fields(data))
            first = self.channels.setdefault(channel.id, channel)
            if _meaning(first) != _meaning(channel):
                self.conflicts.add(channel.id)

    def update(self, other: _Definitions) -> None:
        """Add what another part of the file defines."""
        for id, schema in other.schemas.items():
            self.schemas.setdefault(id, schema)
        for id, channel in other.channels.items():
            if _meaning(self.channels.setdefault(id, channel)) != _meaning(channel):
                self.conflicts.add(id)
        self.conflicts |= other.conflicts

    def type_name(self, channel: records.Channel) -> str:
        """The type of a channel's messages, "" if it has no schema."""
        schema = self.schemas.get(channel.schema_id)
        return schema.name if schema else ""


@dataclass
class _Walk:
    """What the heads of all records say.

    chunk_counts: of the last chunk, shared with its span while its index is read. odd: places of
    records that have no place there.
    """

    defined: _Definitions = field(default_factory=_Definitions)
    spans: list[Span] = field(default_factory=list)
    chunk_counts: Counter[int] = field(default_factory=Counter)
    odd: list[int] = field(default_factory=list)
    is_finished: bool = False
    damage: str | None = None


@dataclass
class _Summary:
    """The summary section. checked: it has a checksum, which is right."""

    checked: bool
    defined: _Definitions = field(default_factory=_Definitions)
    chunks: list[records.ChunkIndex] = field(default_factory=list)
    counts: Mapping[int, int] | None = None


class McapReader(SpanReader):
    """An open MCAP file; raises RecordingError when the file is not MCAP.

    max_bytes: what a chunk or a message may take.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        super().__init__(path, max_bytes, MAGIC, "an MCAP file")

    def _content(self, span: Span) -> Content:
        return self._read(span, _Definitions())

    def _read_index(self) -> None:
        walk = self._walk()
        summary, problem = None, None
        try:
            summary = self._summary()
        except Exception as error:  # noqa: BLE001 whatever a parser raises
            problem = reason(error)
        if summary is not None and problem is None:
            problem = _contradiction(summary, walk) or self._wrong_channel(summary, walk)
        if summary is not None and problem is None and summary.checked and summary.counts:
            self._spans, defined = walk.spans, summary.defined
        else:
            defined = self._scan(walk, summary)
            if problem is not None:
                self._notes.append(not_used(problem))
            if walk.odd:
                self._notes.append(
                    f"{len(walk.odd)} records that are of no known kind or at the wrong place are "
                    f"skipped, the first at byte {walk.odd[0]}"
                )
        counts = total_counts(self._spans)
        defined.update(walk.defined)
        if summary is not None:
            defined.update(summary.defined)
        self._by_id = {
            id: Channel.of(
                channel.topic,
                defined.type_name(channel),
                channel.message_encoding,
                counts[id],
                channel.metadata.get("offered_qos_profiles", ""),
            )
            for id, channel in defined.channels.items()
        }
        self._note_counts(counts, (summary.counts if summary else None) or {})

    def _note_counts(self, found: Counter[int], stated: Mapping[int, int]) -> None:
        """Say what belongs to no channel, and what the statistics count that is not there."""
        strays = sum(number for id, number in found.items() if id not in self._by_id)
        if strays:
            self._notes.append(f"{strays} messages belong to no channel")
        for id, number in stated.items():
            if number != found[id]:
                topic = self._by_id[id].topic if id in self._by_id else f"channel {id}"
                self._notes.append(
                    f"its statistics count {number} messages on {topic}, and {found[id]} are found"
                )

    def _scan(self, walk: _Walk, summary: _Summary | None) -> _Definitions:
        """Find the spans by reading all chunks, up to the first damaged place."""
        spans = list(walk.spans)
        if summary is not None and summary.checked:
            # The summary is right, so that it leads over places where records do not follow
            # one another.
            listed = without_overlaps(
                Span(chunk.chunk_start_offset, chunk.chunk_length, 0, is_chunk=True)
                for chunk in summary.chunks
                if chunk.chunk_start_offset + chunk.chunk_length <= self._size
            )
            spans = _beside(listed, spans)
        elif walk.damage is not None:
            self.damage = walk.damage
        elif not walk.is_finished:
            self.damage = f"it ends without a summary at byte {self._size}"
        defined = _Definitions()
        self._scan_spans(without_overlaps(spans), lambda span: self._read(span, defined))
        if defined.conflicts:
            self._notes.append(f"{len(defined.conflicts)} channels are defined in several ways")
        return defined

    def _wrong_channel(self, summary: _Summary, walk: _Walk) -> str | None:
        """Whether the chunks that define the channels say what the summary says."""
        first: dict[int, Span] = {}
        for span in walk.spans:
            for id in span.counts:
                first.setdefault(id, span)
        for span in dict.fromkeys(first.values()):
            if not span.is_chunk:
                continue
            defined = _Definitions()
            try:
                content = self._read(span, defined)
            except Exception:  # noqa: BLE001 its damage shows when it is read
                continue
            if content.counts() != Counter(span.counts):
                return f"it is wrong about the chunk at byte {span.offset}"
            for id, channel in defined.channels.items():
                stated = summary.defined.channels.get(id)
                if stated is None or _meaning(stated) != _meaning(channel):
                    return f"it is wrong about channel {id}"
                if defined.type_name(channel) != summary.defined.type_name(stated):
                    return f"it is wrong about the type of channel {id}"
        return None

    def _read(self, span: Span, defined: _Definitions) -> Content:
        """The messages of a span; ``defined`` gets its schemas and channels."""
        check_size("the record", span.length, self._max_bytes + MIB)
        self._stream.seek(span.offset)
        data = read_exactly(self._stream, span.length)
        if span.is_chunk:
            data = _chunk_data(data, self._max_bytes)
        messages = []
        for opcode, start, stop in _parts(data):
            if opcode == Opcode.MESSAGE:
                channel_id, _, time_ns, _ = _MESSAGE.unpack_from(data, start)
                start += _MESSAGE.size
                if start > stop:
                    raise EOFError("a message is shorter than its head")
                messages.append(FoundMessage(channel_id, time_ns, start, stop))
            elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
                defined.add(opcode, data[start:stop])
        return Content(data, tuple(messages))

    def _summary(self) -> _Summary | None:
        """The summary; None when there is none. Raises an error when it is damaged."""
        place = self._size - _FOOTER_BYTES
        if place < len(MAGIC):
            return None
        self._stream.seek(place)
        tail = read_exactly(self._stream, _FOOTER_BYTES)
        if _HEAD.unpack_from(tail) != (Opcode.FOOTER, _FOOTER.size) or not tail.endswith(MAGIC):
            return None
        start, _, checksum = _FOOTER.unpack_from(tail, _HEAD.size)
        if start == 0:
            return None
        if not len(MAGIC) <= start <= place:
            raise RecordingError("its summary begins outside the file")
        check_size("its summary", place - start, self._max_bytes)
        self._stream.seek(start)
        section = read_exactly(self._stream, place - start)
        counted = section + tail[: _HEAD.size + _FOOTER.size - 4]
        if checksum and zlib.crc32(counted) != checksum:
            raise RecordingError("the checksum of its summary is wrong")
        summary = _Summary(checked=bool(checksum))
        for opcode, begin, end in _parts(section):
            data = section[begin:end]
            if opcode == Opcode.CHUNK_INDEX:
                summary.chunks.append(records.ChunkIndex.read(_Fields(data)))
            elif opcode == Opcode.STATISTICS:
                counts = records.Statistics.read(_Fields(data)).channel_message_counts
                summary.counts = {id: number for id, number in counts.items() if number}
            else:
                summary.defined.add(opcode, data)
        return summary

    def _walk(self) -> _Walk:
        """Read the heads of all records, up to the first that cannot be one."""
        walk = _Walk()
        offset = len(MAGIC)
        data_end = None
        try:
            while offset < self._size:
                self._stream.seek(offset)
                opcode, length = _HEAD.unpack(read_exactly(self._stream, _HEAD.size))
                end = offset + _HEAD.size + length
                if end > self._size:
                    raise EOFError(f"a record of {length} bytes exceeds the end of the file")
                if opcode == Opcode.FOOTER and end == self._size - len(MAGIC):
                    walk.is_finished = _is_footer(self._stream, length)
                    break
                if opcode in (Opcode.CHUNK, Opcode.MESSAGE) and data_end is not None:
                    walk.odd.append(data_end)
                    data_end = None
                if opcode == Opcode.DATA_END:
                    data_end = offset
                elif opcode == Opcode.FOOTER or not self._add(walk, opcode, offset, end):
                    walk.odd.append(offset)
                offset = end
        except Exception as error:  # noqa: BLE001 whatever a parser raises
            walk.damage = damage_at(offset, error)
        return walk

    def _add(self, walk: _Walk, opcode: int, offset: int, end: int) -> bool:
        """Add the record, whose head has been read; whether its kind is known."""
        length = end - offset - _HEAD.size
        if opcode == Opcode.CHUNK:
            start_ns, *_ = _CHUNK.unpack(read_exactly(self._stream, _CHUNK.size))
            walk.chunk_counts = Counter()
            walk.spans.append(
                Span(offset, end - offset, start_ns, is_chunk=True, counts=walk.chunk_counts)
            )
        elif opcode == Opcode.MESSAGE_INDEX:
            id, size = _MESSAGE_INDEX.unpack(read_exactly(self._stream, _MESSAGE_INDEX.size))
            if walk.spans and walk.spans[-1].is_chunk and size:
                walk.chunk_counts[id] += size // _INDEX_ENTRY_BYTES
        elif opcode == Opcode.MESSAGE:
            if length < _MESSAGE.size:
                raise EOFError("a message is shorter than its head")
            id, _, time_ns, _ = _MESSAGE.unpack(read_exactly(self._stream, _MESSAGE.size))
            walk.spans.append(
                Span(offset, end - offset, time_ns, is_chunk=False, counts=Counter((id,)))
            )
            _join_loose(walk.spans)
        elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
            check_size("a definition", length, self._max_bytes)
            walk.defined.add(opcode, read_exactly(self._stream, length))
        else:
            return opcode in _OPCODES
        return True


def _is_footer(stream: BinaryIO, length: int) -> bool:
    """Whether a footer of ``length`` bytes and the end of an MCAP file follow."""
    return length == _FOOTER.size and stream.read(length + len(MAGIC)).endswith(MAGIC)


def _contradiction(summary: _Summary, walk: _Walk) -> str | None:
    """Where the summary says something else than the file's records; None if nowhere."""
    if walk.damage is not None:
        return walk.damage
    if not summary.chunks and summary.counts is None:
        return None  # it has no index
    chunks = {span.offset: span for span in walk.spans if span.is_chunk}
    if len(summary.chunks) != len(chunks):
        return f"it lists {len(summary.chunks)} chunks, and the file has {len(chunks)}"
    for listed in summary.chunks:
        found = chunks.pop(listed.chunk_start_offset, None)
        if (
            found is None
            or found.length != listed.chunk_length
            or found.start_time_ns != listed.message_start_time
            or set(listed.message_index_offsets) != set(found.counts)
        ):
            return f"it is wrong about the chunk at byte {listed.chunk_start_offset}"
    if summary.counts is not None and total_counts(walk.spans) != Counter(summary.counts):
        return "its statistics count other messages than its chunks"
    return None


def _meaning(channel: records.Channel) -> tuple[str, str, int]:
    return channel.topic, channel.message_encoding, channel.schema_id


def _beside(kept: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """All of ``kept``, and those of ``others`` that overlap with none of them."""
    kept = list(kept)
    spans = list(kept)
    place = 0
    for span in sorted(others, key=lambda span: span.offset):
        while place < len(kept) and kept[place].end <= span.offset:
            place += 1
        if place == len(kept) or kept[place].offset >= span.end:
            spans.append(span)
    return spans


def _join_loose(spans: list[Span]) -> None:
    """Merge the last two spans when both are small, adjacent and outside chunks."""
    if len(spans) < 2:
        return
    first, last = spans[-2:]
    length = first.length + last.length
    if first.is_chunk or first.end != last.offset or length > _MAX_LOOSE_BYTES:
        return
    start_ns = min(first.start_time_ns, last.start_time_ns)
    counts = Counter(first.counts)
    counts.update(last.counts)
    spans[-2:] = [Span(first.offset, length, start_ns, is_chunk=False, counts=counts)]


def _parts(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Opcode, start and stop of each record in ``data``."""
    place = 0
    while place < len(data):
        if place + _HEAD.size > len(data):
            raise EOFError("a record is cut off")
        opcode, length = _HEAD.unpack_from(data, place)
        start = place + _HEAD.size
        place = start + length
        if place > len(data):
            raise EOFError(f"a record of {length} bytes exceeds its chunk")
        yield opcode, start, place


def _chunk_data(record: bytes, max_bytes: int) -> bytes:
    """The decompressed records of a chunk; its checksum is checked."""
    _, _, size, checksum, name_length = _CHUNK.unpack_from(record, _HEAD.size)
    name = _HEAD.size + _CHUNK.size
    length = name + name_length
    (packed,) = _LENGTH.unpack_from(record, length)
    start = length + _LENGTH.size
    if start + packed > len(record):
        raise EOFError(f"a chunk of {packed} bytes exceeds its record")
    method = record[name:length].decode("utf-8", "backslashreplace")
    view = memoryview(record)[start : start + packed]
    data = decompress("the chunk", view, method, max_bytes, size)
    if checksum and zlib.crc32(data) != checksum:
        raise RecordingError("the checksum of the chunk is wrong")
    return data
