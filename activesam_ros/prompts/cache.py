"""Prompt tables on disk: one safetensors file per fingerprint, checked before it is used.

Several processes may share a folder, because a file is written whole or not at all. Without a
usable folder, prompts are compiled at every start. A folder that others may write is not used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from activesam_ros.errors import OutputError
from activesam_ros.prompts.cache_folder import read_cached, why_untrusted, write_cached
from activesam_ros.prompts.hypernyms import CACHE_SUFFIX

_LOG = logging.getLogger(__name__)

# Beyond this number the least recently used tables are deleted. At full size 150 queries take 5 MB.
MAX_FILES = 64
_SUFFIX = ".prompts.safetensors"
_LARGEST_HEADER = 1 << 16

#: Name -> dtype and shape.
Layout = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]


def default_cache_dir(environment: Mapping[str, str] = os.environ) -> Path | None:
    """ACTIVESAM_CACHE, else activesam_ros under XDG_CACHE_HOME or ~/.cache; None without a home."""
    if environment.get("ACTIVESAM_CACHE"):
        return Path(environment["ACTIVESAM_CACHE"])
    # The XDG specification says to ignore a relative path.
    if os.path.isabs(environment.get("XDG_CACHE_HOME", "")):
        return Path(environment["XDG_CACHE_HOME"]) / "activesam_ros"
    try:
        return Path.home() / ".cache" / "activesam_ros"
    except RuntimeError:  # a user id without an account, as containers have
        return None


def trusted_folder(folder: Path) -> Path | None:
    """``folder`` if nobody else can write it; else None, with a warning that says the way out."""
    why = why_untrusted(folder)
    if not why:
        return folder
    _LOG.warning("The prompt cache is not used: %s %s.", folder, why)
    return None


def cache_path(folder: Path, fingerprint: str) -> Path:
    """The file of the table ``fingerprint``."""
    return folder / f"{fingerprint}{_SUFFIX}"


def read_tensors(folder: Path, fingerprint: str, layout: Layout) -> dict[str, Tensor] | None:
    """The tensors stored under ``fingerprint``, or None if there are none.

    Logs a warning and returns None if the folder cannot be trusted, or if the file is damaged or
    has another fingerprint or layout, or values that are not finite.
    """
    if trusted_folder(folder) is None:
        return None
    path = cache_path(folder, fingerprint)
    try:
        data = read_cached(path, _size(layout) + _LARGEST_HEADER)
        if data is None:  # write_tensors() replaces it or warns
            return None
        tensors = load(data)
        problem = _problem(tensors, _metadata(data), fingerprint, layout)
    except OutputError as error:
        problem = str(error)
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        problem = f"it is damaged ({type(error).__name__}: {error})"
    if problem:
        _LOG.warning(
            "The cached prompts %s cannot be used: %s. They are compiled again.", path, problem
        )
        return None
    with contextlib.suppress(OSError):  # a read-only folder
        os.utime(path)
    return tensors


def write_tensors(folder: Path, fingerprint: str, tensors: Mapping[str, Tensor]) -> None:
    """Store ``tensors`` under ``fingerprint``, or log one warning if the folder cannot be used."""
    if trusted_folder(folder) is None:
        return
    stored = {name: tensor.contiguous() for name, tensor in tensors.items()}
    data = save(stored, {"fingerprint": fingerprint, "digest": _digest(stored)})
    try:
        write_cached(cache_path(folder, fingerprint), data)
        _delete_oldest(folder)
    except (OSError, OutputError) as error:
        _LOG.warning(
            "The prompts cannot be cached in %s (%s), so the next start compiles them again. Make "
            "the folder writable, or set ACTIVESAM_CACHE to another one.",
            folder,
            error,
        )


def _size(layout: Layout) -> int:
    return sum(dtype.itemsize * math.prod(shape) for dtype, shape in layout.values())


def _metadata(data: bytes) -> Mapping[str, str]:
    """The metadata of a safetensors file whose header is valid."""
    length = int.from_bytes(data[:8], "little")
    metadata: Mapping[str, str] = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    return metadata


def _problem(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], fingerprint: str, layout: Layout
) -> str | None:
    """Why the content of a file cannot be used, or None."""
    if metadata.get("fingerprint") != fingerprint:
        return "it belongs to other weights, words or settings"
    found = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    if found != dict(layout):
        return "its tensors are not those of a prompt table"
    if metadata.get("digest") != _digest(tensors):
        return "its tensors do not match their checksum"
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        return "it has values that are NaN or infinite"
    return None


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def _delete_oldest(folder: Path) -> None:
    """Delete the least recently used files beyond MAX_FILES; another process may do the same."""
    for suffix in (_SUFFIX, CACHE_SUFFIX):
        used: list[tuple[int, Path]] = []
        for path in folder.glob(f"*{suffix}"):
            with contextlib.suppress(FileNotFoundError):
                used.append((path.stat().st_mtime_ns, path))
        for _, path in sorted(used)[:-MAX_FILES]:
            path.unlink(missing_ok=True)
