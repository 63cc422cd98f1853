"""Decompress zstd, lz4 and bz2 within bounds, which are checked before and during."""

from __future__ import annotations

import argparse
import bz2
from collections.abc import Callable, Iterator
from typing import TypeAlias

import lz4.frame  # type: ignore[import-untyped]
import zstandard

from activesam_ros.errors import RecordingError, UsageError

Buffer: TypeAlias = "bytes | memoryview[int]"

MIB = 1 << 20
DEFAULT_MAX_MESSAGE_MIB = 512
# What the size of a CDR sequence can count.
LARGEST_MAX_MESSAGE_MIB = 4096
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

_PIECE_BYTES = MIB


def add_max_message_argument(parser: argparse.ArgumentParser) -> None:
    """--max-message-mib."""
    parser.add_argument(
        "--max-message-mib",
        type=int,
        default=DEFAULT_MAX_MESSAGE_MIB,
        metavar="N",
        help="refuse a message, or a chunk of messages, of a recording that takes more than N MiB "
        "when it is decompressed (default: %(default)s)",
    )


def max_message_bytes(mib: int) -> int:
    """The bytes of ``--max-message-mib``; raises UsageError if it is out of range."""
    if not 1 <= mib <= LARGEST_MAX_MESSAGE_MIB:
        raise UsageError(f"--max-message-mib {mib} must be 1 to {LARGEST_MAX_MESSAGE_MIB}.")
    return mib * MIB


def check_size(what: str, size: int, limit: int) -> None:
    """Raise RecordingError if ``size`` bytes are more than ``limit`` of --max-message-mib."""
    if size > limit:
        raise RecordingError(f"{what} takes {size:,} bytes; {way_out(limit)}")


def way_out(limit: int) -> str:
    """What to say where ``limit`` bytes are exceeded."""
    return f"at most {limit // MIB} MiB are read, and --max-message-mib allows more"


def decompress(
    what: str, data: Buffer, method: str, limit: int, stated: int | None = None
) -> bytes:
    """``data`` decompressed by ``method``: zstd, lz4, bz2, or "" for none.

    what: begins the sentence of an error. stated: the size that the container states, None if it
    does not. Raises RecordingError when the result has another size, or more than ``limit`` bytes.
    """
    if stated is not None:
        check_size(what, stated, limit)
    if method == "":
        return bytes(data)
    if method not in _PIECES:
        raise RecordingError(f"{what} is compressed with {method!r}, which is not known")
    bound = limit if stated is None else stated
    result = bytearray()
    for piece in _PIECES[method](data):
        result += piece
        if len(result) > bound:
            break
    if stated is not None and len(result) != stated:
        size = "more" if len(result) > stated else f"{len(result):,}"
        raise RecordingError(f"{what} states {stated:,} bytes, but decompresses to {size}")
    if len(result) > limit:
        raise RecordingError(f"{what} decompresses to more; {way_out(limit)}")
    return bytes(result)


def stated_zstd_size(data: bytes) -> int | None:
    """The size that the first bytes of a zstd frame state, None if they do not."""
    size = zstandard.frame_content_size(data)
    return None if size < 0 else size


def _zstd(data: Buffer) -> Iterator[bytes]:
    yield from zstandard.ZstdDecompressor().read_to_iter(data, write_size=_PIECE_BYTES)


def _lz4(data: Buffer) -> Iterator[bytes]:
    decompressor = lz4.frame.LZ4FrameDecompressor()
    yield decompressor.decompress(data, max_length=_PIECE_BYTES)
    while not decompressor.eof:
        piece = decompressor.decompress(b"", max_length=_PIECE_BYTES)
        if not piece and decompressor.needs_input:
            raise EOFError("the lz4 data is cut off")
        yield piece


def _bz2(data: Buffer) -> Iterator[bytes]:
    while data:
        decompressor = bz2.BZ2Decompressor()
        yield decompressor.decompress(data, _PIECE_BYTES)
        while not decompressor.eof:
            piece = decompressor.decompress(b"", _PIECE_BYTES)
            if not piece and decompressor.needs_input:
                raise EOFError("the bz2 data is cut off")
            yield piece
        data = decompressor.unused_data


_PIECES: dict[str, Callable[[Buffer], Iterator[bytes]]] = {"zstd": _zstd, "lz4": _lz4, "bz2": _bz2}
