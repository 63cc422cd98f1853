"""Decode compressed image messages, JPEG and PNG, to RGB pixels.

``CompressedImage.format`` says what the pixels mean. image_transport writes
``<encoding>; <jpeg or png> compressed <order>``: the encoding of the raw image, and the order in
which OpenCV was given its channels; an image of one channel has none. Other publishers write
``jpeg`` or ``png`` alone, for the colors of the JPEG or PNG standard.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from activesam_ros.image_files import (
    FULL_BIT_DEPTH,
    MAX_IMAGE_PIXELS,
    TooManyPixelsError,
    exif_orientation,
    opened_image,
    to_eight_bits,
    upright,
)
from activesam_ros.recordings.image_encodings import (
    Cause,
    Converter,
    Encoding,
    PackedImage,
    RejectedImageError,
    known_encoding,
    packed_to_rgb,
    quoted,
)
from activesam_ros.whole_jpeg import has_all_pixels, jpeg_end

_KINDS = ("JPEG", "PNG")
_ALONE = ("", "jpeg", "jpg", "mjpeg", "png", "image/jpeg", "image/png")
_TRANSPORT = re.compile(r"(?:jpe?g|png)(?: compressed ?(bgr8|bgr16|rgb8|rgb16|mono8|mono16)?)?")


class CompressedImageMessage(Protocol):
    """The fields of sensor_msgs/CompressedImage that this module reads."""

    format: str
    data: Any


@dataclass(frozen=True, slots=True)
class _Meaning:
    """encoding: of the raw image, None if the format does not say.

    swapped: red is where JPEG and PNG have blue.
    """

    encoding: Encoding | None
    swapped: bool


def compressed_to_rgb(
    message: CompressedImageMessage,
    converter: Converter,
    bit_depth: int = FULL_BIT_DEPTH,
    max_pixels: int = MAX_IMAGE_PIXELS,
) -> NDArray[np.uint8]:
    """The pixels of a sensor_msgs/CompressedImage (JPEG or PNG) as uint8 RGB [H, W, 3].

    16 bits, of which the lowest ``bit_depth`` are used, are scaled to 8. A Bayer mosaic is
    interpolated. Alpha is dropped, as of raw images. The image is turned upright as its EXIF
    orientation says. Raises RejectedImageError for an unknown format, data that is not a complete
    JPEG or PNG, or more than ``max_pixels`` in its header.
    """
    meaning = _meaning_of(message.format)
    try:
        pixels, orientation = _decode(message, max_pixels)
    except RejectedImageError:
        raise
    except Exception as error:  # two libraries, and what they raise is not listed
        raise _corrupt(message, " ".join(str(error).split()) or type(error).__name__) from error
    if pixels.dtype == np.uint16:
        pixels = to_eight_bits(pixels, bit_depth)
    return upright(_to_rgb(pixels, meaning, converter), orientation)


def _to_rgb(
    pixels: NDArray[np.uint8], meaning: _Meaning, converter: Converter
) -> NDArray[np.uint8]:
    if pixels.ndim == 2 and meaning.encoding is not None and meaning.encoding.is_mosaic:
        height, width = pixels.shape
        mosaic = PackedImage(height, width, meaning.encoding.packed, width, pixels.reshape(-1))
        return packed_to_rgb(mosaic, converter)
    if pixels.ndim == 2:
        code = cv2.COLOR_GRAY2RGB
    elif meaning.swapped:
        return pixels[..., :3]
    else:
        code = cv2.COLOR_BGRA2RGB if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return cv2.cvtColor(pixels, code).astype(np.uint8, copy=False)


def _meaning_of(text: str) -> _Meaning:
    """What ``CompressedImage.format`` says; raises RejectedImageError if it is unknown."""
    name, semicolon, transport = (part.strip() for part in text.partition(";"))
    if not semicolon and name.lower() in _ALONE:
        return _Meaning(None, swapped=False)
    found = _TRANSPORT.fullmatch(transport.lower())
    if found is None:
        reason = "it is depth" if "compressedDepth" in text else "it is unknown"
        raise RejectedImageError(
            Cause.UNKNOWN_FORMAT,
            f"a compressed image of the format {quoted(text)} cannot be read: {reason}; publish "
            "jpeg, png, or what image_transport writes, such as 'rgb8; jpeg compressed bgr8'.",
        )
    encoding, order = known_encoding(name), found[1] or ""
    # As compressed_image_transport reads it: OpenCV was given a color image as red, green, blue
    # unless the format says bgr, although it takes blue, green, red.
    return _Meaning(encoding, order.startswith("rgb") or (encoding.is_color and not order))


def _decode(message: CompressedImageMessage, max_pixels: int) -> tuple[NDArray[Any], int]:
    """The stored pixels, uint8 or uint16, and their EXIF orientation.

    The pixels are grey [H, W], or BGR or BGRA [H, W, C].
    """
    data = bytes(message.data)
    with _opened(message, data, max_pixels) as header:
        width, height = header.size
        is_png = header.format == "PNG"
        end = _png_end(data) if is_png else jpeg_end(data)
        if end is None:
            raise _corrupt(message, "its end is missing")
        pixels = cv2.imdecode(np.frombuffer(data[:end], np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None or pixels.shape[:2] != (height, width):
            raise _corrupt(message, "it does not decode")
        if not is_png and not has_all_pixels(data, header, pixels):
            raise _corrupt(message, "a part of it is missing")
        return pixels, exif_orientation(header)


@contextlib.contextmanager
def _opened(
    message: CompressedImageMessage, data: bytes, max_pixels: int
) -> Iterator[PillowImage.Image]:
    """The image with its header read; raises RejectedImageError if it must not be decoded."""
    if not data:
        raise RejectedImageError(Cause.WRONG_LENGTH, "the compressed image has no bytes.")
    try:
        with opened_image(data, max_pixels, _KINDS) as header:
            yield header
    except TooManyPixelsError as error:
        raise RejectedImageError(Cause.TOO_LARGE, f"the compressed image: {error}") from error
    except UnidentifiedImageError as error:
        raise _corrupt(message, "it is not a JPEG or PNG") from error


def _png_end(data: bytes) -> int | None:
    """Where a PNG ends; None if its last chunk is missing."""
    start = data.rfind(b"IEND")
    return None if start < 0 else start + 8  # the name of the chunk and its checksum


def _corrupt(message: CompressedImageMessage, reason: str) -> RejectedImageError:
    return RejectedImageError(
        Cause.CORRUPT_DATA,
        f"the compressed image (format {quoted(message.format)}, {len(message.data)} bytes) cannot "
        f"be decoded: {reason}; only complete JPEG and PNG images are read.",
    )
