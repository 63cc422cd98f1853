"""The base of the readers of formats that hold messages in spans: MCAP and ROS 1."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from activesam_ros.recordings.formats.file_reader import (
    DamageError,
    FileReader,
    RawMessage,
    damage_at,
    open_with_magic,
)
from activesam_ros.recordings.formats.spans import Content, Span, in_time_order


class SpanReader(FileReader):
    """An open file whose messages are in spans; raises RecordingError for another file.

    max_bytes: what a chunk or a message may take. magic, what, advice: as in open_with_magic.
    """

    def __init__(
        self, path: Path, max_bytes: int, magic: bytes, what: str, advice: str = ""
    ) -> None:
        super().__init__()
        self._max_bytes = max_bytes
        self._spans: list[Span] = []
        self._stream = open_with_magic(path, magic, what, advice)
        try:
            self._size = self._stream.seek(0, os.SEEK_END)
            self._read_index()
        except BaseException:
            self._stream.close()
            raise
        self.start_time_ns = min((span.start_time_ns for span in self._spans), default=0)

    @abstractmethod
    def _read_index(self) -> None:
        """Find the spans and channels, and say what is wrong with the file."""

    @abstractmethod
    def _content(self, span: Span) -> Content:
        """The messages of a span; what errors it raises is up to the parser."""

    def close(self) -> None:
        self._stream.close()

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """Messages on ``topics`` in order of log time, each once; see in_time_order.

        Raises DamageError at a damaged place.
        """
        wanted = {id for id, channel in self._by_id.items() if channel.topic in topics}
        if not wanted:
            return
        ordered = in_time_order(self._spans, wanted, self._undamaged, self._max_bytes)
        for id, time_ns, data in ordered:
            yield RawMessage(self._by_id[id], time_ns, data)

    def _undamaged(self, span: Span) -> Content:
        """The messages of a span; raises DamageError."""
        try:
            return self._content(span)
        except Exception as error:
            raise DamageError(damage_at(span.offset, error)) from error

    def _scan_spans(self, spans: Iterable[Span], read: Callable[[Span], Content]) -> None:
        """Keep ``spans``, with what ``read`` finds in chunks, up to the first damaged place."""
        self._spans = []
        for span in spans:
            if span.is_chunk:  # the heads of other messages have told all
                try:
                    content = read(span)
                except Exception as error:  # noqa: BLE001 whatever a parser raises
                    self.damage = damage_at(span.offset, error)
                    return
                span = replace(span, start_time_ns=content.start_time_ns(), counts=content.counts())
            self._spans.append(span)
