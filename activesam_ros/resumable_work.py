"""The journal that an interrupted command leaves beside its output, for the next try to resume.

The journal is an SQLite file that belongs to one job. An entry is written as a whole or not at all,
even if the command is killed. A job is described by what its results depend on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

from activesam_ros.errors import RecordingError, UsageError
from activesam_ros.prompts.vocabulary import Vocabulary

_JOB = "CREATE TABLE IF NOT EXISTS job (description TEXT NOT NULL);"


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
    """A hash that changes when a class, its id, a name, a color or a pin changes."""
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
    try:
        connection = sqlite3.connect(path, timeout=0)
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        is_new = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if is_new:
            connection.execute(f"PRAGMA user_version={version}")
        connection.executescript(_JOB + schema)
        (found_version,) = connection.execute("PRAGMA user_version").fetchone()
        if found_version != version:
            connection.close()
            raise UsageError(
                f"{path} was left by an interrupted {command} of another version of this package; "
                "finish it with that version, or remove the file to start again."
            )
        _check_job(connection, path, json.dumps(job, sort_keys=True), command)
    except sqlite3.OperationalError as error:
        raise UsageError(
            f"{path} cannot be written ({error}); wait for the {command} that has it open, free "
            "some disk space, or give another --output."
        ) from error
    except sqlite3.DatabaseError as error:
        raise RecordingError(
            f"{path} is not what an interrupted {command} leaves ({error}); remove it or give "
            "another --output."
        ) from error
    return connection


def _check_job(connection: sqlite3.Connection, path: Path, description: str, command: str) -> None:
    rows = connection.execute("SELECT description FROM job").fetchall()
    if not rows:
        with connection:
            connection.execute("INSERT INTO job VALUES (?)", (description,))
        return
    try:
        check_same_job(path, json.loads(rows[0][0]), json.loads(description), command)
    except UsageError:
        connection.close()
        raise


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
