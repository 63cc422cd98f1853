"""A journal that somebody else made, or that is damaged, is refused in one sentence."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from activesam_ros.errors import ActiveSamError, PlainDataError, RecordingError, UsageError
from activesam_ros.resumable_work import (
    add_row,
    open_journal,
    packed,
    read_rows,
    row_count,
    unpacked,
)

SCHEMA = "CREATE TABLE IF NOT EXISTS items (place INTEGER PRIMARY KEY, data BLOB, checksum BLOB)"
COLUMNS = {"place": (int,), "data": (bytes, type(None))}
JOB = {"input": "a"}


def opened(path: Path) -> sqlite3.Connection:
    return open_journal(path, SCHEMA, JOB, "test", version=7)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal with two rows."""
    path = tmp_path / "out.partial"
    with contextlib.closing(opened(path)) as connection, connection:
        add_row(connection, "items", (0, b"first"))
        add_row(connection, "items", (1, None))
    return path


def rows(path: Path) -> list[tuple[object, ...]]:
    with contextlib.closing(opened(path)) as connection:
        assert row_count(connection, path, "items") >= 0
        return list(read_rows(connection, path, "items", COLUMNS))


def changed(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_rows_come_back_in_order(journal: Path) -> None:
    assert rows(journal) == [(0, b"first"), (1, None)]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE items SET data = x'00' WHERE place = 0", "a checksum is wrong"),
        ("UPDATE items SET data = 'text' WHERE place = 0", "data is str"),
        ("UPDATE items SET place = 5 WHERE place = 0", "a checksum is wrong"),
        ("UPDATE items SET checksum = NULL WHERE place = 0", "a checksum is wrong"),
        ("INSERT INTO items VALUES (9, zeroblob(1000000), x'00')", "a checksum is wrong"),
    ],
)
def test_a_changed_row_is_refused(journal: Path, statement: str, message: str) -> None:
    changed(journal, statement)
    with pytest.raises(RecordingError, match=rf"is damaged \({message}\); remove it to start"):
        rows(journal)


ENDLESS = """
CREATE VIEW items AS WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i FROM n)
SELECT i AS place, x'00' AS data, x'00' AS checksum FROM n
"""


@pytest.mark.parametrize(
    "statements",
    [
        ("DROP TABLE items", ENDLESS),
        ("CREATE VIEW more AS SELECT 1",),
        ("CREATE TRIGGER t AFTER INSERT ON items BEGIN DELETE FROM items; END",),
        ("DROP TABLE items",),
        ("DROP TABLE items", "CREATE TABLE items (place TEXT, data BLOB, checksum BLOB)"),
        ("DROP TABLE job",),
        ("CREATE INDEX i ON items (data)",),
        ("UPDATE job SET description = x'ff00'",),
        ("UPDATE job SET description = '[]'",),
        ("UPDATE job SET description = '{'",),
        ("INSERT INTO job VALUES ('{}')",),
    ],
)
def test_other_tables_and_jobs_are_refused(journal: Path, statements: tuple[str, ...]) -> None:
    changed(journal, *statements)
    with pytest.raises(RecordingError, match=r"is not what an interrupted test leaves"):
        rows(journal)


def test_a_deeply_nested_job_is_refused(journal: Path) -> None:
    with contextlib.closing(sqlite3.connect(journal)) as connection, connection:
        connection.execute("UPDATE job SET description = ?", ("[" * 100_000,))
    with pytest.raises(RecordingError, match="its job cannot be read"):
        rows(journal)


def test_a_journal_of_another_version_is_refused_and_kept(journal: Path) -> None:
    changed(journal, "PRAGMA user_version = 6")
    before = journal.read_bytes()
    with pytest.raises(UsageError, match="of another version of this package"):
        rows(journal)
    assert journal.read_bytes() == before


def as_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def as_link(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path.parent / "precious")


def as_sparse_file(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(1 << 40)


def as_somebody_elses(path: Path) -> None:
    path.touch()
    path.chmod(0o666)


@pytest.mark.parametrize("make", [as_pipe, as_link, as_sparse_file, as_somebody_elses])
@pytest.mark.parametrize("suffix", ["", "-wal", "-journal"])
def test_what_is_no_file_of_ours_is_refused_at_once(
    journal: Path, make: Callable[[Path], None], suffix: str
) -> None:
    (journal.parent / "precious").write_text("stays")
    make(journal.with_name(journal.name + suffix))
    with pytest.raises(RecordingError, match="is not what an interrupted test leaves"):
        rows(journal)
    assert (journal.parent / "precious").read_text() == "stays"


def test_any_changed_byte_raises_one_sentence_or_changes_nothing(journal: Path) -> None:
    whole, messages = journal.read_bytes(), list[str]()
    for place in range(0, len(whole), 7):
        data = bytearray(whole)
        data[place] ^= 0x5A
        journal.write_bytes(data)
        try:
            assert rows(journal) == [(0, b"first"), (1, None)], place
        except ActiveSamError as error:
            messages.append(str(error))
        for side in ("-wal", "-journal"):
            journal.with_name(journal.name + side).unlink(missing_ok=True)
    assert len(messages) > 100
    assert not any("\n" in message for message in messages)


def test_compressed_data_is_bounded_and_whole() -> None:
    data = bytes(1000) + b"end"
    assert unpacked(packed(data), 2000) == data
    assert unpacked(packed(data), 1003) == data
    for bad, limit, message in (
        (packed(data), 500, "unpacks to more than 500 bytes"),
        (packed(data)[:-3], 2000, "not whole"),
        (packed(b"a") + b"tail", 2000, "not whole"),
        (b"torn", 2000, "incorrect header"),
        (zlib.compress(bytes(1 << 26), 9), 2000, "unpacks to more"),
    ):
        with pytest.raises(PlainDataError, match=message):
            unpacked(bad, limit)
