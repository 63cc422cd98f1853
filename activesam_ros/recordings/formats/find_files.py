"""Find and open the files of a recording: one file, or a folder with or without metadata."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

from activesam_ros.errors import RecordingError, os_reason
from activesam_ros.recordings.formats.decompression import check_size, stated_zstd_size
from activesam_ros.recordings.formats.file_reader import FileReader, reason
from activesam_ros.recordings.formats.mcap_reader import McapReader
from activesam_ros.recordings.formats.metadata import read_metadata
from activesam_ros.recordings.formats.ros1_reader import Ros1Reader
from activesam_ros.recordings.formats.sqlite_reader import SqliteReader
from activesam_ros.regular_files import ANY_SIZE, open_regular

METADATA = "metadata.yaml"

# A compressed file may become so many times as large, or as large as a message may be.
_MAX_ZSTD_RATIO = 100
_ZSTD_HEAD_BYTES = 18
_OPENERS: dict[str, Callable[[Path, int], FileReader]] = {
    ".mcap": McapReader,
    ".db3": SqliteReader,
    ".bag": Ros1Reader,
}
_ZSTD = ".zstd"
_ACTIVE = ".active"  # the suffix that a killed ROS 1 recorder leaves


@dataclass(frozen=True, slots=True)
class RecordingFiles:
    """The files of a recording in the order of writing, each once.

    notes: irregularities, one each. qos: the qualities of service that metadata.yaml states, YAML
    by topic; "" for a topic of which it states none. counts: the messages of a topic that
    metadata.yaml counts in all of ``files``; empty without a number to compare with.
    """

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    qos: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


def find_files(path: Path) -> RecordingFiles:
    """The files of the recording at ``path``, a file or a folder.

    Raises RecordingError when ``path`` is no recording.
    """
    try:
        if not path.exists():
            raise RecordingError(f"There is no recording {path}.")
        if not path.is_dir():
            _kind(path)
            return RecordingFiles((path,))
        metadata = path / METADATA
        if metadata.exists():
            return _from_metadata(path, metadata)
        return _listed(path, f"{path} has no {METADATA}; its files are read in order of name")
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {os_reason(error)}.") from error


def is_recording_file(path: Path) -> bool:
    """Whether the name of a file is one of a recording's files."""
    return _suffix(path) in _OPENERS


def natural_order(path: Path) -> tuple[tuple[int, str], ...]:
    """A sort key by name in which numbers compare as numbers: frame_2 before frame_10."""
    return tuple(
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", path.name)
    )


@contextlib.contextmanager
def open_file(path: Path, max_bytes: int) -> Iterator[FileReader]:
    """A reader of the file at ``path``; a .zstd file is first decompressed to a temporary file.

    max_bytes: what a message or a chunk may take. Raises RecordingError when the file cannot be
    read; what a parser raises is its cause.
    """
    with contextlib.ExitStack() as stack:
        try:
            storage = path
            if _is_zstd(path):
                storage = stack.enter_context(_decompressed(path, max_bytes))
            file = _OPENERS[_kind(path)](storage, max_bytes)
        except RecordingError as error:
            if str(path) in str(error) or storage.name in str(error):
                raise
            raise RecordingError(f"{path} cannot be read: {reason(error)}.") from error
        except OSError as error:
            raise RecordingError(f"{path} cannot be read: {os_reason(error)}.") from error
        except Exception as error:
            raise RecordingError(f"{path} cannot be read: {reason(error)}.") from error
        stack.callback(file.close)
        yield file


