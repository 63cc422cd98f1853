"""Image files, and the type of label maps.

Every image is turned upright as its EXIF orientation says, wherever it is read: viewers show it so.
In a file, transparent pixels are blended with white.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from activesam_ros.errors import ImageError, os_reason
from activesam_ros.output_files import write_whole
from activesam_ros.regular_files import read_regular
from activesam_ros.whole_jpeg import has_all_pixels

#: The class id of each pixel, [H, W].
LabelMap: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]

FULL_BIT_DEPTH = 16
"""The bit depth at which 16-bit values use their full range."""
LARGEST_IMAGE_FILE = 1 << 31
"""Bytes that the file of an image may have."""
MAX_IMAGE_PIXELS = 1 << 26
"""An image with more pixels is refused; the default of the setting max_image_pixels."""

_ORIENTATION = 0x0112  # the EXIF tag
# OpenCV reads them without turning them; TIFF is turned by both libraries, the rest has no EXIF.
_TURNED_HERE = ("JPEG", "MPO", "PNG", "WEBP")
# Formats that Pillow reads right: OpenCV ignores AVIF's rotation and GIF's transparency.
_READ_BY_PILLOW = ("AVIF", "GIF")
_HEIC = tuple(b"ftyp" + brand for brand in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"))
_WITH_16_BITS = ("PNG", "TIFF")
# A block of 64 pixels takes a bit at least, its brightness in the first scan of a progressive JPEG.
_JPEG_PIXELS_PER_BYTE = 512
_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")


def read_image(
    path: Path | str, bit_depth: int = FULL_BIT_DEPTH, max_pixels: int = MAX_IMAGE_PIXELS
) -> NDArray[np.uint8]:
    """The image as uint8 RGB [H, W, 3], upright and over white.

    16 bits, of which the lowest ``bit_depth`` are used, are scaled to 8. Raises ImageError if it
    cannot be read or decoded, or has more than ``max_pixels``.
    """
    try:
        data = np.frombuffer(read_regular(Path(path), LARGEST_IMAGE_FILE), np.uint8)
    except OSError as error:
        raise ImageError(f"The image {path} cannot be read: {os_reason(error)}.") from None
    try:
        return _decode(data, bit_depth, max_pixels)
    except TooManyPixelsError as error:
        raise ImageError(f"{path} ({data.size} bytes): {error}") from None
    except Exception as error:  # two libraries, and what they raise is not listed
        raise ImageError(
            f"{path} ({data.size} bytes) is not an image that can be decoded{_why(data, error)}; "
            "give a whole JPEG, PNG, WebP, AVIF, TIFF or BMP file."
        ) from error


class TooManyPixelsError(ImageError):
    """The header of an image states more pixels than are decoded."""


@contextlib.contextmanager
def opened_image(
    data: bytes | memoryview, max_pixels: int, formats: tuple[str, ...] | None = None
) -> Iterator[Image.Image]:
    """An encoded image with only its header read, by Pillow.

    formats: of Pillow, None for all. Raises TooManyPixelsError where the header states more than
    ``max_pixels``, or more than that many bytes of a JPEG can hold; what Pillow raises for data
    that is no image.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixelsError(f"its header states too many pixels: {error}") from None
    with picture:
        width, height = picture.size
        stated = f"its header states {width}x{height} pixels"
        if width * height > max_pixels:
            raise TooManyPixelsError(
                f"{stated}, more than max_image_pixels={max_pixels}; give a smaller image or set "
                "max_image_pixels higher."
            )
        is_jpeg = picture.format in ("JPEG", "MPO")
        if is_jpeg and width * height > _JPEG_PIXELS_PER_BYTE * len(data):
            raise TooManyPixelsError(
                f"{stated}, more than {len(data)} bytes of JPEG can hold; give a whole file."
            )
        yield picture


