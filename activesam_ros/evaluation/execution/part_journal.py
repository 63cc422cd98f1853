"""The journal of an evaluation: finished parts, kept in the output folder to be resumed."""

from __future__ import annotations

import contextlib
import io
import pickle
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from activesam_ros.errors import RecordingError
from activesam_ros.evaluation.datasets.sample_source import Part
from activesam_ros.evaluation.execution.worker import PartResult
from activesam_ros.output_files import make_folder
from activesam_ros.resumable_work import open_journal

JOURNAL_NAME = "evaluation.partial"

_COMMAND = "evaluation"
_VERSION = 2  # raise it whenever RESULT_CLASSES or their fields change
_SCHEMA = """
CREATE TABLE IF NOT EXISTS parts (
    start INTEGER PRIMARY KEY,
    stop INTEGER NOT NULL,
    images INTEGER NOT NULL,
    result BLOB NOT NULL
)
"""

RESULT_CLASSES = frozenset(
    {
        ("activesam_ros.evaluation.corruptions.catalogue", "Corruption"),
        ("activesam_ros.evaluation.evaluator", "Tallies"),
        ("activesam_ros.evaluation.scoring.frame_figures", "FrameFigures"),
        ("activesam_ros.evaluation.report.kept_pictures", "KeptPictures"),
        ("activesam_ros.evaluation.scoring.metrics", "ConfusionMatrix"),
        ("activesam_ros.evaluation.scoring.metrics", "IdMap"),
        ("activesam_ros.evaluation.scoring.metrics", "Share"),
        ("activesam_ros.evaluation.report.frame_picture", "FramePicture"),
        ("activesam_ros.evaluation.report.frame_picture", "LabelLayer"),
        ("activesam_ros.evaluation.datasets.sample_source", "SourceCount"),
        ("activesam_ros.evaluation.scoring.tally", "MethodTally"),
        ("activesam_ros.evaluation.execution.worker", "PartResult"),
        ("activesam_ros.prompts.vocabulary", "Vocabulary"),
        ("activesam_ros.prompts.vocabulary", "VocabularyClass"),
        ("activesam_ros.segmentation.methods", "Method"),
        ("collections", "Counter"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy._core.numeric", "_frombuffer"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy.core.numeric", "_frombuffer"),
    }
)
"""The only classes a result may hold, since an unrestricted pickle can run any code."""


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
        (images,) = self._connection.execute("SELECT total(images) FROM parts").fetchone()
        self.images = int(images)

    def keep(self, part: Part, result: PartResult) -> None:
        """Add the result of ``part``, whose stop is known; it is on disk when this returns.

        Raises RecordingError when it cannot be written; earlier results stay.
        """
        images = result.count.images - result.count.unusable_images
        data = zlib.compress(pickle.dumps(result, pickle.HIGHEST_PROTOCOL), level=1)
        row = (part.start, part.stop, images, data)
        try:
            with self._connection:
                self._connection.execute("INSERT INTO parts VALUES (?, ?, ?, ?)", row)
        except sqlite3.DatabaseError as error:
            raise RecordingError(
                f"{self.path} cannot be written ({error}); its {self.images} images are kept, so "
                "free some disk space and repeat the command."
            ) from error
        self.images += images

    def parts(self) -> Iterator[tuple[Part, PartResult]]:
        """Every part in order of start, one at a time; raises RecordingError for a damaged one."""
        rows = self._connection.execute("SELECT start, stop, result FROM parts ORDER BY start")
        for start, stop, data in rows:
            try:
                result = _Unpickler(io.BytesIO(zlib.decompress(data))).load()
            except (zlib.error, pickle.UnpicklingError, AttributeError, EOFError) as error:
                raise RecordingError(
                    f"{self.path} is damaged ({error}); remove it to start again."
                ) from error
            yield Part(start, stop), result

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


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in RESULT_CLASSES:
            raise pickle.UnpicklingError(f"{module}.{name} does not belong in a result")
        return super().find_class(module, name)
