"""The journal of a task: finished parts, kept in a file to be resumed."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Generic

from activesam_ros.errors import PlainDataError, RecordingError
from activesam_ros.execution.task import Part, Result, ResultFormat
from activesam_ros.output_files import make_folder
from activesam_ros.resumable_work import (
    add_row,
    damaged,
    open_journal,
    packed,
    read_rows,
    unpacked,
)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS parts (
    start INTEGER PRIMARY KEY,
    stop INTEGER NOT NULL,
    images INTEGER NOT NULL,
    result BLOB NOT NULL,
    checksum BLOB NOT NULL
)
"""
_COLUMNS = {"start": (int,), "stop": (int,), "images": (int,), "result": (bytes,)}
_LARGEST_RESULT = 1 << 30
# Images of parts that other workers had not finished.
_LARGEST_GAP = 1 << 17


class PartJournal(Generic[Result]):
    """The results of finished parts. ``images`` is their number of usable images."""

    def __init__(
        self,
        path: Path,
        job: Mapping[str, object],
        results: ResultFormat[Result],
        own_folder: bool = False,
    ) -> None:
        """Open the journal at ``path``, or create it.

        results: of the task that the journal belongs to. own_folder: its folder goes with it when
        nothing else is in there.

        Raises UsageError when it belongs to another ``job``, comes from another version or is in
        use, RecordingError when the file is no journal, OutputError when it cannot be made.
        """
        self.path = path
        self._own_folder = own_folder
        make_folder(path.parent)
        self._results = results
        self._connection = open_journal(path, _SCHEMA, job, results.work, results.version)
        self.images = self._kept_images()

    def keep(self, part: Part, result: Result) -> None:
        """Add the result of ``part``, whose stop is known; it is on disk when this returns.

        Raises RecordingError when it cannot be written; earlier results stay.
        """
        row = (part.start, part.stop, result.images, packed(self._results.encode(result)))
        try:
            with self._connection:
                add_row(self._connection, "parts", row)
        except sqlite3.DatabaseError as error:
            raise RecordingError(
                f"{self.path} cannot be written ({error}); its {self.images} images are kept, so "
                "free some disk space and repeat the command."
            ) from error
        self.images += result.images

    def parts(self) -> Iterator[tuple[Part, Result]]:
        """Every part in order of start, one at a time.

        Raises RecordingError for a part that is damaged or contradicts the task.
        """
        end = 0
        for start, stop, images, data in read_rows(self._connection, self.path, "parts", _COLUMNS):
            if not end <= start <= end + _LARGEST_GAP or not start < stop <= start + _LARGEST_GAP:
                raise damaged(self.path, f"images {start} to {stop} follow {end}")
            end = stop
            try:
                result = self._results.decode(unpacked(data, _LARGEST_RESULT))
            except PlainDataError as error:
                raise damaged(self.path, str(error)) from error
            is_whole = result.read == stop - start or (result.ended and result.read < stop - start)
            if not is_whole or images != result.images:
                raise damaged(self.path, f"images {start} to {stop} are {result.read}")
            yield Part(start, stop), result

    def _kept_images(self) -> int:
        try:
            rows = self._connection.execute("SELECT images FROM parts").fetchall()
            if any(
                type(images) is not int or images not in range(_LARGEST_GAP) for (images,) in rows
            ):
                raise damaged(self.path, "its numbers of images cannot be true")
        except sqlite3.DatabaseError as error:
            raise damaged(self.path, str(error)) from error
        return sum(images for (images,) in rows)

    def close(self) -> None:
        """Close the journal and keep it, unless it is empty."""
        self._connection.close()
        if not self.images:
            self.remove()

    def remove(self) -> None:
        """Close and delete the journal, and its own folder if that is empty."""
        self._connection.close()
        self.images = 0
        self.path.unlink(missing_ok=True)
        if self._own_folder:
            with contextlib.suppress(OSError):
                self.path.parent.rmdir()
