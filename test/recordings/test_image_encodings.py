"""Decoding of image messages: the pixels of every encoding, and every invalid field."""

from __future__ import annotations

import array
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from activesam_ros.errors import ImageError, MissingDependencyError
from activesam_ros.recordings.image_encodings import (
    Cause,
    Converter,
    CvBridgeConverter,
    PackedImage,
    RejectedImageError,
    RosbagsConverter,
    load_converter,
    to_rgb,
)

Pixels = NDArray[Any]
BAYER = {
    "rggb": ((0, 1), (1, 2)),
    "bggr": ((2, 1), (1, 0)),
    "gbrg": ((1, 2), (0, 1)),
    "grbg": ((1, 0), (2, 1)),
}
BYTES_A_PIXEL = {
    **dict.fromkeys(("mono8", "8UC1", "nv12", "nv21"), 1),
    **dict.fromkeys(("mono16", "yuv422", "uyvy", "yuv422_yuy2", "yuyv"), 2),
    **{f"{order}{bits}": len(order) * bits // 8 for order in ("rgb", "bgr") for bits in (8, 16)},
    **{f"{order}{bits}": len(order) * bits // 8 for order in ("rgba", "bgra") for bits in (8, 16)},
    **{f"bayer_{pattern}{bits}": bits // 8 for pattern in BAYER for bits in (8, 16)},
}


@dataclass
class RawMessage:
    height: int
    width: int
    encoding: str
    step: int
    data: Any = field(repr=False)
    is_bigendian: int = 0


def raw(encoding: str, pixels: Pixels, padding: int = 0, big_endian: bool = False) -> RawMessage:
    """A message with the rows of ``pixels``, each followed by padding of random bytes."""
    height, width = pixels.shape[:2]
    if encoding in ("nv12", "nv21"):
        height = height * 2 // 3
    if pixels.dtype == np.uint16:
        pixels = pixels.astype(">u2" if big_endian else "<u2")
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    data = array.array("B", padded.tobytes())
    return RawMessage(height, width, encoding, padded.shape[1], data, int(big_endian))


def colours(height: int = 6, width: int = 8, channels: int = 3, dtype: Any = np.uint8) -> Pixels:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def scaled(pixels: Pixels) -> Pixels:
    return np.round(pixels * (255 / 65535)).astype(np.uint8)


@pytest.fixture(scope="module")
def converter() -> Converter:
    return RosbagsConverter()


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "channels"),
    [("rgb8", [0, 1, 2]), ("bgr8", [2, 1, 0]), ("rgba8", [0, 1, 2]), ("bgra8", [2, 1, 0])],
)
def test_channel_orders(
    converter: Converter, encoding: str, channels: list[int], padding: int
) -> None:
    pixels = colours(channels=len(encoding) - 1)
    result = to_rgb(raw(encoding, pixels, padding), converter)
    assert result.dtype == np.uint8
    assert np.array_equal(result, pixels[..., channels])


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_is_repeated(converter: Converter, encoding: str) -> None:
    pixels = colours(channels=1)
    result = to_rgb(raw(encoding, pixels, padding=3), converter)
    assert np.array_equal(result, np.repeat(pixels[..., None], 3, axis=2))


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize(
    ("encoding", "channels"),
    [("rgb16", [0, 1, 2]), ("bgr16", [2, 1, 0]), ("rgba16", [0, 1, 2]), ("bgra16", [2, 1, 0])],
)
def test_sixteen_bits_are_scaled(
    converter: Converter, encoding: str, channels: list[int], big_endian: bool
) -> None:
    pixels = colours(channels=len(encoding) - 2, dtype=np.uint16)
    result = to_rgb(raw(encoding, pixels, padding=4, big_endian=big_endian), converter)
    assert np.array_equal(result, scaled(pixels[..., channels]))


@pytest.mark.parametrize("big_endian", [False, True])
def test_mono16_uses_the_whole_range(converter: Converter, big_endian: bool) -> None:
    pixels = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    result = to_rgb(raw("mono16", pixels, big_endian=big_endian), converter)
    assert result[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]


@pytest.mark.parametrize("bit_depth", [8, 10, 12, 14, 15])
@pytest.mark.parametrize("encoding", ["mono16", "rgb16", "bgra16", "bayer_rggb16"])
def test_values_of_fewer_bits_than_16_use_the_whole_range(
    converter: Converter, encoding: str, bit_depth: int
) -> None:
    """Steps of grey from black to white; what is more than white is white."""
    white = (1 << bit_depth) - 1
    steps = np.array([0, white // 4, white // 2, white, min(2 * white, 65535)], np.uint16)
    pixels = np.broadcast_to(np.repeat(steps, 4), (6, 20))
    channels = BYTES_A_PIXEL[encoding] // 2
    stored = np.repeat(pixels[..., None], channels, axis=2) if channels > 1 else pixels
    result = to_rgb(raw(encoding, stored), converter, bit_depth)
    middles = result[3, 1::4]  # away from the steps, which a mosaic's interpolation blurs
    expected = np.round(np.minimum(steps / white, 1) * 255)
    assert np.array_equal(middles, np.repeat(expected[:, None], 3, axis=1))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", BAYER)
def test_bayer_patterns_show_the_colour_under_them(
    converter: Converter, pattern: str, bits: int
) -> None:
    colour = np.array([200, 100, 50], np.uint8)
    mosaic = np.tile(colour[np.array(BAYER[pattern])], (4, 5))
    stored = mosaic if bits == 8 else mosaic.astype(np.uint16) * 257
    result = to_rgb(raw(f"bayer_{pattern}{bits}", stored, padding=2), converter)
    assert np.array_equal(result, np.broadcast_to(colour, (8, 10, 3)))


def yuv_colour(y: int, u: int, v: int) -> list[float]:
    """BT.601 in video range."""
    luma = 1.164 * (y - 16)
    red, blue = luma + 1.596 * (v - 128), luma + 2.018 * (u - 128)
    return [red, luma - 0.813 * (v - 128) - 0.391 * (u - 128), blue]


@pytest.mark.parametrize(
    ("encoding", "order"),
    [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")],
)
def test_yuv422_in_both_orders(converter: Converter, encoding: str, order: str) -> None:
    sample = {"y": 150, "u": 90, "v": 180}
    row = np.array([sample[letter] for letter in order] * 3, np.uint8).reshape(6, 2)
    result = to_rgb(raw(encoding, np.tile(row, (4, 1, 1)), padding=4), converter)
    assert result.shape == (4, 6, 3)
    assert np.allclose(result, yuv_colour(150, 90, 180), atol=2)


@pytest.mark.parametrize(("encoding", "chroma"), [("nv12", (90, 180)), ("nv21", (180, 90))])
def test_semi_planar(converter: Converter, encoding: str, chroma: tuple[int, int]) -> None:
    luma = np.full((4, 6), 150, np.uint8)
    rows = np.concatenate((luma, np.tile(np.array(chroma, np.uint8), (2, 3))))
    result = to_rgb(raw(encoding, rows, padding=2), converter)
    assert result.shape == (4, 6, 3)
    assert np.allclose(result, yuv_colour(150, 90, 180), atol=2)


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_a_step_that_counts_chroma_as_a_part_of_luma_rows_is_understood(
    converter: Converter, encoding: str
) -> None:
    """As the driver of OAK cameras gives it: all bytes by the height."""
    rows = colours(9, 8, channels=1)
    usual = raw(encoding, rows)
    message = replace(usual, step=12)
    assert np.array_equal(to_rgb(message, converter), to_rgb(usual, converter))


def test_rgb8_is_not_copied(converter: Converter) -> None:
    message = raw("rgb8", colours())
    assert np.shares_memory(to_rgb(message, converter), np.frombuffer(message.data, np.uint8))


def test_every_encoding_that_a_refusal_lists_is_tested(converter: Converter) -> None:
    with pytest.raises(RejectedImageError) as refusal:
        to_rgb(replace(raw("bgr8", colours()), encoding="pink7"), converter)
    listed = str(refusal.value).partition("known are ")[2].partition(";")[0].split(", ")
    assert sorted(listed) == sorted(BYTES_A_PIXEL)


GOOD = raw("bgr8", colours())


@pytest.mark.parametrize(
    ("message", "cause", "names"),
    [
        (replace(GOOD, encoding="rgb48"), Cause.UNKNOWN_ENCODING, "rgb48"),
        (replace(GOOD, encoding="8UC3"), Cause.UNKNOWN_ENCODING, "publish rgb8 or bgr8"),
        (replace(GOOD, encoding=""), Cause.UNKNOWN_ENCODING, "''"),
        (replace(GOOD, width=0), Cause.ZERO_SIZE, "0x6"),
        (replace(GOOD, height=0, data=b""), Cause.ZERO_SIZE, "8x0"),
        (replace(GOOD, step=23), Cause.WRONG_STEP, "step 23 is less than the 24 bytes"),
        (replace(GOOD, step=0), Cause.WRONG_STEP, "step 0"),
        (replace(GOOD, data=GOOD.data[:-1]), Cause.WRONG_LENGTH, "143 bytes"),
        (replace(GOOD, data=b""), Cause.WRONG_LENGTH, "0 bytes"),
        (replace(GOOD, data=GOOD.data * 2), Cause.WRONG_LENGTH, "6 rows of step 24 are 144"),
        (replace(GOOD, encoding="nv12", height=5), Cause.ODD_SIZE, "8x5"),
        (
            RawMessage(6, 9 * 2, "nv21", 36, bytes(36 * 6)),  # two channels of 18 pixels
            Cause.WRONG_LENGTH,
            "nv21 has 6 rows of luma and 3 of chroma, each of 36 bytes",
        ),
        (replace(GOOD, encoding="yuyv", width=7), Cause.ODD_SIZE, "7x6"),
        (replace(GOOD, height=2**32 - 1, step=2**32 - 1), Cause.TOO_LARGE, "8x4294967295"),
        (
            RawMessage(2**13 + 1, 2**13, "mono8", 2**13, bytes(2**13 * (2**13 + 1))),
            Cause.TOO_LARGE,
            "more than max_image_pixels=67108864",
        ),
    ],
)
def test_wrong_fields_are_named(
    converter: Converter, message: RawMessage, cause: Cause, names: str
) -> None:
    with pytest.raises(RejectedImageError) as refusal:
        to_rgb(message, converter)
    assert refusal.value.cause is cause
    assert names in str(refusal.value)
    assert isinstance(refusal.value, ImageError)


SIZES = st.integers(0, 5)


@given(
    encoding=st.sampled_from([*BYTES_A_PIXEL, "8UC3", "garbage"]),
    height=SIZES,
    width=SIZES,
    step=st.integers(0, 60),
    length=st.integers(0, 400),
    big_endian=st.booleans(),
    exact=st.booleans(),
)
@settings(max_examples=300)
def test_a_message_is_converted_or_refused(
    encoding: str, height: int, width: int, step: int, length: int, big_endian: bool, exact: bool
) -> None:
    rows = height * 3 // 2 if encoding.startswith("nv") else height
    data = bytes(rows * step if exact else length)
    message = RawMessage(height, width, encoding, step, data, int(big_endian))
    try:
        result = to_rgb(message, RosbagsConverter())
    except RejectedImageError:
        return
    assert result.shape == (height, width, 3)


@given(seed=st.integers(0, 2**32 - 1), encoding=st.sampled_from(sorted(BYTES_A_PIXEL)))
@settings(max_examples=80)
def test_cv_bridge_and_rosbags_image_give_the_same_pixels(seed: int, encoding: str) -> None:
    try:
        bridge = CvBridgeConverter()
    except MissingDependencyError as missing:
        pytest.skip(f"needs a ROS distribution: {missing}")
    random = np.random.default_rng(seed)
    height, width, padding = (2 * int(random.integers(0, 10)) for _ in range(3))
    height, width = height + 4, width + 4
    rows = height * 3 // 2 if encoding.startswith("nv") else height
    step = width * BYTES_A_PIXEL[encoding] + padding
    data = array.array("B", random.bytes(rows * step))
    message = RawMessage(height, width, encoding, step, data, int(random.integers(0, 2)))
    assert np.array_equal(to_rgb(message, bridge), to_rgb(message, RosbagsConverter()))


def test_some_converter_is_there() -> None:
    assert load_converter().name in ("cv_bridge", "rosbags-image")


def test_what_a_library_raises_rejects_the_image() -> None:
    class Broken:
        name = "broken"

        def to_rgb(self, image: PackedImage) -> NDArray[np.uint8]:
            raise OverflowError("a size\ndoes not fit")

    with pytest.raises(RejectedImageError, match=r"broken cannot convert .* a size does not fit"):
        to_rgb(GOOD, Broken())
