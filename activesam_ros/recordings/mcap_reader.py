"""Read MCAP files of any profile, with or without an index, up to a damaged tail.

rosbags reads only intact files of the profile ros2. This reader uses the records that the ``mcap``
package parses. Its index comes from the file's summary, or from one pass over the file.
"""

from __future__ import annotations

import heapq
import io
import os
import struct
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import zstandard
from mcap import records
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.reader import SeekingReader
from mcap.stream_reader import CRCValidationError, breakup_chunk

from activesam_ros.errors import RecordingError
from activesam_ros.recordings.file_reader import (
    Channel,
    DamageError,
    RawMessage,
    full_type_name,
    read_exactly,
)

MAGIC = b"\x89MCAP0\r\n"

_HEAD = struct.Struct("<BQ")  # opcode and length of a record
_MESSAGE_TIMES = struct.Struct("<HIQ")  # channel, sequence and log time of a message record
_MAX_LOOSE_BYTES = 1 << 20  # size of a span of messages outside chunks
_DAMAGE = (
    McapError,
    CRCValidationError,
    zstandard.ZstdError,
    RuntimeError,  # raised by lz4
    struct.error,
    EOFError,
    ValueError,
    KeyError,
)


@dataclass(frozen=True, slots=True)
class _Span:
    """A chunk record, or consecutive message records outside chunks.

    start_time_ns: log time of the first message. channel_ids: channels with messages in the span,
    None when unknown.
    """

    start_time_ns: int
    offset: int
    length: int
    is_chunk: bool
    channel_ids: frozenset[int] | None = None


@dataclass
class _Index:
    """Where a file has its messages. counts: messages by channel id, None when unknown."""

    schemas: dict[int, records.Schema] = field(default_factory=dict)
    channels: dict[int, records.Channel] = field(default_factory=dict)
    spans: list[_Span] = field(default_factory=list)
    counts: Counter[int] | None = field(default_factory=Counter)
    damage: str | None = None

    def add(self, record: records.McapRecord) -> None:
        """Store a schema or a channel; the index needs no other records."""
        if isinstance(record, records.Schema):
            self.schemas[record.id] = record
        elif isinstance(record, records.Channel):
            self.channels[record.id] = record


class McapReader:
    """An open MCAP file; raises RecordingError when the file is not MCAP."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: BinaryIO = path.open("rb")
        try:
            if self._stream.read(len(MAGIC)) != MAGIC:
                raise RecordingError(
                    f"{path} does not begin like an MCAP file; check that the copy is complete."
                )
            index = _summary_index(self._stream)
            self._index = _scan(self._stream) if index is None else index
        except BaseException:
            self._stream.close()
            raise
        self._by_id = {id: self._channel(channel) for id, channel in self._index.channels.items()}

    @property
    def channels(self) -> tuple[Channel, ...]:
        return tuple(self._by_id.values())

    @property
    def damage(self) -> str | None:
        return self._index.damage

    @property
    def start_time_ns(self) -> int:
        return min((span.start_time_ns for span in self._index.spans), default=0)

    def close(self) -> None:
        self._stream.close()

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """Messages on ``topics`` in order of log time; raises DamageError at a damaged place.

        Memory holds only spans that overlap in time.
        """
        wanted = {id for id, channel in self._by_id.items() if channel.topic in topics}
        if not wanted:
            return
        # (log time, offset in the file, index in the span) sorts a span before its messages
        queue: list[tuple[int, int, int, _Span | records.Message]] = [
            (span.start_time_ns, span.offset, -1, span)
            for span in self._index.spans
            if span.channel_ids is None or span.channel_ids & wanted
        ]
        heapq.heapify(queue)
        while queue:
            time_ns, offset, _, item = heapq.heappop(queue)
            if isinstance(item, _Span):
                for place, message in enumerate(self._messages_in(item)):
                    if message.channel_id in wanted:
                        heapq.heappush(queue, (message.log_time, offset, place, message))
            else:
                yield RawMessage(self._by_id[item.channel_id], time_ns, bytes(item.data))

    def _messages_in(self, span: _Span) -> list[records.Message]:
        try:
            found = _records_of(self._stream, span)
        except _DAMAGE as error:
            raise DamageError(_damage(span.offset, error)) from error
        return [record for record in found if isinstance(record, records.Message)]

    def _channel(self, channel: records.Channel) -> Channel:
        schema = self._index.schemas.get(channel.schema_id)
        counts = self._index.counts
        return Channel(
            topic=channel.topic,
            message_type=full_type_name(schema.name) if schema else "",
            encoding=channel.message_encoding,
            messages=None if counts is None else counts[channel.id],
            qos=channel.metadata.get("offered_qos_profiles", ""),
        )


def _summary_index(stream: BinaryIO) -> _Index | None:
    """The index in the file's summary; None when it is missing or incomplete."""
    stream.seek(0)
    try:
        summary = SeekingReader(stream).get_summary()
    except (*_DAMAGE, OSError):
        return None
    if summary is None or not summary.chunk_indexes or not summary.channels:
        return None
    statistics = summary.statistics
    if statistics is not None and statistics.chunk_count != len(summary.chunk_indexes):
        return None
    spans = [
        _Span(
            chunk.message_start_time,
            chunk.chunk_start_offset,
            chunk.chunk_length,
            True,
            frozenset(chunk.message_index_offsets) or None,
        )
        for chunk in summary.chunk_indexes
    ]
    counts = None if statistics is None else Counter(statistics.channel_message_counts)
    return _Index(dict(summary.schemas), dict(summary.channels), spans, counts)


