"""Decode image messages to RGB pixels. No other module knows encodings, steps or byte orders.

To add an encoding, add a row to ``_ENCODINGS``. Every field of a message is checked before its
pixels are read. cv_bridge converts colors where it works, else rosbags-image does. Both receive
the same packed eight-bit image, so both return the same pixels.
"""

from __future__ import annotations

import enum
import io
import sys
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from activesam_ros.errors import ImageError, MissingDependencyError
from activesam_ros.image_files import exif_orientation, to_eight_bits, upright

MAX_COMPRESSED_PIXELS = 1 << 26
"""A compressed image with more pixels in its header is refused before decoding."""

MAX_QUOTED = 60  # characters; no known encoding or format has a longer name


class Cause(enum.Enum):
    """Why an image message is unusable."""

    UNKNOWN_ENCODING = "unknown_encoding"
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


class CompressedImageMessage(Protocol):
    """The fields of sensor_msgs/CompressedImage that this module reads."""

    format: str
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
class _Encoding:
    """How an encoding stores pixels. packed: the eight-bit encoding passed to the converter."""

    channels: int
    bits: int
    packed: str
    chroma_rows: bool = False  # the luma rows are followed by half as many rows of chroma
    even: bool = False  # pairs of pixels share chroma, so the width must be even


_BAYER = ("rggb", "bggr", "gbrg", "grbg")

_ENCODINGS: dict[str, _Encoding] = {
    "mono8": _Encoding(1, 8, "mono8"),
    "8UC1": _Encoding(1, 8, "mono8"),
    "mono16": _Encoding(1, 16, "mono8"),
    **{
        f"{order}{bits}": _Encoding(len(order), bits, f"{order}8")
        for order in ("rgb", "bgr", "rgba", "bgra")
        for bits in (8, 16)
    },
    **{
        f"bayer_{pattern}{bits}": _Encoding(1, bits, f"bayer_{pattern}8")
        for pattern in _BAYER
        for bits in (8, 16)
    },
    "yuv422": _Encoding(2, 8, "yuv422", even=True),
    "uyvy": _Encoding(2, 8, "yuv422", even=True),
    "yuv422_yuy2": _Encoding(2, 8, "yuv422_yuy2", even=True),
    "yuyv": _Encoding(2, 8, "yuv422_yuy2", even=True),
    "nv12": _Encoding(1, 8, "nv12", chroma_rows=True, even=True),
    "nv21": _Encoding(1, 8, "nv21", chroma_rows=True, even=True),
}

# The message type does not describe chroma rows, and converters disagree; OpenCV converts these.
_SEMI_PLANAR = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}


def to_rgb(message: ImageMessage, converter: Converter) -> NDArray[np.uint8]:
    """The pixels of a sensor_msgs/Image as uint8 RGB [H, W, 3]; 16 bits are scaled to 8.

    The result of rgb8 is a view of the message's buffer. Raises RejectedImageError naming the
    wrong field.
    """
    encoding = _known_encoding(message.encoding)
    height, width, step = message.height, message.width, message.step
    _check_geometry(message, encoding)
    rows = height + height // 2 if encoding.chroma_rows else height
    row_bytes = width * encoding.channels * encoding.bits // 8
    pixels = np.frombuffer(message.data, np.uint8).reshape(rows, step)  # [rows, step]
    if step != row_bytes:
        pixels = np.ascontiguousarray(pixels[:, :row_bytes])  # [rows, row_bytes]
    if encoding.bits == 16:
        order = ">" if message.is_bigendian else "<"
        pixels = to_eight_bits(pixels.view(f"{order}u2"))
    if encoding.packed == "rgb8":
        return pixels.reshape(height, width, 3)
    if encoding.packed in _SEMI_PLANAR:
        return _checked_color(cv2.cvtColor(pixels, _SEMI_PLANAR[encoding.packed]))
    packed = PackedImage(
        height, width, encoding.packed, width * encoding.channels, pixels.reshape(-1)
    )
    try:
        return _checked_color(converter.to_rgb(packed))
    except (cv2.error, TypeError, ValueError) as error:
        # cv_bridge's error is a TypeError.
        raise RejectedImageError(
            Cause.CORRUPT_DATA,
            f"{converter.name} cannot convert this {width}x{height} {message.encoding} image: "
            f"{error}.",
        ) from error


