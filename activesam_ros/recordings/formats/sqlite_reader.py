"""Read rosbag2's SQLite files (.db3) of every schema version, up to a damaged tail."""

from __future__ import annotations

import os
import sqlite3
from array import array
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from activesam_ros.errors import RecordingError
from activesam_ros.recordings.formats.decompression import way_out
from activesam_ros.recordings.formats.file_reader import (
    Channel,
    DamageError,
    FileReader,
    RawMessage,
    open_with_magic,
)

MAGIC = b"SQLite format 3\x00"

# A query may take so many steps of SQLite's machine, and so many for each byte of the file. A row
# of a recording takes about 20 steps, and at least 10 bytes.
_STEPS = 20_000_000
_STEPS_PER_BYTE = 8
_STEPS_BETWEEN = 100_000
# What a topic's text may have.
_MAX_TEXT_BYTES = 1 << 20


class SqliteReader(FileReader):
    """An open .db3 file; raises RecordingError when the file is not one.

    The table is read in order of its rows, and the messages are then sorted, since the file's own
    index may be damaged: that takes 24 bytes of memory for a message. max_bytes: what a message may
    take.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        super().__init__()
        self._path = path
        self._max_bytes = max_bytes
        with open_with_magic(path, MAGIC, "an SQLite file") as stream:
            self._budget = _STEPS + _STEPS_PER_BYTE * stream.seek(0, os.SEEK_END)
        self._steps = 0
        self._connection = _connect(path)
        try:
            self._connection.set_progress_handler(self._count_steps, _STEPS_BETWEEN)
            topics = self._read_topics()
            self._read_places(topics)
            counts = Counter(self._topic_of)
            self._by_id = {
                id: Channel.of(topic, message_type, encoding, counts[id], qos)
                for id, (topic, message_type, encoding, qos) in topics.items()
            }
        except sqlite3.Error as error:
            self._connection.close()
            raise RecordingError(
                f"{path} is damaged; not even its topics can be read ({error})."
            ) from error
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        self._connection.close()

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """Messages on ``topics`` in order of log time; raises DamageError at a damaged place."""
        wanted = {id for id, channel in self._by_id.items() if channel.topic in topics}
        rows, times = np.asarray(self._rows), np.asarray(self._times)
        chosen = np.flatnonzero(np.isin(np.asarray(self._topic_of), list(wanted)))
        for place in chosen[np.lexsort((rows[chosen], times[chosen]))]:
            channel = self._by_id[self._topic_of[place]]
            yield self._message(channel, self._times[place], self._rows[place])

    def _message(self, channel: Channel, time_ns: int, row: int) -> RawMessage:
        try:
            found = self._query(
                "SELECT length(data), CASE WHEN length(data) <= ? THEN data END "
                "FROM messages WHERE rowid = ?",
                (self._max_bytes, row),
            ).fetchone()
        except sqlite3.Error as error:
            raise DamageError(f"it is damaged at message {row} ({error})") from error
        size, data = found or (None, None)
        if isinstance(data, bytes):
            return RawMessage(channel, time_ns, data)
        problem = f"message {row} on {channel.topic} has no bytes"
        if isinstance(size, int) and size > self._max_bytes:
            problem = f"message {row} takes {size:,} bytes; {way_out(self._max_bytes)}"
        return RawMessage(channel, time_ns, b"", problem)

    def _read_topics(self) -> dict[int, tuple[str, str, str, str]]:
        """Name, type, encoding and quality of service of the topics whose texts are texts."""
        kinds = dict(self._query("SELECT name, type FROM sqlite_master").fetchall())
        for table in ("topics", "messages"):
            if table not in kinds:
                raise RecordingError(
                    f"{self._path} lacks the table topics or messages; it is no rosbag2 recording."
                )
            if kinds[table] != "table":
                raise RecordingError(
                    f"{table!r} in {self._path} is a {kinds[table]} and not a table; it is no "
                    "rosbag2 recording."
                )
        columns = {row[1] for row in self._query("PRAGMA table_info(topics)")}
        qos = "offered_qos_profiles" if "offered_qos_profiles" in columns else "''"
        names = ("name", "type", "serialization_format", qos)
        texts = ", ".join(f"substr({name}, 1, {_MAX_TEXT_BYTES})" for name in names)
        kinds_of = ", ".join(f"typeof({name})" for name in ("id", *names))
        topics: dict[int, tuple[str, str, str, str]] = {}
        for id, *found in self._query(f"SELECT id, {texts}, {kinds_of} FROM topics ORDER BY id"):
            values, types = found[:4], found[4:]
            wrong = [
                f"its {name} is {kind.upper()}"
                for name, kind in zip(("id", *names[:3]), types, strict=False)
                if kind != ("integer" if name == "id" else "text")
            ]
            if wrong:
                self._notes.append(f"topic {id!r} cannot be read: {', '.join(wrong)}")
                continue
            if types[4] not in ("text", "null"):
                self._notes.append(f"topic {id} states no quality of service that is text")
            topics[id] = (*values[:3], values[3] if types[4] == "text" else "")
        return topics

    def _read_places(self, topics: Collection[int]) -> None:
        """Read the topic and time of every row, in order of the rows."""
        self._rows, self._times = array("q"), array("q")
        self._topic_of = array("q")
        untimed = strays = repeated = 0
        last, time_ns = 0, 0
        try:
            # NOT INDEXED: the index by time may lack rows that the table has.
            for row, topic, stamp in self._query(
                "SELECT rowid, topic_id, timestamp FROM messages NOT INDEXED ORDER BY rowid"
            ):
                if self._rows and row <= last:
                    repeated += 1
                    continue
                if not isinstance(topic, int) or topic not in topics:
                    strays += 1
                    continue
                if isinstance(stamp, int):
                    time_ns = stamp
                else:  # such a message takes the time of the one before
                    untimed += 1
                last = row
                self._rows.append(row)
                self._times.append(time_ns)
                self._topic_of.append(topic)
            self._compare_index(len(self._rows) + strays)
        except sqlite3.Error as error:
            self.damage = f"it is damaged after message {last} ({error})"
        if repeated:
            self._notes.append(f"{_messages(repeated)} listed twice or out of order, and left out")
        if strays:
            self._notes.append(f"{_messages(strays)} of no topic that can be read")
        if untimed:
            self._notes.append(
                f"{_messages(untimed)} whose time of recording is no number; they take that of the "
                "message before"
            )
        self.start_time_ns = min(self._times, default=0)

    def _compare_index(self, found: int) -> None:
        """Say when the file's index has another number of messages than its table."""
        # SQLite counts the rows of the smallest index, if there is one.
        (counted,) = self._query("SELECT count(*) FROM messages").fetchone()
        if counted != found:
            self._notes.append(
                f"its index by time counts {counted} messages, and {found} are found in its table"
            )

    def _query(self, text: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        self._steps = 0
        return self._connection.execute(text, values)

    def _count_steps(self) -> int:
        """Whether to end the query, because it takes more steps than the file is worth."""
        self._steps += _STEPS_BETWEEN
        return self._steps > self._budget


def _messages(number: int) -> str:
    return f"{number} message{' is' if number == 1 else 's are'}"


def _connect(path: Path) -> sqlite3.Connection:
    """A read-only connection; it also opens truncated files and files on read-only media.

    It includes a write-ahead log that a killed recorder left beside the file.
    """
    location = quote(str(path.absolute()))
    for mode in ("mode=ro", "immutable=1"):
        connection = sqlite3.connect(f"file:{location}?{mode}", uri=True)
        connection.text_factory = _text
        # Without a writable schema SQLite refuses a file that is shorter than its header says.
        connection.execute("PRAGMA writable_schema=ON")
        # Functions that the file's schema names are no part of a recording.
        connection.execute("PRAGMA trusted_schema=OFF")
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            connection.close()
            continue
        except sqlite3.DatabaseError as error:
            connection.close()
            raise RecordingError(f"{path} cannot be read: {error}.") from error
        return connection
    raise RecordingError(f"{path} cannot be opened; check its permissions.")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