def _from_metadata(folder: Path, metadata: Path) -> RecordingFiles:
    try:
        content = read_metadata(metadata)
    except Exception as error:  # noqa: BLE001 whatever a parser raises
        return _listed(
            folder, f"{metadata} cannot be used ({reason(error)}); files are read in order of name"
        )
    named = [folder / name for name in content.files]
    present = [file for file in named if file.is_file()]
    missing = [file.name for file in named if not file.is_file()]
    if missing and not present:
        raise RecordingError(
            f"{metadata} names {', '.join(missing)}, and {folder} has none of them; "
            f"copy them there, or remove {METADATA} to read the files that exist."
        )
    files, repeated = _each_once(present)
    notes = [f"{metadata} names {', '.join(repeated)} more than once"] if repeated else []
    if missing:
        notes.append(
            f"{len(missing)} of {len(named)} files that {metadata} names are missing: "
            f"{', '.join(missing)}"
        )
    others = _unnamed(folder, files)
    if others:
        notes.append(
            f"{metadata} does not name {', '.join(others)}, which is not read; remove "
            f"{METADATA} to read all files"
        )
    counts: Mapping[str, int] = {} if missing else content.counts
    return RecordingFiles(tuple(files), tuple(notes), content.qos, counts)


def _unnamed(folder: Path, named: Sequence[Path]) -> list[str]:
    """Recording files of the folder that are none of ``named``, nor a copy of one in zstd."""
    known = {_written_as(file) for file in named}
    found = (file for file in folder.iterdir() if file.is_file() and is_recording_file(file))
    return [file.name for file in sorted(found) if _written_as(file) not in known]


def _listed(folder: Path, note: str) -> RecordingFiles:
    """The recording files in ``folder`` by name; numbers in names compare as numbers."""
    found = sorted(
        (file for file in folder.iterdir() if file.is_file() and is_recording_file(file)),
        key=natural_order,
    )
    if not found:
        raise RecordingError(
            f"{folder} has no {', '.join(_OPENERS)} file; give the file or folder of a recording."
        )
    kinds = {_suffix(file) for file in found}
    if len(kinds) > 1:
        raise RecordingError(
            f"{folder} has no {METADATA} that can be used, but files of several formats "
            f"({', '.join(sorted(kinds))}); give one of the files."
        )
    files, repeated = _each_once(found)
    notes = [note]
    if repeated:
        notes.append(f"{folder} has other names or copies of its files: {', '.join(repeated)}")
    return RecordingFiles(tuple(files), tuple(notes))


def _each_once(files: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The files without links to, and compressed copies of, others; and the names left out."""
    plain = {file.name for file in files}
    kept: dict[tuple[int, int], Path] = {}
    left: list[str] = []
    for file in files:
        status = file.stat()
        is_copy = _is_zstd(file) and file.stem in plain
        if is_copy or (status.st_dev, status.st_ino) in kept:
            left.append(file.name)
        else:
            kept[status.st_dev, status.st_ino] = file
    return list(kept.values()), left


def _written_as(file: Path) -> str:
    """The name that the file had before it was compressed."""
    return file.stem if _is_zstd(file) else file.name


def _is_zstd(path: Path) -> bool:
    return path.suffix.lower() == _ZSTD


def _suffix(path: Path) -> str:
    """The suffix of a file's format, in lower case."""
    outer = path.suffix.lower()
    return path.with_suffix("").suffix.lower() if outer in (_ZSTD, _ACTIVE) else outer


def _kind(path: Path) -> str:
    suffix = _suffix(path)
    if suffix not in _OPENERS:
        raise RecordingError(
            f"{path} is no recording: its name must end in {', '.join(_OPENERS)} "
            f"(followed by {_ZSTD} when it is compressed)."
        )
    return suffix


@contextlib.contextmanager
def _decompressed(path: Path, max_bytes: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="activesam_bag_") as folder:
        target = Path(folder) / path.with_suffix("").name
        with open_regular(path, ANY_SIZE) as compressed, target.open("wb") as decompressed:
            packed_bytes = os.fstat(compressed.fileno()).st_size
            limit = max(max_bytes, _MAX_ZSTD_RATIO * packed_bytes)
            try:
                size = stated_zstd_size(compressed.read(_ZSTD_HEAD_BYTES))
                check_size("the decompressed file", size or 0, limit)
                compressed.seek(0)
                written = 0
                for piece in zstandard.ZstdDecompressor().read_to_iter(compressed):
                    written += decompressed.write(piece)
                    check_size("the decompressed file", written, limit)
            except zstandard.ZstdError as error:
                raise RecordingError(
                    f"The zstd compression of {path} is damaged: {error}."
                ) from error
        yield target
