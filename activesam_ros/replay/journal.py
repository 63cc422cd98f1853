"""The journal of a replay: finished frames, kept beside the output to be resumed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activesam_ros.errors import PlainDataError, RecordingError
from activesam_ros.resumable_work import (
    add_row,
    damaged,
    open_journal,
    packed,
    read_rows,
    row_count,
    unpacked,
)

_VERSION = 1  # raise it whenever the tables change
_LARGEST_MASK = 1 << 28
_TEXT = (str, type(None))
_BLOB = (bytes, type(None))
_COLUMNS = {
    "place": (int,),
    "topic": (str,),
    "log_time_ns": (int,),
    "mask": _BLOB,
    "active_classes": _BLOB,
    "problem": _TEXT,
    "stamp_is_log_time": (int,),
}
_SCHEMA = """
CREATE TABLE IF NOT EXISTS frames (
    place INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    log_time_ns INTEGER NOT NULL,
    mask BLOB,
    active_classes BLOB,
    problem TEXT,
    stamp_is_log_time INTEGER NOT NULL,
    checksum BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS streams (
    topic TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    checksum BLOB NOT NULL
)
"""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """The result of one frame: the CDR of its two messages, or the problem that prevented them."""

    topic: str
    log_time_ns: int
    mask: bytes | None
    active_classes: bytes | None
    problem: str | None
    stamp_is_log_time: bool


class ReplayJournal:
    """Entries in the order of their frames. ``done`` is their number."""

    def __init__(self, path: Path, job: Mapping[str, object]) -> None:
        """Open the journal at ``path``, or create it.

        Raises UsageError when it belongs to another ``job``, comes from another version or is in
        use, RecordingError when the file is no journal.
        """
        self.path = path
        self._connection = open_journal(path, _SCHEMA, job, "replay", _VERSION)
        self.done = row_count(self._connection, path, "frames")

    def append(self, entry: JournalEntry, stream: str | None = None) -> None:
        """Add the entry of the next frame; it is on disk when this returns.

        stream: the state of its topic after this frame, None without streaming. Raises
        RecordingError when it cannot be written; earlier entries are kept.
        """
        row = (
            self.done,
            entry.topic,
            entry.log_time_ns,
            None if entry.mask is None else packed(entry.mask),
            entry.active_classes,
            entry.problem,
            int(entry.stamp_is_log_time),
        )
        try:
            with self._connection:
                add_row(self._connection, "frames", row)
                if stream is not None:
                    add_row(self._connection, "streams", (entry.topic, stream), replace=True)
        except sqlite3.DatabaseError as error:
            raise RecordingError(
                f"{self.path} cannot be written ({error}); its {self.done} frames are kept, so "
                "free some disk space and repeat the command."
            ) from error
        self.done += 1

    def streams(self) -> dict[str, str]:
        """The state of each topic after the last entry; raises RecordingError for a damaged one."""
        columns = {"topic": (str,), "state": (str,)}
        return dict(read_rows(self._connection, self.path, "streams", columns))

    def outcomes(self) -> Iterator[tuple[str | None, bool]]:
        """The problem of every entry, and whether its stamp is the log time."""
        for *_, problem, stamp_is_log_time in self._rows():
            yield problem, bool(stamp_is_log_time)

    def entries(self) -> Iterator[JournalEntry]:
        """Every entry, one at a time; raises RecordingError for a damaged one."""
        for _, topic, log_time_ns, mask, *others, stamp_is_log_time in self._rows():
            active_classes, problem = others
            try:
                mask = None if mask is None else unpacked(mask, _LARGEST_MASK)
            except PlainDataError as error:
                raise damaged(self.path, str(error)) from error
            is_log_time = bool(stamp_is_log_time)
            yield JournalEntry(topic, log_time_ns, mask, active_classes, problem, is_log_time)

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        """The rows of all entries, with what a row says by itself checked."""
        rows = read_rows(self._connection, self.path, "frames", _COLUMNS)
        for number, row in enumerate(rows):
            place, _, log_time_ns, mask, active_classes, problem, _ = row
            if place != number or not 0 <= log_time_ns < 1 << 63:
                raise damaged(self.path, f"entry {number} has place {place}")
            if (problem is None) == (mask is None) or (mask is None) != (active_classes is None):
                raise damaged(self.path, f"entry {number} has a mask and a problem, or neither")
            yield row

    def close(self) -> None:
        """Close the journal and keep it."""
        self._connection.close()

    def remove(self) -> None:
        """Close and delete the journal."""
        self.close()
        self.path.unlink()
