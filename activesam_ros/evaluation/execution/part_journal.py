"""The journal of an evaluation: finished parts, kept in the output folder to be resumed."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from activesam_ros.errors import PlainDataError, RecordingError
from activesam_ros.evaluation.datasets.sample_source import Part
from activesam_ros.evaluation.execution.part_data import part_bytes, part_from_bytes
from activesam_ros.evaluation.execution.worker import PartResult, Task
from activesam_ros.output_files import make_folder
from activesam_ros.resumable_work import (
    add_row,
    damaged,
    open_journal,
    packed,
    read_rows,
    unpacked,
)

JOURNAL_NAME = "evaluation.partial"

_COMMAND = "evaluation"
_VERSION = 3  # raise it whenever the fields of a result change
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


class PartJournal:
    """The results of finished parts. ``images`` is their number of usable images."""

    def __init__(self, folder: Path, job: Mapping[str, object]) -> None:
        """Open the journal in ``folder``, or create it.

        Raises UsageError when it belongs to another ``job``, comes from another version or is in
        use, RecordingError when the file is no journal, OutputError when it cannot be made.
        """
        make_folder(folder)
        self.path = folder / JOURNAL_NAME
        self._connection = open_journal(self.path, _SCHEMA, job, _COMMAND, _VERSION)
        self.images = self._kept_images()

    def keep(self, part: Part, result: PartResult) -> None:
        """Add the result of ``part``, whose stop is known; it is on disk when this returns.

        Raises RecordingError when it cannot be written; earlier results stay.
        """
        images = result.count.images - result.count.unusable_images
        row = (part.start, part.stop, images, packed(part_bytes(result)))
        try:
            with self._connection:
                add_row(self._connection, "parts", row)
        except sqlite3.DatabaseError as error:
            raise RecordingError(
                f"{self.path} cannot be written ({error}); its {self.images} images are kept, so "
                "free some disk space and repeat the command."
            ) from error
        self.images += images

    def parts(self, task: Task | None = None) -> Iterator[tuple[Part, PartResult]]:
        """Every part in order of start, one at a time.

        task: the evaluation that they belong to, None for one without methods. Raises
        RecordingError for a part that is damaged or contradicts the task.
        """
        end = 0
        for start, stop, images, data in read_rows(self._connection, self.path, "parts", _COLUMNS):
            if not end <= start <= end + _LARGEST_GAP or not start < stop <= start + _LARGEST_GAP:
                raise damaged(self.path, f"images {start} to {stop} follow {end}")
            end = stop
            try:
                result = part_from_bytes(unpacked(data, _LARGEST_RESULT), task)
            except PlainDataError as error:
                raise damaged(self.path, str(error)) from error
            count = result.count
            is_whole = count.images == stop - start or (count.ended and count.images < stop - start)
            if not is_whole or images != count.images - count.unusable_images:
                raise damaged(self.path, f"images {start} to {stop} are {count.images}")
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
        """Close and delete the journal, and its folder if that is empty."""
        self._connection.close()
        self.images = 0
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()
