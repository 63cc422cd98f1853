"""The journal that an interrupted command leaves beside its output, for the next try to resume.

The journal is an SQLite file that belongs to one job. An entry is written as a whole or not at all,
even if the command is killed. A job is described by what its results depend on. What is read is
checked: the tables, the type of each value, and the checksum of each row.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from activesam_ros.errors import PlainDataError, RecordingError, UsageError, os_reason
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.regular_files import check_regular

# A value of a row.
Cell: TypeAlias = "int | str | bytes | None"

_JOB = "CREATE TABLE IF NOT EXISTS job (description TEXT NOT NULL);"
_LARGEST_JOURNAL = 1 << 38
_LARGEST_JOB = 1 << 24
# The files that SQLite makes beside its own.
_SIDE_FILES = ("", "-wal", "-journal", "-shm")


def files_identity(files: Iterable[Path]) -> str:
    """A hash that changes when a file is changed, replaced, added or removed.

    It covers names, sizes and modification times, not contents.
    """
    digest = hashlib.sha256()
    for file in files:
        status = file.stat()
        digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def vocabulary_identity(vocabulary: Vocabulary) -> str:
    """A hash that changes when a class, its id, a name, a colour, a pin or a threshold
    changes."""
    classes = [dataclasses.astuple(entry) for entry in vocabulary.classes]
    return hashlib.sha256(repr(classes).encode()).hexdigest()


def open_journal(
    path: Path, schema: str, job: Mapping[str, object], command: str, version: int = 0
) -> sqlite3.Connection:
    """Open the journal at ``path``, or create it with the tables of ``schema``.

    job: what the results depend on. command: what messages call the work. version: the format of
    the entries. Raises UsageError when the journal belongs to another job, has another version or
    is in use, RecordingError when the file is no journal.
    """
    _check_files(path, command)
    connection = None
    try:
        connection = sqlite3.connect(path, timeout=0)
        # A text that is not UTF-8 is one that differs, not an error that quotes it.
        connection.text_factory = lambda data: data.decode("utf-8", "replace")
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA cell_size_check=ON")
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            connection.executescript(
                f"BEGIN; {_JOB} {schema}; PRAGMA user_version={version}; COMMIT"
            )
        (found_version,) = connection.execute("PRAGMA user_version").fetchone()
        if found_version != version:
            raise UsageError(
                f"{path} was left by an interrupted {command} of another version of this package; "
                "finish it with that version, or remove the file to start again."
            )
        if _tables(connection) != _tables_of(schema):
            _refuse(path, command, "its tables are others")
        _check_job(connection, path, json.dumps(job, sort_keys=True), command)
    except sqlite3.OperationalError as error:
        raise UsageError(
            f"{path} cannot be written ({_short(str(error))}); wait for the {command} that has it "
            "open, free some disk space, or give another --output."
        ) from error
    except sqlite3.DatabaseError as error:
        _refuse(path, command, str(error), error)
    except BaseException:
        if connection is not None:
            connection.close()
        raise
    return connection


def add_row(
    connection: sqlite3.Connection, table: str, row: Sequence[Cell], *, replace: bool = False
) -> None:
    """Add a row with its checksum, which is the last column of every table of a journal.

    replace: whether it takes the place of a row with the same key. Raises sqlite3.DatabaseError.
    """
    marks = ", ".join("?" * (len(row) + 1))
    verb = "INSERT OR REPLACE" if replace else "INSERT"
    connection.execute(f"{verb} INTO {table} VALUES ({marks})", (*row, _checksum(row)))


def read_rows(
    connection: sqlite3.Connection, path: Path, table: str, columns: Mapping[str, Sequence[type]]
) -> Iterator[tuple[Any, ...]]:
    """The rows that :func:`add_row` added, by rising first column, one at a time.

    columns: the types that each may have. Raises RecordingError for a damaged or foreign row.
    """
    names, first = ", ".join(columns), next(iter(columns))
    try:
        rows = connection.execute(f"SELECT {names}, checksum FROM {table} ORDER BY {first}")
        for *row, checksum in rows:
            for (name, types), value in zip(columns.items(), row, strict=True):
                if type(value) not in types:
                    raise damaged(path, f"{name} is {type(value).__name__}")
            if checksum != _checksum(row):
                raise damaged(path, "a checksum is wrong")
            yield tuple(row)
    except sqlite3.DatabaseError as error:
        raise damaged(path, str(error)) from error


def row_count(connection: sqlite3.Connection, path: Path, table: str) -> int:
    """How many rows a table has; raises RecordingError for a damaged file."""
    try:
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    except sqlite3.DatabaseError as error:
        raise damaged(path, str(error)) from error
    return int(count)


def packed(data: bytes) -> bytes:
    """``data``, compressed."""
    return zlib.compress(data, level=1)


def unpacked(data: bytes, limit: int) -> bytes:
    """What :func:`packed` packed; raises PlainDataError where it is damaged or above ``limit``."""
    decompressor = zlib.decompressobj()
    try:
        found = decompressor.decompress(data, limit)
    except zlib.error as error:
        raise PlainDataError(str(error)) from error
    if decompressor.unconsumed_tail:
        raise PlainDataError(f"it unpacks to more than {limit:,} bytes")
    if not decompressor.eof or decompressor.unused_data:
        raise PlainDataError("its compressed data is not whole")
    return found


def damaged(path: Path, reason: str) -> RecordingError:
    """The error of a journal whose entries cannot be used."""
    return RecordingError(f"{path} is damaged ({_short(reason)}); remove it to start again.")


def check_same_job(
    path: Path, then: Mapping[str, object], now: Mapping[str, object], command: str
) -> None:
    """Raise UsageError naming what differs between the job that left ``path`` and this one."""
    changed = [name for name in now if now[name] != then.get(name)]
    if changed:
        raise UsageError(
            f"{path} was left by an interrupted {command} with another "
            f"{' and '.join(changed)}; repeat that command to finish it, or remove the file to "
            "start again."
        )


def _check_files(path: Path, command: str) -> None:
    """SQLite would wait for a pipe for ever, and write the target of a link."""
    for suffix in _SIDE_FILES:
        file = path.with_name(path.name + suffix)
        if not os.path.lexists(file):
            continue
        if file.is_symlink():
            _refuse(file, command, "it is a link")
        try:
            check_regular(file, _LARGEST_JOURNAL, ours=True)
        except OSError as error:
            _refuse(file, command, os_reason(error), error)


def _check_job(connection: sqlite3.Connection, path: Path, description: str, command: str) -> None:
    rows = connection.execute("SELECT description FROM job").fetchmany(2)
    if not rows:
        with connection:
            connection.execute("INSERT INTO job VALUES (?)", (description,))
        return
    try:
        then = json.loads(rows[0][0][:_LARGEST_JOB])
    except (ValueError, TypeError, RecursionError) as error:
        _refuse(path, command, "its job cannot be read", error)
    if not isinstance(then, dict) or len(rows) > 1:
        _refuse(path, command, "its job cannot be read")
    check_same_job(path, then, json.loads(description), command)


def _tables(connection: sqlite3.Connection) -> set[tuple[Any, ...]]:
    return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))


def _tables_of(schema: str) -> set[tuple[Any, ...]]:
    memory = sqlite3.connect(":memory:")
    try:
        memory.executescript(f"{_JOB} {schema}")
        return _tables(memory)
    finally:
        memory.close()


def _checksum(row: Sequence[Cell]) -> bytes:
    digest = hashlib.sha256()
    for value in row:
        data = value if isinstance(value, bytes) else repr(value).encode()
        digest.update(f"{type(value).__name__} {len(data)} ".encode())
        digest.update(data)
    return digest.digest()


def _short(reason: str) -> str:
    """A reason on one line; SQLite quotes the tables of a damaged file."""
    return " ".join(reason.split())[:160]


def _refuse(path: Path, command: str, why: str, cause: Exception | None = None) -> NoReturn:
    raise RecordingError(
        f"{path} is not what an interrupted {command} leaves ({_short(why)}); remove it or give "
        "another --output."
    ) from cause
