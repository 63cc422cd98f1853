"""Spans of a file that hold messages, such as chunks, and their messages in order of time."""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class FoundMessage(NamedTuple):
    """A message of a channel in a span: its log time, and where its data is in the span's bytes."""

    channel_id: int
    time_ns: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """A chunk, or messages outside chunks.

    start_time_ns: log time of its first message. counts: its messages by channel id.
    """

    offset: int
    length: int
    start_time_ns: int
    is_chunk: bool
    counts: Mapping[int, int] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """Where the file goes on."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Content:
    """The decompressed bytes of a span and its messages, in order of writing."""

    data: bytes
    messages: tuple[FoundMessage, ...]

    def counts(self) -> Counter[int]:
        """Messages by channel id."""
        return Counter(message.channel_id for message in self.messages)

    def start_time_ns(self) -> int:
        """The earliest log time, 0 without messages."""
        return min((message.time_ns for message in self.messages), default=0)


def without_overlaps(spans: Iterable[Span]) -> list[Span]:
    """The spans in order of offset; of those that overlap, the one that begins first."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.offset, span.length)):
        if not kept or span.offset >= kept[-1].end:
            kept.append(span)
    return kept


def total_counts(spans: Iterable[Span]) -> Counter[int]:
    """Messages by channel id of all spans."""
    total: Counter[int] = Counter()
    for span in spans:
        total.update(span.counts)
    return total


def in_time_order(
    spans: Iterable[Span],
    wanted: Collection[int],
    read: Callable[[Span], Content],
    max_bytes: int,
) -> Iterator[tuple[int, int, bytes]]:
    """Channel id, log time and data of each message of the ``wanted`` channels, each once.

    Messages of one time keep the order of writing. A span is read when its first message is due,
    and kept until its last one is delivered. Of spans that overlap in time at most ``max_bytes``
    are kept, and one span more; others are read again.
    """
    by_offset = {
        span.offset: span for span in spans if any(channel in wanted for channel in span.counts)
    }
    # (log time, offset, place in the span); -1, before its messages, is the span itself
    queue = [(span.start_time_ns, span.offset, -1) for span in by_offset.values()]
    heapq.heapify(queue)
    kept: OrderedDict[int, Content] = OrderedDict()
    waiting: Counter[int] = Counter()
    while queue:
        time_ns, offset, place = heapq.heappop(queue)
        if offset not in kept:
            kept[offset] = read(by_offset[offset])
            _make_room(kept, max_bytes)
        content = kept[offset]
        if place < 0:
            for number, message in enumerate(content.messages):
                if message.channel_id in wanted:
                    heapq.heappush(queue, (message.time_ns, offset, number))
                    waiting[offset] += 1
        else:
            message = content.messages[place]
            waiting[offset] -= 1
            yield message.channel_id, time_ns, content.data[message.start : message.stop]
        if not waiting[offset]:
            del kept[offset], waiting[offset], content


def _make_room(kept: OrderedDict[int, Content], max_bytes: int) -> None:
    """Drop the spans that were read first until the others fit; the newest stays."""
    total = sum(len(content.data) for content in kept.values())
    while total > max_bytes and len(kept) > 1:
        _, dropped = kept.popitem(last=False)
        total -= len(dropped.data)
