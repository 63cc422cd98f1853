"""The journal of a replay: finished frames, kept beside the output to be resumed."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from activesam_ros.errors import RecordingError
from activesam_ros.resumable_work import open_journal

_SCHEMA = """
CREATE TABLE IF NOT EXISTS frames (
    place INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    log_time_ns INTEGER NOT NULL,
    mask BLOB,
    active_classes BLOB,
    problem TEXT,
    stamp_is_log_time INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS streams (topic TEXT PRIMARY KEY, state TEXT NOT NULL)
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

        Raises UsageError when it belongs to another ``job`` or is in use, RecordingError when the
        file is no journal.
        """
        self.path = path
        self._connection = open_journal(path, _SCHEMA, job, "replay")
        (self.done,) = self._connection.execute("SELECT count(*) FROM frames").fetchone()

    def append(self, entry: JournalEntry, stream: str | None = None) -> None:
        """Add the entry of the next frame; it is on disk when this returns.

        stream: the state of its topic after this frame, None without streaming. Raises
        RecordingError when it cannot be written; earlier entries are kept.
        """
        row = (
            self.done,
            entry.topic,
            entry.log_time_ns,
            None if entry.mask is None else zlib.compress(entry.mask, level=1),
            entry.active_classes,
            entry.problem,
            entry.stamp_is_log_time,
        )
        try:
            with self._connection:
                self._connection.execute("INSERT INTO frames VALUES (?, ?, ?, ?, ?, ?, ?)", row)
                if stream is not None:
                    self._connection.execute(
                        "INSERT OR REPLACE INTO streams VALUES (?, ?)", (entry.topic, stream)
                    )
        except sqlite3.DatabaseError as error:
            raise RecordingError(
                f"{self.path} cannot be written ({error}); its {self.done} frames are kept, so "
                "free some disk space and repeat the command."
            ) from error
        self.done += 1

    def streams(self) -> dict[str, str]:
        """The state of each topic after the last entry."""
        return dict(self._connection.execute("SELECT topic, state FROM streams"))

    def outcomes(self) -> Iterator[tuple[str | None, bool]]:
        """The problem of every entry, and whether its stamp is the log time."""
        rows = self._connection.execute("SELECT problem, stamp_is_log_time FROM frames")
        for problem, stamp_is_log_time in rows:
            yield problem, bool(stamp_is_log_time)

    def entries(self) -> Iterator[JournalEntry]:
        """Every entry, one at a time."""
        rows = self._connection.execute(
            "SELECT topic, log_time_ns, mask, active_classes, problem, stamp_is_log_time "
            "FROM frames ORDER BY place"
        )
        for topic, log_time_ns, mask, active_classes, problem, stamp_is_log_time in rows:
            yield JournalEntry(
                topic,
                log_time_ns,
                None if mask is None else zlib.decompress(mask),
                active_classes,
                problem,
                bool(stamp_is_log_time),
            )

    def close(self) -> None:
        """Close the journal and keep it."""
        self._connection.close()

    def remove(self) -> None:
        """Close and delete the journal."""
        self.close()
        self.path.unlink()
