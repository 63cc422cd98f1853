"""The journal of one variant with one vocabulary, frame by frame; interrupted work continues it."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activesam_ros.resumable_work import open_journal
from benchmarks.streaming.kept_drive import decoded, encoded

SUFFIX = ".journal"

_COMMAND = "benchmark"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS frames (place INTEGER PRIMARY KEY, record TEXT NOT NULL, labels BLOB);
CREATE TABLE IF NOT EXISTS stream (only INTEGER PRIMARY KEY, state TEXT NOT NULL)
"""


@dataclass(frozen=True)
class Record:
    """One frame.

    wall_ms, processor_ms: time to segment it. previewed: how many queries were previewed. active:
    indices of the active classes; entered: those of them that the preview found. presence: by name,
    of every active class that the drive shows.
    """

    wall_ms: float
    processor_ms: float
    previewed: int
    active: tuple[int, ...]
    entered: tuple[int, ...]
    presence: Mapping[str, float]


class RunJournal:
    """Records and label maps in frame order; ``done`` is how many there are."""

    def __init__(self, path: Path, job: Mapping[str, object]) -> None:
        """Open the journal at ``path``, or create it.

        Raises UsageError when it belongs to another ``job`` or is in use.
        """
        self._connection = open_journal(path, _SCHEMA, job, _COMMAND)
        (self.done,) = self._connection.execute("SELECT count(*) FROM frames").fetchone()

    def append(
        self, record: Record, labels: NDArray[np.uint8] | NDArray[np.uint16], stream: str | None
    ) -> None:
        """Add the next frame; stream: the state after it, None without streaming."""
        text = json.dumps(dataclasses.asdict(record))
        with self._connection:
            self._connection.execute(
                "INSERT INTO frames VALUES (?, ?, ?)", (self.done, text, encoded(labels))
            )
            if stream is not None:
                self._connection.execute("INSERT OR REPLACE INTO stream VALUES (0, ?)", (stream,))
        self.done += 1

    def stream(self) -> str | None:
        """The state after the last frame."""
        row = self._connection.execute("SELECT state FROM stream").fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        """Close the file, which stays."""
        self._connection.close()


@dataclass(frozen=True)
class KeptRun:
    """A journal that was read: its job, its records, and its label maps one at a time."""

    path: Path
    job: Mapping[str, object]
    records: tuple[Record, ...]

    def labels(self) -> Iterator[NDArray[np.uint8]]:
        """The label maps, uint8 [H, W], in the order of the records."""
        connection = sqlite3.connect(self.path)
        try:
            for (data,) in connection.execute("SELECT labels FROM frames ORDER BY place"):
                yield decoded(data)
        finally:
            connection.close()


def read_run(path: Path) -> KeptRun | None:
    """The journal at ``path``, None while another process writes it."""
    connection = sqlite3.connect(path, timeout=0)
    try:
        (job,) = connection.execute("SELECT description FROM job").fetchone()
        rows = connection.execute("SELECT record FROM frames ORDER BY place").fetchall()
    except sqlite3.OperationalError:
        return None
    finally:
        connection.close()
    return KeptRun(path, json.loads(job), tuple(_record(json.loads(text)) for (text,) in rows))


def _record(values: dict[str, Any]) -> Record:
    lists = {name: tuple(values[name]) for name in ("active", "entered")}
    return Record(**(values | lists))
