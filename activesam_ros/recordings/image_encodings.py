"""Decode raw image messages to RGB pixels: encodings, steps and byte orders.

compressed_images.py decodes JPEG and PNG. No other module knows how messages store pixels. To add
an encoding, add a row to ``ENCODINGS``. Every field of a message is checked before its pixels are
read. cv_bridge converts colors where it works, else rosbags-image does. Both receive the same
packed eight-bit image, so both return the same pixels.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.errors import ImageError, MissingDependencyError
from activesam_ros.image_files import FULL_BIT_DEPTH, MAX_IMAGE_PIXELS, to_eight_bits

MAX_QUOTED = 60  # characters; no known encoding or format has a longer name


class Cause(enum.Enum):
    """Why an image message is unusable."""

    UNKNOWN_ENCODING = "unknown_encoding"
    UNKNOWN_FORMAT = "unknown_format"
    ZERO_SIZE = "zero_size"
    ODD_SIZE = "odd_size"
    WRONG_STEP = "wrong_step"
    WRONG_LENGTH = "wrong_length"
    TOO_LARGE = "too_large"
    CORRUPT_DATA = "corrupt_data"


class RejectedImageError(ImageError):
    """An unusable image message. ``cause`` identifies the fault across frames."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class ImageMessage(Protocol):
    """The fields of sensor_msgs/Image that this module reads."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


@dataclass(frozen=True, slots=True)
class PackedImage:
    """An eight-bit image without row padding, with the field names of sensor_msgs/Image."""

    height: int
    width: int
    encoding: str
    step: int
    data: NDArray[np.uint8]
    is_bigendian: int = int(sys.byteorder == "big")


class Converter(Protocol):
    """Converts the colors of a packed eight-bit image."""

    @property
    def name(self) -> str:
        """The library that converts."""

    def to_rgb(self, image: PackedImage) -> NDArray[np.uint8]:
        """The pixels as uint8 RGB [H, W, 3]."""


class CvBridgeConverter:
    """Conversion by cv_bridge; raises MissingDependencyError when it is absent or broken."""

    name = "cv_bridge"

    def __init__(self) -> None:
        # A cv_bridge built for another NumPy may fail on import or only in use, so use it once.
        try:
            from cv_bridge import CvBridge

            self._bridge = CvBridge()
            self.to_rgb(PackedImage(1, 1, "bgr8", 3, np.zeros(3, np.uint8)))
        except (ImportError, AttributeError, SystemError, TypeError, RuntimeError) as error:
            raise MissingDependencyError(f"cv_bridge cannot be used here: {error}.") from error

    def to_rgb(self, image: PackedImage) -> NDArray[np.uint8]:
        pixels: NDArray[np.uint8] = self._bridge.imgmsg_to_cv2(image, "rgb8")
        return pixels


class RosbagsConverter:
    """Conversion by rosbags-image; raises MissingDependencyError when it is absent."""

    name = "rosbags-image"

    def __init__(self) -> None:
        try:
            from rosbags.image import image_to_cvimage
        except ImportError as error:
            raise MissingDependencyError(f"rosbags-image cannot be used here: {error}.") from error
        self._convert: Any = image_to_cvimage

    def to_rgb(self, image: PackedImage) -> NDArray[np.uint8]:
        pixels: NDArray[np.uint8] = self._convert(image, "rgb8")
        return pixels


def load_converter() -> Converter:
    """cv_bridge if it works, else rosbags-image; raises MissingDependencyError without either."""
    try:
        return CvBridgeConverter()
    except MissingDependencyError as no_bridge:
        try:
            return RosbagsConverter()
        except MissingDependencyError as no_rosbags:
            raise MissingDependencyError(
                f"{no_bridge} {no_rosbags} Install one of them: ros-<distribution>-cv-bridge from "
                "the ROS distribution, or rosbags-image."
            ) from None


@dataclass(frozen=True, slots=True)
class Encoding:
    """How an encoding stores pixels. packed: the eight-bit encoding passed to the converter."""

    channels: int
    bits: int
    packed: str
    chroma_rows: bool = False  # the luma rows are followed by half as many rows of chroma
    even: bool = False  # pairs of pixels share chroma, so the width must be even

    @property
    def is_mosaic(self) -> bool:
        """Whether each pixel holds one color of a Bayer pattern."""
        return self.packed.startswith("bayer_")

    @property
    def is_color(self) -> bool:
        """Whether each pixel holds red, green and blue."""
        return self.packed.startswith(("rgb", "bgr"))


_BAYER = ("rggb", "bggr", "gbrg", "grbg")

ENCODINGS: dict[str, Encoding] = {
    "mono8": Encoding(1, 8, "mono8"),
    "8UC1": Encoding(1, 8, "mono8"),
    "mono16": Encoding(1, 16, "mono8"),
    **{
        f"{order}{bits}": Encoding(len(order), bits, f"{order}8")
        for order in ("rgb", "bgr", "rgba", "bgra")
        for bits in (8, 16)
    },
    **{
        f"bayer_{pattern}{bits}": Encoding(1, bits, f"bayer_{pattern}8")
        for pattern in _BAYER
        for bits in (8, 16)
    },
    "yuv422": Encoding(2, 8, "yuv422", even=True),
    "uyvy": Encoding(2, 8, "yuv422", even=True),
    "yuv422_yuy2": Encoding(2, 8, "yuv422_yuy2", even=True),
    "yuyv": Encoding(2, 8, "yuv422_yuy2", even=True),
    "nv12": Encoding(1, 8, "nv12", chroma_rows=True, even=True),
    "nv21": Encoding(1, 8, "nv21", chroma_rows=True, even=True),
}

# The message type does not describe chroma rows, and converters disagree; OpenCV converts these.
_SEMI_PLANAR = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}


def to_rgb(
    message: ImageMessage,
    converter: Converter,
    bit_depth: int = FULL_BIT_DEPTH,
    max_pixels: int = MAX_IMAGE_PIXELS,
) -> NDArray[np.uint8]:
    """The pixels of a sensor_msgs/Image as uint8 RGB [H, W, 3].

    16 bits, of which the lowest ``bit_depth`` are used, are scaled to 8. The result of rgb8 is a
    view of the message's buffer. Raises RejectedImageError naming the wrong field, also where there
    are more than ``max_pixels``.
    """
    encoding = known_encoding(message.encoding)
    height, width = message.height, message.width
    if height * width > max_pixels:
        raise RejectedImageError(
            Cause.TOO_LARGE,
            f"the image is {width}x{height} pixels, more than max_image_pixels={max_pixels}; "
            "publish smaller images or set max_image_pixels higher.",
        )
    step = _row_step(message, encoding)
    rows = height + height // 2 if encoding.chroma_rows else height
    row_bytes = width * encoding.channels * encoding.bits // 8
    pixels = np.frombuffer(message.data, np.uint8).reshape(rows, step)  # [rows, step]
    if step != row_bytes:
        pixels = np.ascontiguousarray(pixels[:, :row_bytes])  # [rows, row_bytes]
    if encoding.bits == 16:
        order = ">" if message.is_bigendian else "<"
        pixels = to_eight_bits(pixels.view(f"{order}u2"), bit_depth)
    if encoding.packed == "rgb8":
        return pixels.reshape(height, width, 3)
    if encoding.packed in _SEMI_PLANAR:
        planes = pixels
        return _converted(
            lambda: cv2.cvtColor(planes, _SEMI_PLANAR[encoding.packed]), message, "OpenCV"
        )
    packed = PackedImage(
        height, width, encoding.packed, width * encoding.channels, pixels.reshape(-1)
    )
    return packed_to_rgb(packed, converter)


def packed_to_rgb(packed: PackedImage, converter: Converter) -> NDArray[np.uint8]:
    """The pixels as uint8 RGB [H, W, 3]; raises RejectedImageError if they cannot be converted."""
    return _converted(lambda: converter.to_rgb(packed), packed, converter.name)


def _converted(
    convert: Callable[[], Any], image: ImageMessage | PackedImage, library: str
) -> NDArray[np.uint8]:
    """What ``library`` makes of an image; raises RejectedImageError with its reason."""
    try:
        return _checked_color(convert())
    except Exception as error:  # several libraries, and what they raise is not listed
        raise RejectedImageError(
            Cause.CORRUPT_DATA,
            f"{library} cannot convert this {image.width}x{image.height} {image.encoding} image: "
            f"{' '.join(str(error).split())}.",
        ) from error


def known_encoding(name: str) -> Encoding:
    """How ``name`` stores pixels; raises RejectedImageError naming the encodings that are known."""
    encoding = ENCODINGS.get(name) or ENCODINGS.get(name.lower())
    if encoding is not None:
        return encoding
    hint = (
        "it does not name its channels"
        if name[:1].isdigit()
        else f"known are {', '.join(ENCODINGS)}"
    )
    raise RejectedImageError(
        Cause.UNKNOWN_ENCODING,
        f"encoding {quoted(name)} cannot be converted to RGB: {hint}; publish rgb8 or bgr8.",
    )


def _row_step(message: ImageMessage, encoding: Encoding) -> int:
    """The bytes from one row to the next; raises RejectedImageError naming the wrong field."""
    height, width, step, length = message.height, message.width, message.step, len(message.data)
    if height < 1 or width < 1:
        raise RejectedImageError(
            Cause.ZERO_SIZE, f"the image is {width}x{height} pixels; both sides must be at least 1."
        )
    if encoding.even and (width % 2 or (encoding.chroma_rows and height % 2)):
        raise RejectedImageError(
            Cause.ODD_SIZE,
            f"pairs of {message.encoding} pixels share chroma, so an image of {width}x{height} "
            "pixels is impossible; its sides must be even.",
        )
    row_bytes = width * encoding.channels * encoding.bits // 8
    if step < row_bytes:
        raise RejectedImageError(
            Cause.WRONG_STEP,
            f"step {step} is less than the {row_bytes} bytes of a row of {width} "
            f"{message.encoding} pixels.",
        )
    rows = height + height // 2 if encoding.chroma_rows else height
    if length == height * step == rows * row_bytes:
        # Some drivers, such as that of OAK cameras, count chroma as a part of each row of luma.
        return row_bytes
    if length != rows * step:
        chroma = (
            f"; {message.encoding} has {height} rows of luma and {height // 2} of chroma, each of "
            f"{step} bytes"
        )
        raise RejectedImageError(
            Cause.WRONG_LENGTH,
            f"the buffer has {length} bytes; {rows} rows of step {step} are {rows * step}"
            f"{chroma if encoding.chroma_rows else ''}.",
        )
    return step


def _checked_color(pixels: Any) -> NDArray[np.uint8]:
    result = np.ascontiguousarray(pixels, dtype=np.uint8)
    if result.ndim != 3 or result.shape[2] != 3:
        raise ValueError(f"got an array of shape {result.shape} for a color image")
    return result


def quoted(name: str) -> str:
    """A name from a message, quoted for an error; a corrupt name is cut to MAX_QUOTED."""
    return repr(name if len(name) <= MAX_QUOTED else name[:MAX_QUOTED] + "...")
