"""Tell whether a JPEG is whole.

Decoders only warn about a JPEG that ends too early, and fill the rest of the image.
"""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# The marker of a segment: neither filling nor any of those inside a scan.
_SEGMENT = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_SCAN = b"\xff\xda"
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_END = b"\xff\xd9"
_END_MARKER = re.compile(_END)
# What decoders put where a baseline JPEG has no data, in all channels.
_GREY = 128
# More than a block of pixels takes; 0xff would be a marker.
_FILLER = bytes(range(1, 255)) * 8


def jpeg_end(data: bytes) -> int | None:
    """Where a JPEG ends; None if its end marker is missing.

    What follows is padding, or is left from a longer image in a buffer that is used again.
    """
    place = 2  # behind the start marker
    while found := _SEGMENT.search(data, place):
        place = found.end()
        if found[0] == _SCAN:
            # A scan has no such bytes, nor have the tables between two scans.
            end = _END_MARKER.search(data, place)  # in a third of the time of bytes.find
            return None if end is None else end.end()
        place += int.from_bytes(data[place : place + 2], "big")
    return None


def has_all_pixels(data: bytes, header: Image.Image, pixels: NDArray[Any]) -> bool:
    """Whether a JPEG has the data of its pixels; the last block, of 16x16 at most, may lack some.

    header: the image opened by Pillow. pixels: what OpenCV decodes, [H, W] or [H, W, C].
    """
    end = jpeg_end(data)
    if end is None:
        return False
    baseline = "progressive" not in header.info and header.mode != "CMYK"
    if baseline and np.any(pixels[-1, -1] != _GREY):
        return True
    # Bytes inserted before the end marker change pixels if some lack their data. A decoder that has
    # all pixels skips the bytes.
    body = data[: end - len(_END)]
    restarts = len(_RESTART.findall(body))
    filler = _FILLER + bytes([0xFF, 0xD0 + restarts % 8]) + _FILLER
    try:
        plain, filled = (
            np.asarray(Image.open(io.BytesIO(text))) for text in (body + _END, body + filler + _END)
        )
    except OSError:
        return False
    return np.array_equal(plain, filled)
