"""What commands write: checked before any work, and written whole or not at all.

A file is written under a hidden name in its own folder and renamed at the end, so that an error, a
full disk or Ctrl-C leaves the older file, or none, and never a part of one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

# Path.exists and its like raise for a name that is too long; those of os.path do not.
from activesam_ros.errors import OutputError, os_reason

# What a disk with room takes; a full one refuses it.
_PROBE_BYTES = 4096
_USUAL_NAME_BYTES = 255
# The time of a file that was made, but not written.
_UNTOUCHED_S = 1


def check_output_file(path: Path, option: str = "--output", longest_suffix: str = "") -> None:
    """Raise OutputError unless a file can be written at ``path``; makes nothing that stays.

    longest_suffix: what the longest name of a file beside it adds to its name.
    """
    if os.path.isdir(path):
        raise OutputError(f"{option} {path} is a folder; give the name of a file.")
    if _is_special(path):
        return  # a device or a pipe
    _check_place(path.with_name(path.name + longest_suffix), path.parent, f"{option} {path}")
    _check_link(path, f"{option} {path}")


def check_output_folder(folder: Path, option: str = "--output", longest_name: str = "") -> None:
    """Raise OutputError unless files can be written into ``folder``; makes nothing that stays.

    longest_name: the longest name of a file that is to be written there.
    """
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise OutputError(f"{option} {folder} is a file; give a folder.")
    _check_place(folder / longest_name, folder, f"{option} {folder}")


def make_folder(folder: Path) -> None:
    """Make ``folder`` and those above it; raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be made: {os_reason(error)}.") from error


def write_whole(path: Path, content: bytes | str) -> None:
    """Write ``content`` to ``path``, text as UTF-8; raises OutputError."""
    data = content.encode() if isinstance(content, str) else content
    with whole_file(path) as stream:
        stream.write(data)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A stream whose content is at ``path`` once the block ends without an error.

    Raises OutputError when it cannot be written.
    """
    with whole_path(path) as temporary, temporary.open("wb") as stream:
        yield stream
        stream.flush()


@contextlib.contextmanager
def whole_path(path: Path, replace: bool = True, mode: int = 0o666) -> Iterator[Path]:
    """A path to write instead of ``path``, with its suffix; renamed when the block ends well.

    For libraries that open files themselves. A link at ``path`` stays, and its target is replaced;
    a device or a pipe is written itself. replace: whether a file at ``path`` may be replaced. mode:
    the file's permissions, less the umask.
    Raises OutputError when the file cannot be written.
    """
    target = Path(os.path.realpath(path)) if os.path.islink(path) else path
    _check_link(target, str(path))  # a link to itself
    if _is_special(target):
        with _refusals(path, target):
            yield target
        return
    temporary = target.with_name(f".{secrets.token_hex(8)}{target.suffix}")
    try:
        with _refusals(path, temporary):
            make_folder(target.parent)
            # Made here, so that what somebody else has put there, such as a link, is never written.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(temporary, flags, mode))
            os.utime(temporary, (_UNTOUCHED_S, _UNTOUCHED_S))
            yield temporary
            if os.stat(temporary, follow_symlinks=False).st_mtime == _UNTOUCHED_S:
                raise OutputError(f"{path} cannot be written: nothing was written.")
            _sync(temporary)
            if not replace and os.path.lexists(target):
                raise OutputError(f"{path} was written by something else meanwhile; it is kept.")
            os.replace(temporary, target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def _refusals(path: Path, written: Path) -> Iterator[None]:
    """Turn an OSError about the file into an OutputError; one about another file stays."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and Path(os.fsdecode(error.filename)) != written:
            raise
        raise OutputError(f"{path} cannot be written: {os_reason(error)}.") from error


def _sync(path: Path) -> None:
    """Wait until the file is on disk, where the file system can tell."""
    with path.open("rb") as stream:
        try:
            os.fsync(stream.fileno())
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
                raise


def _check_place(longest: Path, folder: Path, what: str) -> None:
    """Check that ``folder`` exists or can be made, takes bytes, and takes the longest name."""
    place = folder.absolute()
    while not os.path.lexists(place):
        place = place.parent
    _check_link(place, what)
    if not os.path.isdir(place):
        raise OutputError(f"{what} cannot be written: {place} is not a folder; give another place.")
    try:
        limit = os.statvfs(place).f_namemax or _USUAL_NAME_BYTES
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
    except OSError as error:
        raise OutputError(
            f"{what} cannot be written: the folder {place} refuses files ({os_reason(error)}); "
            "make room there or give another place."
        ) from error
    for part in longest.absolute().relative_to(place).parts:
        length = len(os.fsencode(part))
        if length > limit:
            raise OutputError(
                f"{what} cannot be written: the name {part} has {length} bytes, and {place} allows "
                f"{limit}; give a shorter name."
            )


def _is_special(path: Path) -> bool:
    """Whether it is a device, a pipe or a folder."""
    return os.path.exists(path) and not os.path.isfile(path)


def _check_link(path: Path, what: str) -> None:
    if os.path.islink(path) and not os.path.exists(path):
        raise OutputError(
            f"{what} cannot be written: {path} is a link to {os.readlink(path)}, which does not "
            "exist; remove the link or give another place."
        )
