"""Open files that come from outside: only regular ones, and only up to a size.

A named pipe or a device would hang the reader for ever, and a sparse file of 100 GB fill memory.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

ANY_SIZE = 1 << 62
"""A limit for files that are read piece by piece, such as recordings."""

_BLOCK_BYTES = 1 << 16
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: Path, limit: int, *, ours: bool = False) -> BinaryIO:
    """Open the file at ``path`` to read bytes; never waits for another process.

    limit: bytes that it may have. ours: whether it must belong to this user, and nobody else may
    write it. Raises OSError, whose ``strerror`` says what is wrong.
    """
    # Before opening, because opening a device can have effects.
    check_regular(path, limit, ours=ours)
    # A pipe that takes the file's place meanwhile does not hang.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        _check(path, os.fstat(descriptor), limit, ours)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, limit: int, *, ours: bool = False) -> bytes:
    """The content of the file at ``path``; see :func:`open_regular`."""
    with open_regular(path, limit, ours=ours) as stream:
        data = stream.read(os.fstat(stream.fileno()).st_size)
        while more := stream.read(_BLOCK_BYTES):  # it grows, or does not tell its size
            data += more
            if len(data) > limit:
                raise _too_large(path, len(data), limit)
    return data


def check_regular(path: Path, limit: int, *, ours: bool = False) -> os.stat_result:
    """The status of the file at ``path``, for libraries that open files themselves.

    Raises what :func:`open_regular` raises.
    """
    try:
        status = os.stat(path)
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, f"no file can have this name: {error}", str(path)) from None
    _check(path, status, limit, ours)
    return status


def _check(path: Path, status: os.stat_result, limit: int, ours: bool) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))
    if status.st_size > limit:
        raise _too_large(path, status.st_size, limit)
    if ours and status.st_uid != os.geteuid():
        raise OSError(
            errno.EPERM,
            f"it belongs to the user with id {status.st_uid}, not to you ({os.geteuid()})",
            str(path),
        )
    if ours and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise OSError(errno.EPERM, "other users may write it", str(path))


def _too_large(path: Path, size: int, limit: int) -> OSError:
    return OSError(
        errno.EFBIG, f"it has {size:,} bytes, more than the {limit:,} allowed", str(path)
    )
