"""Decode a recorded frame to RGB pixels, or to the class ids of a label image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.allocator import HugeImages
from activesam_ros.errors import ImageError
from activesam_ros.image_files import (
    FULL_BIT_DEPTH,
    MAX_IMAGE_PIXELS,
    LabelMap,
    TooManyPixelsError,
    opened_image,
)
from activesam_ros.recordings.compressed_images import compressed_to_rgb
from activesam_ros.recordings.image_encodings import load_converter, to_rgb
from activesam_ros.recordings.recorded_frames import RecordedFrame
from activesam_ros.recordings.serialization import IMAGE

RgbDecoder: TypeAlias = Callable[[RecordedFrame], NDArray[np.uint8]]

_LABEL_TYPES = {"mono8": "u1", "8UC1": "u1", "mono16": "u2", "16UC1": "u2"}


def rgb_decoder(bit_depth: int = FULL_BIT_DEPTH, max_pixels: int = MAX_IMAGE_PIXELS) -> RgbDecoder:
    """A function that decodes a frame to uint8 RGB [H, W, 3], as the node decodes images.

    bit_depth, max_pixels: as in Settings. The decoder raises ImageError for an unusable frame.
    This function raises MissingDependencyError when no conversion library is installed.
    """
    converter = load_converter()
    huge = HugeImages()

    def decode(frame: RecordedFrame) -> NDArray[np.uint8]:
        if frame.message is None:
            raise ImageError(frame.problem or "the message cannot be read")
        to_pixels = to_rgb if frame.message_type == IMAGE else compressed_to_rgb
        pixels = to_pixels(frame.message, converter, bit_depth, max_pixels)
        huge.next_image(pixels.shape[0] * pixels.shape[1], frame.topic)
        return pixels

    return decode


def label_map(frame: RecordedFrame, max_pixels: int = MAX_IMAGE_PIXELS) -> LabelMap:
    """The class ids of a label image, uint8 or uint16 [H, W].

    Reads mono8, 8UC1, mono16, 16UC1 and PNG; raises ImageError for any other encoding, damaged data
    and more than ``max_pixels``.
    """
    if frame.message is None:
        raise ImageError(frame.problem or "the message cannot be read")
    if frame.message_type == IMAGE:
        return _raw_labels(frame)
    pixels = _png_pixels(frame.message.data, max_pixels)
    if pixels is None or pixels.ndim != 2 or pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"a label image on {frame.topic} (format {frame.message.format!r}) is not a PNG of one "
            "channel; lossy or colored labels cannot be used"
        )
    return pixels


def _png_pixels(data: Any, max_pixels: int) -> NDArray[Any] | None:
    """The pixels of a PNG, None for anything else; raises TooManyPixelsError."""
    try:
        with opened_image(bytes(data), max_pixels, ("PNG",)):
            return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except TooManyPixelsError:
        raise
    except Exception:  # noqa: BLE001 - two libraries, and what they raise is not listed
        return None


def _raw_labels(frame: RecordedFrame) -> LabelMap:
    message = frame.message
    if message.encoding not in _LABEL_TYPES:
        raise ImageError(
            f"a label image on {frame.topic} has the encoding {message.encoding!r}; "
            f"labels must be {', '.join(_LABEL_TYPES)}"
        )
    order = ">" if message.is_bigendian else "<"
    dtype = np.dtype(order + _LABEL_TYPES[message.encoding])
    row_bytes = message.width * dtype.itemsize
    data = np.frombuffer(message.data, np.uint8)
    if message.width < 1 or message.step < row_bytes or data.size != message.height * message.step:
        raise ImageError(
            f"a label image on {frame.topic} of {message.width}x{message.height} "
            f"{message.encoding} pixels and step {message.step} cannot have {data.size} bytes"
        )
    rows = np.ascontiguousarray(data.reshape(message.height, message.step)[:, :row_bytes])
    pixels: LabelMap = rows.view(dtype).astype(dtype.newbyteorder("="), copy=False)
    return pixels
