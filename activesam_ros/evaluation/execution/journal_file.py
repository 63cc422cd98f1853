"""What an interrupted command leaves beside its output: an SQLite file that belongs to one job.

An entry is in it wholly or not at all, whatever interrupts the command.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from activesam_ros.errors import RecordingError, UsageError

_JOB = "CREATE TABLE IF NOT EXISTS job (description TEXT NOT NULL);"


def open_journal(
    path: Path, schema: str, job: Mapping[str, object], command: str
) -> sqlite3.Connection:
    """The journal at ``path``, begun with the tables of ``schema`` where there is none.

    command: what the user calls the work. Raises UsageError when the journal belongs to another
    ``job`` or is in use, RecordingError when it is no journal.
    """
    try:
        connection = sqlite3.connect(path, timeout=0)
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(_JOB + schema)
        _check_job(connection, path, json.dumps(job, sort_keys=True), command)
    except sqlite3.OperationalError as error:
        raise UsageError(
            f"{path} cannot be written ({error}); let the {command} that has it open end, or give "
            "another --output."
        ) from error
    except sqlite3.DatabaseError as error:
        raise RecordingError(
            f"{path} is in the way: it is not what an interrupted {command} leaves ({error}); "
            "remove it or give another --output."
        ) from error
    return connection


def _check_job(connection: sqlite3.Connection, path: Path, description: str, command: str) -> None:
    rows = connection.execute("SELECT description FROM job").fetchall()
    if not rows:
        with connection:
            connection.execute("INSERT INTO job VALUES (?)", (description,))
        return
    then, now = json.loads(rows[0][0]), json.loads(description)
    changed = [name for name in now if now[name] != then.get(name)]
    if changed:
        connection.close()
        raise UsageError(
            f"{path} was left by an interrupted {command} with another "
            f"{' and '.join(changed)}; repeat that one to finish it, or remove the file to "
            "begin anew."
        )
