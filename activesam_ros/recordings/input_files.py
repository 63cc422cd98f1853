"""The files that a command line names: images, videos and recordings, by folder and by pattern."""

from __future__ import annotations

import enum
import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from activesam_ros.errors import UsageError
from activesam_ros.recordings.formats.find_files import METADATA, is_recording_file, natural_order

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".webp", ".tif", ".tiff", ".avif"),
    *(".jp2", ".ppm", ".pgm", ".pnm"),
)
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".ogv")
# What `segment` writes beside images is no input.
WRITTEN_SUFFIXES = (".labels.png", ".overlay.png")


class InputKind(enum.Enum):
    """What a file is by its name. OTHER: an unknown suffix, or none."""

    IMAGE = "image"
    VIDEO = "video"
    RECORDING = "recording"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file, or the folder of a recording, and what it is."""

    path: Path
    kind: InputKind


def expand_inputs(given: Sequence[Path]) -> tuple[InputFile, ...]:
    """The files that ``given`` names, each once and in order.

    A folder with metadata.yaml, or with files of recordings and no image or video, is a recording.
    Any other folder stands for the images and videos directly in it, in order of name, without
    hidden files and without those that ``segment`` writes. A name with ``*``, ``?`` or ``[`` that
    no file has is a pattern. Raises UsageError for a name that stands for nothing.
    """
    found = [file for path in given for file in _expanded(path)]
    return tuple(dict.fromkeys(found))


def kind_of(path: Path) -> InputKind:
    """What a file is by its name; upper and lower case are equal."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return InputKind.IMAGE
    if suffix in VIDEO_SUFFIXES:
        return InputKind.VIDEO
    return InputKind.RECORDING if is_recording_file(path) else InputKind.OTHER


def _expanded(path: Path) -> Iterator[InputFile]:
    if path.is_dir():
        yield from _in_folder(path)
    elif path.exists():
        yield InputFile(path, kind_of(path))
    elif glob.has_magic(str(path)):
        matches = sorted(map(Path, glob.glob(str(path), recursive=True)), key=_by_folder)
        if not matches:
            raise UsageError(f"No file matches {path}.")
        for match in matches:
            yield from _expanded(match)
    else:
        raise UsageError(f"There is no file or folder {path}.")


def _in_folder(folder: Path) -> Iterator[InputFile]:
    files = sorted(
        (file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")),
        key=natural_order,
    )
    kinds = {file: kind_of(file) for file in files}
    pictures = [
        InputFile(file, kind)
        for file, kind in kinds.items()
        if kind in (InputKind.IMAGE, InputKind.VIDEO) and not file.name.endswith(WRITTEN_SUFFIXES)
    ]
    has_recording = InputKind.RECORDING in kinds.values()
    if (folder / METADATA).is_file() or (has_recording and not pictures):
        yield InputFile(folder, InputKind.RECORDING)
        return
    if not pictures:
        raise UsageError(
            f"The folder {folder} holds no image, video or recording itself; its subfolders are "
            "not searched."
        )
    yield from pictures


def _by_folder(path: Path) -> tuple[str, tuple[tuple[int, str], ...]]:
    return str(path.parent), natural_order(path)