def _known_encoding(name: str) -> _Encoding:
    encoding = _ENCODINGS.get(name) or _ENCODINGS.get(name.lower())
    if encoding is not None:
        return encoding
    hint = (
        "it does not name its channels"
        if name[:1].isdigit()
        else f"known are {', '.join(_ENCODINGS)}"
    )
    raise RejectedImageError(
        Cause.UNKNOWN_ENCODING,
        f"encoding {quoted(name)} cannot be converted to RGB: {hint}; publish rgb8 or bgr8.",
    )


def _check_geometry(message: ImageMessage, encoding: _Encoding) -> None:
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
    if length != rows * step:
        raise RejectedImageError(
            Cause.WRONG_LENGTH,
            f"the buffer has {length} bytes; {rows} rows of step {step} are {rows * step}.",
        )


def _checked_color(pixels: Any) -> NDArray[np.uint8]:
    result = np.ascontiguousarray(pixels, dtype=np.uint8)
    if result.ndim != 3 or result.shape[2] != 3:
        raise ValueError(f"got an array of shape {result.shape} for a color image")
    return result


def compressed_to_rgb(message: CompressedImageMessage) -> NDArray[np.uint8]:
    """The pixels of a sensor_msgs/CompressedImage (JPEG or PNG) as uint8 RGB [H, W, 3].

    16 bits are scaled to 8. Alpha is dropped, as of raw images. The image is turned upright as its
    EXIF orientation says. Raises RejectedImageError unless the data is a complete JPEG or PNG.
    """
    data = np.frombuffer(message.data, np.uint8)
    height, width, orientation = _compressed_header(message.format, memoryview(data.data))
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)  # as stored, not turned
    except cv2.error as error:
        raise _corrupt(message.format, len(data), str(error)) from error
    if pixels is None or pixels.shape[:2] != (height, width):
        raise _corrupt(message.format, len(data), "it does not decode")
    if pixels.dtype == np.uint16:
        pixels = to_eight_bits(pixels)
    if pixels.ndim == 2:
        code = cv2.COLOR_GRAY2RGB
    else:
        code = cv2.COLOR_BGRA2RGB if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return upright(_checked_color(cv2.cvtColor(pixels, code)), orientation)


# The end of a complete file of each format. Cameras may add padding after it.
_ENDINGS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_MAX_PADDING_BYTES = 1 << 16


def _compressed_header(format_name: str, data: memoryview) -> tuple[int, int, int]:
    """Height, width and EXIF orientation from the header of a complete JPEG or PNG."""
    if not len(data):
        raise RejectedImageError(Cause.WRONG_LENGTH, "the compressed image has no bytes.")
    try:
        with PillowImage.open(io.BytesIO(data), formats=tuple(_ENDINGS)) as header:
            (width, height), kind = header.size, header.format or ""
            orientation = exif_orientation(header)
    except (PillowImage.DecompressionBombError, PillowImage.DecompressionBombWarning) as error:
        raise RejectedImageError(Cause.TOO_LARGE, f"the compressed image: {error}") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise _corrupt(format_name, len(data), "it is not a JPEG or PNG") from error
    if width * height > MAX_COMPRESSED_PIXELS:
        raise RejectedImageError(
            Cause.TOO_LARGE,
            f"the header of the compressed image says {width}x{height} pixels; at most "
            f"{MAX_COMPRESSED_PIXELS} pixels are decoded.",
        )
    ending = _ENDINGS["PNG" if kind == "PNG" else "JPEG"]
    if bytes(data[-_MAX_PADDING_BYTES:]).rfind(ending) < 0:
        raise _corrupt(format_name, len(data), "its end is missing")
    return height, width, orientation


def quoted(name: str) -> str:
    """A name from a message, quoted for an error; a corrupt name is cut to MAX_QUOTED."""
    return repr(name if len(name) <= MAX_QUOTED else name[:MAX_QUOTED] + "...")


def _corrupt(format_name: str, length: int, reason: str) -> RejectedImageError:
    return RejectedImageError(
        Cause.CORRUPT_DATA,
        f"the compressed image (format {quoted(format_name)}, {length} bytes) cannot be decoded: "
        f"{reason}; only complete JPEG and PNG images are read.",
    )
