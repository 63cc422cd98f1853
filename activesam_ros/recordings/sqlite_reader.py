"""Read rosbag2's SQLite files (.db3) of every schema version, up to a damaged tail."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from urllib.parse import quote

from activesam_ros.errors import RecordingError
from activesam_ros.recordings.file_reader import (
    Channel,
    DamageError,
    RawMessage,
    full_type_name,
)

MAGIC = b"SQLite format 3\x00"


class SqliteReader:
    """An open .db3 file; raises RecordingError when the file is not one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                raise RecordingError(
                    f"{path} does not begin like an SQLite file; check that the copy is complete."
                )
        self._connection = _connect(path)
        try:
            self._by_id = self._read_channels()
            self._damage = self._find_damage()
            self._start_time_ns = self._find_start()
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise RecordingError(
                f"{path} is damaged; not even its topics can be read ({error})."
            ) from error
        except BaseException:
            self._connection.close()
            raise

    @property
    def channels(self) -> tuple[Channel, ...]:
        return tuple(self._by_id.values())

    @property
    def damage(self) -> str | None:
        return self._damage

    @property
    def start_time_ns(self) -> int:
        return self._start_time_ns

    def close(self) -> None:
        self._connection.close()

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """Messages on ``topics`` in order of log time; raises DamageError at a damaged place.

        Those of a damaged file come in the order of writing.
        """
        wanted = [id for id, channel in self._by_id.items() if channel.topic in topics]
        marks = ",".join("?" * len(wanted))
        # Sorting by time may use an index, any page of which may be damaged.
        order = "id" if self._damage else "timestamp, id"
        rows = _rows(
            self._connection,
            f"SELECT topic_id, timestamp, data FROM messages "
            f"WHERE topic_id IN ({marks}) ORDER BY {order}",
            wanted,
        )
        for topic_id, time_ns, data in rows:
            yield RawMessage(self._by_id[topic_id], time_ns, data)

    def _read_channels(self) -> dict[int, Channel]:
        tables = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_master")}
        if not {"topics", "messages"} <= tables:
            raise RecordingError(
                f"{self._path} lacks the table topics or messages; it is no rosbag2 recording."
            )
        columns = {row[1] for row in self._connection.execute("PRAGMA table_info(topics)")}
        qos = "offered_qos_profiles" if "offered_qos_profiles" in columns else "''"
        topics = self._connection.execute(
            f"SELECT id, name, type, serialization_format, {qos} FROM topics ORDER BY id"
        ).fetchall()
        counts = self._count()
        return {
            topic_id: Channel(
                topic,
                full_type_name(message_type),
                encoding,
                None if counts is None else counts.get(topic_id, 0),
                qos or "",
            )
            for topic_id, topic, message_type, encoding, qos in topics
        }

    def _count(self) -> dict[int, int] | None:
        """Number of messages by topic id; None for a damaged file."""
        query = "SELECT topic_id, count(*) FROM messages GROUP BY topic_id"
        try:
            return dict(self._connection.execute(query).fetchall())
        except sqlite3.DatabaseError:
            return None

    def _find_start(self) -> int:
        if self._damage:
            return 0  # the index by time may be damaged
        (start,) = self._connection.execute("SELECT min(timestamp) FROM messages").fetchone()
        return start or 0

    def _find_damage(self) -> str | None:
        """Read every message id; this is cheap compared with segmenting the images."""
        last = 0
        try:
            for row in self._connection.execute("SELECT id FROM messages ORDER BY id"):
                last = row[0]
            self._connection.execute("SELECT id FROM messages ORDER BY timestamp, id").fetchone()
        except sqlite3.DatabaseError as error:
            return f"it is damaged after message {last} ({error})"
        return None


def _rows(
    connection: sqlite3.Connection, query: str, values: list[int]
) -> Iterator[tuple[int, int, bytes]]:
    last_time_ns: int | None = None
    try:
        for topic_id, last_time_ns, data in connection.execute(query, values):
            yield topic_id, last_time_ns, data if isinstance(data, bytes) else b""
    except sqlite3.DatabaseError as error:
        where = "at its first message" if last_time_ns is None else f"after {last_time_ns} ns"
        raise DamageError(f"it is damaged {where} ({error})") from error


def _connect(path: Path) -> sqlite3.Connection:
    """A read-only connection; it also opens truncated files and files on read-only media.

    It includes a write-ahead log that a killed recorder left beside the file.
    """
    location = quote(str(path.absolute()))
    for mode in ("mode=ro", "immutable=1"):
        connection = sqlite3.connect(f"file:{location}?{mode}", uri=True)
        # Without a writable schema SQLite refuses a file that is shorter than its header says.
        connection.execute("PRAGMA writable_schema=ON")
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