def _scan(stream: BinaryIO) -> _Index:
    """Build the index in one pass over the file, up to the first damaged place."""
    index = _Index()
    size = stream.seek(0, os.SEEK_END)
    offset = len(MAGIC)
    try:
        while offset < size:
            stream.seek(offset)
            opcode, length = _HEAD.unpack(read_exactly(stream, _HEAD.size))
            end = offset + _HEAD.size + length
            if end > size:
                raise EOFError(f"a record of {length} bytes exceeds the end of the file")
            if opcode in (Opcode.DATA_END, Opcode.FOOTER):
                return index
            _add_record(index, stream, opcode, offset, end)
            offset = end
        index.damage = f"it ends without a summary at byte {size}"
    except _DAMAGE as error:
        index.damage = _damage(offset, error)
    return index


def _add_record(index: _Index, stream: BinaryIO, opcode: int, offset: int, end: int) -> None:
    """Add the record from ``offset`` to ``end``, whose head has been read."""
    assert index.counts is not None
    if opcode == Opcode.CHUNK:
        span = _Span(0, offset, end - offset, True)
        times: list[int] = []
        for record in _records_of(stream, span):
            index.add(record)
            if isinstance(record, records.Message):
                times.append(record.log_time)
                index.counts[record.channel_id] += 1
        index.spans.append(_Span(min(times, default=0), offset, end - offset, True))
    elif opcode == Opcode.MESSAGE:
        channel_id, _, time_ns = _MESSAGE_TIMES.unpack(read_exactly(stream, _MESSAGE_TIMES.size))
        index.counts[channel_id] += 1
        index.spans.append(_Span(time_ns, offset, end - offset, False))
        _join_loose(index.spans)
    elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
        for record in _records_of(stream, _Span(0, offset, end - offset, False)):
            index.add(record)


def _join_loose(spans: list[_Span]) -> None:
    """Merge the last two spans when both are small, adjacent and outside chunks."""
    if len(spans) < 2:
        return
    first, last = spans[-2:]
    if (
        not first.is_chunk
        and first.offset + first.length == last.offset
        and first.length + last.length <= _MAX_LOOSE_BYTES
    ):
        start = min(first.start_time_ns, last.start_time_ns)
        spans[-2:] = [_Span(start, first.offset, first.length + last.length, False)]


def _records_of(stream: BinaryIO, span: _Span) -> list[records.McapRecord]:
    """The schemas, channels and messages of a span; raises an error of _DAMAGE."""
    stream.seek(span.offset)
    data = read_exactly(stream, span.length)
    if span.is_chunk:
        chunk = records.Chunk.read(ReadDataStream(io.BytesIO(data[_HEAD.size :])))
        return list(breakup_chunk(chunk, validate_crc=True))
    loose = records.Chunk("", data, 0, 0, 0, len(data))
    return list(breakup_chunk(loose))


def _damage(offset: int, error: BaseException) -> str:
    reason = str(error) or type(error).__name__
    return f"it is damaged at byte {offset} ({reason})"
