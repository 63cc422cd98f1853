"""Find and open the files of a recording: one file, or a folder with or without metadata."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
import zstandard

from activesam_ros.errors import RecordingError
from activesam_ros.recordings.file_reader import FileReader
from activesam_ros.recordings.mcap_reader import McapReader
from activesam_ros.recordings.ros1_reader import open_ros1
from activesam_ros.recordings.sqlite_reader import SqliteReader

METADATA = "metadata.yaml"

_OPENERS: dict[str, Callable[[Path], FileReader]] = {
    ".mcap": McapReader,
    ".db3": SqliteReader,
    ".bag": open_ros1,
}
_ZSTD = ".zstd"
_ACTIVE = ".active"  # the suffix that a killed ROS 1 recorder leaves


@dataclass(frozen=True, slots=True)
class RecordingFiles:
    """The files of a recording in the order of writing.

    notes: irregularities, one each. qos: the qualities of service that metadata.yaml states, YAML
    by topic; "" for a topic of which it states none.
    """

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    qos: Mapping[str, str] = field(default_factory=dict)


def find_files(path: Path) -> RecordingFiles:
    """The files of the recording at ``path``, a file or a folder.

    Raises RecordingError when ``path`` is no recording.
    """
    if not path.exists():
        raise RecordingError(f"There is no recording {path}.")
    if not path.is_dir():
        _kind(path)
        return RecordingFiles((path,))
    metadata = path / METADATA
    if metadata.is_file():
        return _from_metadata(path, metadata)
    return RecordingFiles(
        _listed(path), (f"{path} has no {METADATA}; its files are read in order of name",)
    )


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
def open_file(path: Path) -> Iterator[FileReader]:
    """A reader of the file at ``path``; a .zstd file is first decompressed to a temporary file.

    Raises RecordingError when the file cannot be read.
    """
    with contextlib.ExitStack() as stack:
        try:
            storage = stack.enter_context(_decompressed(path)) if _is_zstd(path) else path
            file = _OPENERS[_kind(path)](storage)
        except OSError as error:
            raise RecordingError(f"{path} cannot be read: {error.strerror or error}.") from error
        stack.callback(file.close)
        yield file


def _from_metadata(folder: Path, metadata: Path) -> RecordingFiles:
    try:
        content = yaml.safe_load(metadata.read_text("utf-8"))["rosbag2_bagfile_information"]
        names = content["relative_file_paths"]
        if not isinstance(names, list) or not names:
            raise TypeError("relative_file_paths is not a list of files")
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        return RecordingFiles(
            _listed(folder),
            (f"{metadata} cannot be used ({reason}); files are read in order of name",),
        )
    # Old versions of rosbag2 include the folder, whose name may have changed since.
    named = [folder / PurePosixPath(str(name)).name for name in names]
    present = tuple(file for file in named if file.is_file())
    missing = [file.name for file in named if not file.is_file()]
    qos = _metadata_qos(content)
    if not missing:
        return RecordingFiles(present, qos=qos)
    if not present:
        raise RecordingError(
            f"{metadata} names {', '.join(missing)}, and {folder} has none of them; "
            f"copy them there, or remove {METADATA} to read the files that exist."
        )
    return RecordingFiles(
        present,
        (
            f"{len(missing)} of {len(named)} files that {metadata} names are missing: "
            f"{', '.join(missing)}",
        ),
        qos,
    )


def _metadata_qos(content: dict[str, Any]) -> dict[str, str]:
    """Old versions store a text of YAML, new ones a list."""
    stated: dict[str, str] = {}
    for entry in content.get("topics_with_message_count") or ():
        topic = entry.get("topic_metadata", {}) if isinstance(entry, dict) else {}
        profiles = topic.get("offered_qos_profiles") or ""
        text = profiles if isinstance(profiles, str) else yaml.safe_dump(profiles)
        stated[str(topic.get("name"))] = text
    return stated


def _listed(folder: Path) -> tuple[Path, ...]:
    """The recording files in ``folder`` by name; numbers in names compare as numbers."""
    files = sorted(
        (file for file in folder.iterdir() if file.is_file() and is_recording_file(file)),
        key=natural_order,
    )
    if not files:
        raise RecordingError(
            f"{folder} has no {', '.join(_OPENERS)} file; give the file or folder of a recording."
        )
    kinds = {_suffix(file) for file in files}
    if len(kinds) > 1:
        raise RecordingError(
            f"{folder} has no {METADATA}, but files of several formats "
            f"({', '.join(sorted(kinds))}); give one of the files."
        )
    return tuple(files)


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
def _decompressed(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="activesam_bag_") as folder:
        target = Path(folder) / path.with_suffix("").name
        with path.open("rb") as compressed, target.open("wb") as decompressed:
            try:
                reader = zstandard.ZstdDecompressor().stream_reader(
                    compressed, read_across_frames=True
                )
                shutil.copyfileobj(reader, decompressed)
            except zstandard.ZstdError as error:
                raise RecordingError(
                    f"The zstd compression of {path} is damaged: {error}."
                ) from error
        yield target