def exif_orientation(header: Image.Image) -> int:
    """The EXIF orientation of an opened image, 1 to 8; 1 (upright) where there is none."""
    if header.format not in _TURNED_HERE or "exif" not in header.info:
        return 1
    exif = Image.Exif()
    try:
        exif.load(header.info["exif"])
        orientation = exif.get(_ORIENTATION, 1)
    except (SyntaxError, ValueError, KeyError, OSError, struct.error):
        return 1  # damaged EXIF; viewers ignore it too
    return orientation if orientation in range(1, 9) else 1


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """``pixels`` [H, W, ...] as the EXIF ``orientation`` says; 5 to 8 swap height and width."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def to_eight_bits(words: NDArray[Any], bit_depth: int = FULL_BIT_DEPTH) -> NDArray[np.uint8]:
    """uint16 of either byte order to uint8: 0 to 2^bit_depth - 1 is scaled, and rounded.

    Larger values become 255.
    """
    native = words.astype(np.uint16, copy=False)
    scale = 255.0 / ((1 << bit_depth) - 1)
    return cv2.convertScaleAbs(native, alpha=scale).astype(np.uint8, copy=False)


def write_png(path: Path, pixels: LabelMap) -> None:
    """Write RGB [H, W, 3] or labels [H, W], whole or not at all.

    Raises ImageError if PNG cannot hold them, OutputError if ``path`` cannot be written.
    """
    write_whole(path, png_bytes(pixels))


def png_bytes(pixels: LabelMap) -> bytes:
    """The PNG file of RGB [H, W, 3] or labels [H, W]; raises ImageError if PNG cannot hold them."""
    if pixels.ndim == 3:
        pixels = pixels[..., ::-1]  # to BGR, as OpenCV writes
    encoded, data = cv2.imencode(".png", pixels) if pixels.size else (False, pixels)
    if not encoded:
        raise ImageError(f"PNG cannot hold {pixels.dtype} pixels of shape {pixels.shape}.")
    return data.tobytes()


def _decode(data: NDArray[np.uint8], bit_depth: int, max_pixels: int) -> NDArray[np.uint8]:
    """uint8 RGB [H, W, 3], upright and over white; raises errors of both libraries."""
    with opened_image(data.data, max_pixels) as picture:
        orientation = exif_orientation(picture)
        if picture.format in _READ_BY_PILLOW or _has_alpha(picture):
            if picture.format in _WITH_16_BITS:  # Pillow would cut colours to 8 bits
                pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
                if pixels is not None and pixels.dtype == np.uint16 and pixels.shape[2:] == (4,):
                    return upright(_words_over_white(pixels, bit_depth), orientation)
            return _over_white(picture)
        transparent = picture.info.get("transparency")
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)  # [H, W] or [H, W, channels]
        if pixels is None:
            raise ValueError("its pixels are damaged")
        is_jpeg = picture.format in ("JPEG", "MPO")
        if is_jpeg and not has_all_pixels(data.tobytes(), picture, pixels):
            raise ValueError("a part of it is missing")
    if transparent is not None:  # one grey level of 16 bits
        pixels[pixels == transparent] = np.iinfo(np.uint16).max
    return upright(_rgb(pixels, bit_depth), orientation)


def _why(data: NDArray[np.uint8], error: Exception) -> str:
    """The reason, for behind "cannot be decoded"; empty where the data is nothing known."""
    if not isinstance(error, UnidentifiedImageError):
        return f": {' '.join(str(error).split())}"
    brand = data[4:12].tobytes()  # of the ISO media files that AVIF and HEIC are
    if brand in (b"ftypavif", b"ftypavis"):
        return ": this Pillow cannot read AVIF, which needs Pillow 11.3 or later"
    return ": it is HEIC" if brand in _HEIC else ""


def _has_alpha(picture: Image.Image) -> bool:
    """Whether pixels may be transparent; not for 16-bit grey, which Pillow would cut to 8 bits."""
    transparent = picture.mode in _WITH_ALPHA or "transparency" in picture.info
    return transparent and not picture.mode.startswith("I")


def _over_white(picture: Image.Image) -> NDArray[np.uint8]:
    rgba = ImageOps.exif_transpose(picture).convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return np.array(Image.alpha_composite(white, rgba).convert("RGB"), np.uint8)


def _words_over_white(pixels: NDArray[Any], bit_depth: int) -> NDArray[np.uint8]:
    """RGB [H, W, 3] of BGRA with 16 bits; alpha always uses its full range."""
    share = pixels[..., 3:].astype(np.float32) / np.iinfo(np.uint16).max  # [H, W, 1]
    blended = _rgb(pixels, bit_depth) * share + 255.0 * (1.0 - share)  # [H, W, 3]
    return np.rint(blended).astype(np.uint8)


def _rgb(pixels: NDArray[Any], bit_depth: int) -> NDArray[np.uint8]:
    """RGB [H, W, 3] of what OpenCV decodes: grey, BGR or BGRA."""
    if pixels.dtype == np.uint16:
        pixels = to_eight_bits(pixels, bit_depth)
    if pixels.dtype != np.uint8:
        raise ValueError(f"its pixels are {pixels.dtype}")
    if pixels.ndim == 2:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), np.uint8)
    code = cv2.COLOR_BGRA2RGB if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(pixels, code), np.uint8)
