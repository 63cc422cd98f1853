"""Decode a recorded frame to RGB pixels, or to the class ids of a label image."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.errors import ImageError
from activesam_ros.image_files import FULL_BIT_DEPTH, LabelMap
from activesam_ros.recordings.compressed_images import compressed_to_rgb
from activesam_ros.recordings.image_encodings import load_converter, to_rgb
from activesam_ros.recordings.recorded_frames import RecordedFrame
from activesam_ros.recordings.serialization import IMAGE

RgbDecoder: TypeAlias = Callable[[RecordedFrame], NDArray[np.uint8]]

_PNG_MAGIC = b"\x89PNG\r\n"
_LABEL_TYPES = {"mono8": "u1", "8UC1": "u1", "mono16": "u2", "16UC1": "u2"}


def rgb_decoder(bit_depth: int = FULL_BIT_DEPTH) -> RgbDecoder:
    """A function that decodes a frame to uint8 RGB [H, W, 3], as the node decodes images.

    ``bit_depth`` is the setting of that name. The decoder raises ImageError for an unusable frame.
    This function raises MissingDependencyError when no conversion library is installed.
    """
    converter = load_converter()

    def decode(frame: RecordedFrame) -> NDArray[np.uint8]:
        if frame.message is None:
            raise ImageError(frame.problem or "the message cannot be read")
        if frame.message_type == IMAGE:
            return to_rgb(frame.message, converter, bit_depth)
        return compressed_to_rgb(frame.message, converter, bit_depth)

    return decode


def label_map(frame: RecordedFrame) -> LabelMap:
    """The class ids of a label image, uint8 or uint16 [H, W].

    Reads mono8, 8UC1, mono16, 16UC1 and PNG; raises ImageError for any other encoding.
    """
    if frame.message is None:
        raise ImageError(frame.problem or "the message cannot be read")
    if frame.message_type == IMAGE:
        return _raw_labels(frame)
    data = np.frombuffer(frame.message.data, np.uint8)
    is_png = data[: len(_PNG_MAGIC)].tobytes() == _PNG_MAGIC
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if is_png else None
    if pixels is None or pixels.ndim != 2 or pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"a label image on {frame.topic} (format {frame.message.format!r}) is not a PNG of one "
            "channel; lossy or colored labels cannot be used"
        )
    return pixels  # type: ignore[return-value]


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
