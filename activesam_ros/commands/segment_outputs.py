"""The files that ``segment`` writes: their names, which of them may be replaced, and their writing.

The summary STEM.json lists the other files with their checksums. A file is ours if such a summary
lists it and it is unchanged; nothing else is ever replaced or deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activesam_ros.errors import OutputError, UsageError, os_reason
from activesam_ros.output_files import check_output_folder, make_folder, whole_path
from activesam_ros.recordings.input_files import InputFile, InputKind
from activesam_ros.regular_files import open_regular, read_regular

MADE_BY = "activesam segment"
LABELS, OVERLAY, SCORES, SUMMARY = ".labels.png", ".overlay.png", ".scores.npy", ".json"
_FRAME_FILE = re.compile(
    rf"\d{{6,}}({'|'.join(map(re.escape, (LABELS, OVERLAY, SCORES, SUMMARY)))})"
)
_CHUNK_BYTES = 1 << 20
_LARGEST_SUMMARY = 1 << 26
_LARGEST_OUTPUT = 1 << 40


@dataclass(frozen=True, slots=True)
class Place:
    """Where the files of an image go: FOLDER/STEM.labels.png and so on."""

    folder: Path
    stem: str

    def file(self, suffix: str) -> Path:
        """The file with one of the suffixes above."""
        return self.folder / f"{self.stem}{suffix}"


def image_place(output: Path, image: Path) -> Place:
    """The place of an image."""
    return Place(output, image.stem)


def frame_place(output: Path, video: Path, number: int) -> Place:
    """The place of a frame of a video."""
    return Place(output / video.stem, f"{number:06}")


def check_outputs(
    output: Path, inputs: Sequence[InputFile], suffixes: Sequence[str], overwrite: bool
) -> frozenset[Path]:
    """Check, before any work, that nothing is lost; returns the files that may be replaced.

    suffixes: of the files that are written for each image. overwrite: whether files that an earlier
    run wrote may be replaced. Raises UsageError for inputs that cannot be segmented here or would
    write the same files, OutputError for files that would be lost and for a folder that cannot be
    written.
    """
    _check_names(inputs)
    suffix = max(suffixes, key=len)
    images = [file.path.stem for file in inputs if file.kind is not InputKind.VIDEO]
    longest = max(images, key=lambda stem: len(os.fsencode(stem)), default="")
    check_output_folder(output, longest_name=longest + suffix)
    for file in inputs:
        if file.kind is InputKind.VIDEO:
            check_output_folder(output / file.path.stem, longest_name=f"000000{suffix}")
    read = {_identity(file.path) for file in inputs}
    existing: list[Path] = []
    own: set[Path] = set()
    for file in inputs:
        for place, written in _places(output, file, suffixes):
            found = [path for path in map(place.file, written) if os.path.lexists(path)]
            existing += found
            if found:
                own |= own_files(place)
    _refuse(
        [path for path in existing if _identity(path) in read],
        "is an input of this command and would be replaced; give another --output",
    )
    _refuse(
        [path for path in existing if path not in own],
        f"was not written by '{MADE_BY}', or was changed since, and is kept; move it away or give "
        "another --output",
    )
    if not overwrite:
        _refuse(existing, "exists from an earlier run; --overwrite replaces what that run wrote")
    return frozenset(own)


def own_files(place: Place) -> frozenset[Path]:
    """The files that ``segment`` wrote at ``place`` and nobody changed since."""
    summary = place.file(SUMMARY)
    try:
        content = json.loads(read_regular(summary, _LARGEST_SUMMARY))
    except (OSError, ValueError, RecursionError):
        return frozenset()
    if not isinstance(content, dict) or content.get("made_by") != MADE_BY:
        return frozenset()
    checksums = content.get("files")
    if not isinstance(checksums, dict):
        return frozenset()
    listed = [place.file(suffix) for suffix in (LABELS, OVERLAY, SCORES)]
    unchanged = [
        path
        for path in listed
        if (checksum := _checksum(path)) and checksum == checksums.get(path.name)
    ]
    return frozenset((summary, *unchanged))


def write_result(
    place: Place,
    pictures: Mapping[str, bytes],
    scores: NDArray[np.float16] | None,
    summary: Mapping[str, Any],
    replaceable: frozenset[Path],
) -> None:
    """Write all files of an image, or none of them when one cannot be written.

    pictures: the content of a file by suffix. summary: what SUMMARY holds beside the checksums.
    replaceable: of :func:`check_outputs`; those at this place that are not written anew are
    deleted. Raises OutputError, also for a file that appeared since then.
    """
    make_folder(place.folder)
    checksums: dict[str, str] = {}
    with contextlib.ExitStack() as files:

        def temporary(suffix: str) -> Path:
            path = place.file(suffix)
            return files.enter_context(whole_path(path, replace=path in replaceable))

        for suffix, content in pictures.items():
            path = temporary(suffix)
            path.write_bytes(content)
            checksums[place.file(suffix).name] = _checksum(path)
        if scores is not None:
            path = temporary(SCORES)
            np.save(path, scores)
            checksums[place.file(SCORES).name] = _checksum(path)
        text = json.dumps({"made_by": MADE_BY, **summary, "files": checksums}, indent=1)
        # Renamed first: whatever happens then, the other files have a summary that lists them.
        temporary(SUMMARY).write_text(text + "\n", "utf-8")
    remove(
        path
        for path in map(place.file, (LABELS, OVERLAY, SCORES))
        if path in replaceable and path.name not in checksums
    )


def later_frames(output: Path, video: Path, count: int) -> Iterator[Path]:
    """Files of frames of a video from number ``count`` on, which a longer version of it left."""
    for path in _frame_files(output / video.stem):
        if int(path.name.partition(".")[0]) >= count:
            yield path


def remove(files: Iterable[Path]) -> None:
    """Delete files; raises OutputError."""
    for path in files:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{path} cannot be removed: {os_reason(error)}.") from error


def _check_names(inputs: Sequence[InputFile]) -> None:
    earlier: dict[tuple[bool, str], Path] = {}
    for file in inputs:
        if file.kind is InputKind.RECORDING:
            raise UsageError(
                f"{file.path} is a recording; 'activesam replay {file.path}' segments its images."
            )
        is_video = file.kind is InputKind.VIDEO
        other = earlier.setdefault((is_video, file.path.stem), file.path)
        if other != file.path:
            what = f"{file.path.stem}/" if is_video else f"{file.path.stem}{LABELS}"
            raise UsageError(
                f"{other} and {file.path} would both write {what}; segment them into different "
                "folders."
            )


def _places(
    output: Path, file: InputFile, suffixes: Sequence[str]
) -> Iterator[tuple[Place, Sequence[str]]]:
    """The places of an input, with the suffixes that are written there or may be."""
    if file.kind is not InputKind.VIDEO:
        yield image_place(output, file.path), suffixes
        return
    folder = output / file.path.stem
    for stem in sorted({path.name.partition(".")[0] for path in _frame_files(folder)}):
        yield Place(folder, stem), (LABELS, OVERLAY, SCORES, SUMMARY)


def _frame_files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if _FRAME_FILE.fullmatch(path.name))
    except OSError:
        return []  # there is no such folder; check_outputs refuses one that cannot be used


def _refuse(files: Sequence[Path], why: str) -> None:
    if files:
        more = f" (and {len(files) - 1} more)" if len(files) > 1 else ""
        raise OutputError(f"{files[0]}{more} {why}.")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _checksum(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal, empty if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open_regular(path, _LARGEST_OUTPUT) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError:
        return ""
    return digest.hexdigest()
