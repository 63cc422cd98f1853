"""The folder of the prompt cache, used only where nobody else can write it.

Whoever may write a table may swap the features of two classes, and any checksum with them.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from activesam_ros.errors import OutputError, os_reason
from activesam_ros.output_files import make_folder, whole_path
from activesam_ros.regular_files import read_regular

_OURS_ALONE = 0o700
_FILE_MODE = 0o600


def why_untrusted(folder: Path) -> str:
    """Why the content of ``folder`` cannot be trusted, for behind its name; "" if it can be.

    A folder that does not exist yet can be.
    """
    try:
        status = os.stat(folder)
    except OSError:  # reading finds nothing there, and writing says why
        return ""
    if not stat.S_ISDIR(status.st_mode):
        return ""
    if status.st_uid != os.geteuid():
        return (
            f"belongs to the user with id {status.st_uid}, not to you ({os.geteuid()}); set "
            "ACTIVESAM_CACHE to a folder of yours"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"can be written by other users; run chmod 700 {folder}"
    return ""


def read_cached(path: Path, limit: int) -> bytes | None:
    """The content of a file of the cache, None where there is none or it cannot be read.

    Raises OutputError where it is not a regular file of ours within ``limit`` bytes.
    """
    try:
        return read_regular(path, limit, ours=True)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise OutputError(os_reason(error)) from error


def write_cached(path: Path, data: bytes) -> None:
    """Write a file of the cache, whole or not at all, that only we can read; raises OutputError.

    Its folder is made for us alone. Whatever is in its place is replaced and never written into.
    """
    if not path.parent.exists():
        make_folder(path.parent.parent)
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir(_OURS_ALONE)
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        path.unlink()
    with whole_path(path, mode=_FILE_MODE) as temporary:
        temporary.write_bytes(data)
