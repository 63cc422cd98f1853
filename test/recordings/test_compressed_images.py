"""Decoding of compressed images: what their formats mean, and data that is not whole."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from activesam_ros.image_files import MAX_IMAGE_PIXELS
from activesam_ros.recordings.compressed_images import compressed_to_rgb
from activesam_ros.recordings.image_encodings import (
    Cause,
    PackedImage,
    RejectedImageError,
    RosbagsConverter,
)

Pixels = NDArray[Any]
CONVERTER = RosbagsConverter()


@dataclass
class CompressedMessage:
    data: Any = field(repr=False)
    format: str = "jpeg"


def encoded(extension: str, pixels: Pixels, *flags: int) -> bytes:
    return bytes(cv2.imencode(extension, pixels, flags)[1])


def decoded(data: bytes, format_name: str = "jpeg", bit_depth: int = 16) -> Pixels:
    return compressed_to_rgb(CompressedMessage(data, format_name), CONVERTER, bit_depth)


def colours(height: int = 6, width: int = 8, channels: int = 3, dtype: Any = np.uint8) -> Pixels:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def smooth(channels: int = 3, height: int = 96, width: int = 128) -> Pixels:
    """What JPEG keeps well."""
    few = colours(4, 4, channels)
    return cv2.resize(few, (width, height), interpolation=cv2.INTER_CUBIC)


def scaled(pixels: Pixels) -> Pixels:
    return np.round(pixels * (255 / 65535)).astype(np.uint8)


def grey(pixels: Pixels) -> Pixels:
    return np.repeat(pixels[..., None], 3, axis=2)


@pytest.mark.parametrize("format_name", ["", "png", "PNG", "jpeg", "image/png"])
def test_png_alone_is_exact(format_name: str) -> None:
    """The data says what it is; viewers believe it too."""
    bgr = colours()
    assert np.array_equal(decoded(encoded(".png", bgr), format_name), bgr[..., ::-1])


def test_png_with_alpha_grey_or_sixteen_bits() -> None:
    bgra, one = colours(channels=4), colours(channels=1)
    deep, deep_one = colours(dtype=np.uint16), colours(channels=1, dtype=np.uint16)
    for stored, expected in (
        (bgra, bgra[..., 2::-1]),
        (one, grey(one)),
        (deep, scaled(deep[..., ::-1])),
        (deep_one, grey(scaled(deep_one))),
    ):
        assert np.array_equal(decoded(encoded(".png", stored), "png"), expected)


# The raw image's encoding, what image_transport makes of it, and the order it names.
TRANSPORTED = [
    ("rgb8", "bgr8"),
    ("bgr8", "bgr8"),
    ("rgba8", "bgr8"),
    ("bgra8", "bgr8"),
    ("rgb16", "bgr16"),
    ("bgr16", "bgr16"),
    ("bgra16", "bgr16"),
    ("mono8", ""),
    ("mono16", ""),
]


@pytest.mark.parametrize(("encoding", "order"), TRANSPORTED)
def test_png_of_image_transport(encoding: str, order: str) -> None:
    bits = np.uint16 if encoding.endswith("16") else np.uint8
    stored = colours(channels=3 if order else 1, dtype=bits)
    result = decoded(encoded(".png", stored), f"{encoding}; png compressed {order}")
    eight = scaled(stored) if bits is np.uint16 else stored
    assert np.array_equal(result, eight[..., ::-1] if order else grey(eight))


@pytest.mark.parametrize(("encoding", "order"), TRANSPORTED)
def test_jpeg_of_image_transport(encoding: str, order: str) -> None:
    """JPEG has eight bits, also of a 16-bit image."""
    stored = smooth(3 if order else 1)
    data = encoded(".jpg", stored, cv2.IMWRITE_JPEG_QUALITY, 98)
    result = decoded(data, f"{encoding}; jpeg compressed {order[:3] and 'bgr8'}")
    expected = stored[..., ::-1] if order else grey(stored)
    assert np.abs(result.astype(int) - expected).mean() < 3


@pytest.mark.parametrize(
    "format_name",
    [
        "rgb8; jpeg compressed rgb8",
        "bgr8; jpeg compressed rgb8",
        "rgb8; jpeg compressed ",
        "rgb8; jpeg compressed",
        "rgb8;jpeg compressed rgb8",
        "bgr8; JPEG compressed RGB8",
        "rgb16; png compressed rgb16",
        "rgb8; png compressed rgb8",
        "rgba8; png compressed ",
    ],
)
def test_an_order_of_rgb_means_that_red_is_where_opencv_has_blue(format_name: str) -> None:
    """compressed_image_transport swaps back only what says "compressed bgr"."""
    rgb = smooth()
    is_png = "png" in format_name
    data = encoded(".png" if is_png else ".jpg", rgb, *([] if is_png else [1, 98]))
    result = decoded(data, format_name)
    assert np.abs(result.astype(int) - rgb).mean() < (1e-9 if is_png else 3)
    swapped = decoded(data, "rgb8; jpeg compressed bgr8")
    assert np.array_equal(swapped, result[..., ::-1])


def test_alpha_with_an_order_of_rgb_is_dropped() -> None:
    rgba = colours(channels=4)
    result = decoded(encoded(".png", rgba), "rgba8; png compressed ")
    assert np.array_equal(result, rgba[..., :3])


BAYER = {
    "rggb": ((0, 1), (1, 2)),
    "bggr": ((2, 1), (1, 0)),
    "gbrg": ((1, 2), (0, 1)),
    "grbg": ((1, 0), (2, 1)),
}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", BAYER)
def test_a_bayer_mosaic_as_png_has_its_colours(pattern: str, bits: int) -> None:
    colour = np.array([200, 100, 50], np.uint8)
    mosaic = np.tile(colour[np.array(BAYER[pattern])], (4, 5))
    stored = mosaic if bits == 8 else mosaic.astype(np.uint16) * 257
    result = decoded(encoded(".png", stored), f"bayer_{pattern}{bits}; png compressed ")
    assert np.array_equal(result, np.broadcast_to(colour, (8, 10, 3)))


@pytest.mark.parametrize("pattern", BAYER)
def test_a_bayer_mosaic_as_png_has_the_pixels_of_the_raw_one(pattern: str) -> None:
    mosaic = colours(8, 10, channels=1)
    packed = PackedImage(8, 10, f"bayer_{pattern}8", 10, mosaic.reshape(-1))
    result = decoded(encoded(".png", mosaic), f"bayer_{pattern}8; png compressed ")
    assert np.array_equal(result, CONVERTER.to_rgb(packed))


def test_a_bayer_mosaic_as_jpeg_has_its_colours() -> None:
    colour = np.array([200, 100, 50], np.uint8)
    mosaic = np.tile(colour[np.array(BAYER["rggb"])], (16, 16))
    data = encoded(".jpg", mosaic, cv2.IMWRITE_JPEG_QUALITY, 100)
    result = decoded(data, "bayer_rggb8; jpeg compressed ")
    assert np.abs(result.astype(int) - colour).max() <= 4
    in_colour = encoded(".jpg", smooth(), cv2.IMWRITE_JPEG_QUALITY, 98)
    told = decoded(in_colour, "bayer_rggb8; jpeg compressed bgr8")  # interpolated by the sender
    assert np.array_equal(told, decoded(in_colour, "jpeg"))


@pytest.mark.parametrize("bit_depth", [10, 12, 14])
@pytest.mark.parametrize(
    ("format_name", "channels"),
    [("mono16; png compressed ", 1), ("bgr16; png compressed bgr16", 3), ("png", 1)],
)
def test_values_of_fewer_bits_than_16_use_the_whole_range(
    format_name: str, channels: int, bit_depth: int
) -> None:
    white = (1 << bit_depth) - 1
    steps = np.array([[0, white // 4, white // 2, white, 65535]], np.uint16)
    stored = steps if channels == 1 else grey(steps)
    expected = np.round(np.minimum(steps / white, 1) * 255)
    result = decoded(encoded(".png", stored), format_name, bit_depth)
    assert np.array_equal(result, grey(expected))


def test_the_bit_depth_is_of_16_bit_images_alone() -> None:
    bgr = colours()
    assert np.array_equal(decoded(encoded(".png", bgr), "png", bit_depth=12), bgr[..., ::-1])


@pytest.mark.parametrize(
    ("format_name", "cause", "words"),
    [
        ("webp", Cause.UNKNOWN_FORMAT, "'webp'"),
        ("h264", Cause.UNKNOWN_FORMAT, "publish jpeg, png, or"),
        ("rgb8", Cause.UNKNOWN_FORMAT, "'rgb8'"),
        ("rgb8; tiff compressed bgr8", Cause.UNKNOWN_FORMAT, "tiff"),
        ("rgb8; jpeg compressed yuv444", Cause.UNKNOWN_FORMAT, "yuv444"),
        ("16UC1; compressedDepth png", Cause.UNKNOWN_FORMAT, "it is depth"),
        ("; jpeg compressed bgr8", Cause.UNKNOWN_ENCODING, "''"),
        ("8UC3; jpeg compressed ", Cause.UNKNOWN_ENCODING, "does not name its channels"),
        ("16UC1; png compressed ", Cause.UNKNOWN_ENCODING, "'16UC1'"),
        ("pink7; png compressed bgr8", Cause.UNKNOWN_ENCODING, "'pink7'"),
        ("x" * 5000, Cause.UNKNOWN_FORMAT, "xxx..."),
    ],
)
def test_unknown_formats_are_refused_by_name(format_name: str, cause: Cause, words: str) -> None:
    with pytest.raises(RejectedImageError) as refusal:
        decoded(PNG, format_name)
    assert refusal.value.cause is cause
    assert words in str(refusal.value)
    assert len(str(refusal.value)) < 1000


@given(st.text(max_size=40), st.sampled_from(["", "; ", "; jpeg compressed ", "; png"]))
def test_any_format_is_read_or_refused(start: str, end: str) -> None:
    try:
        result = decoded(PNG, start + end)
    except RejectedImageError:
        return
    assert result.shape == (48, 64, 3)


JPEG = encoded(".jpg", colours(48, 64))
PNG = encoded(".png", colours(48, 64))


@pytest.mark.parametrize("padding", [bytes(500), bytes(3 << 20)])
@pytest.mark.parametrize("data", [JPEG, PNG])
def test_padding_is_a_camera_habit(data: bytes, padding: bytes) -> None:
    """usb_cam sends as many bytes as the raw image would take."""
    assert np.array_equal(decoded(data + padding), decoded(data))


def test_the_rest_of_a_longer_image_in_the_same_buffer_is_not_read() -> None:
    longer = encoded(".jpg", colours(480, 640), cv2.IMWRITE_JPEG_QUALITY, 100)
    shared = JPEG + longer[len(JPEG) :]
    assert np.array_equal(decoded(shared), decoded(JPEG))
    cut = JPEG[: len(JPEG) // 2] + b"\xff\xd9" + longer[len(JPEG) // 2 + 2 :]
    with pytest.raises(RejectedImageError, match="a part of it is missing"):
        decoded(cut)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", Cause.WRONG_LENGTH),
        (b"no image at all", Cause.CORRUPT_DATA),
        (JPEG[:-100], Cause.CORRUPT_DATA),
        (JPEG[:-100] + bytes(3 << 20), Cause.CORRUPT_DATA),
        (JPEG[:60], Cause.CORRUPT_DATA),
        (PNG[:-100], Cause.CORRUPT_DATA),
        (encoded(".bmp", colours()), Cause.CORRUPT_DATA),
        (JPEG[:2] + bytes(len(JPEG) - 4) + JPEG[-2:], Cause.CORRUPT_DATA),
        (PNG[:60] + bytes(200) + PNG[260:], Cause.CORRUPT_DATA),
    ],
)
def test_damaged_compressed_images_are_refused(data: bytes, cause: Cause) -> None:
    with pytest.raises(RejectedImageError) as refusal:
        decoded(data)
    assert refusal.value.cause is cause


def jpeg_of(kind: str, pixels: Pixels) -> bytes:
    if kind == "cmyk":
        file = io.BytesIO()
        Image.fromarray(pixels).convert("CMYK").save(file, "JPEG")
        return file.getvalue()
    flags = {
        "baseline": [],
        "chroma of full size": [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111],
        "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 3],
        "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
        "grey": [],
    }[kind]
    return encoded(".jpg", pixels[..., 0] if kind == "grey" else pixels, *flags)


KINDS = ["baseline", "chroma of full size", "restarts", "progressive", "grey", "cmyk"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_that_is_cut_is_refused_although_it_has_an_end(kind: str) -> None:
    """Decoders only warn about it, and fill the rest with grey."""
    whole = jpeg_of(kind, smooth())
    assert decoded(whole).shape == (96, 128, 3)
    scan = whole.rindex(b"\xff\xda") + 20
    # The last block of pixels, of 16x16, takes up to 40 bytes here; what it lacks may pass.
    for place in np.linspace(scan, len(whole) - 45, 9).astype(int):
        cut = whole[:place].rstrip(b"\xff")
        for padding in (b"", bytes(1000)):
            with pytest.raises(RejectedImageError) as refusal:
                decoded(cut + b"\xff\xd9" + padding)
            assert refusal.value.cause is Cause.CORRUPT_DATA
            assert "a part of it is missing" in str(refusal.value)


def test_a_jpeg_that_lacks_whole_restart_intervals_is_refused() -> None:
    whole = jpeg_of("restarts", smooth())
    for code in (0, 1, 5):
        place = whole.rindex(bytes([0xFF, 0xD0 + code]))
        with pytest.raises(RejectedImageError, match="a part of it is missing"):
            decoded(whole[:place] + b"\xff\xd9")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_whole_jpeg_of_one_grey_is_not_taken_for_a_cut_one(kind: str, value: int) -> None:
    pixels = np.full((40, 56, 3), value, np.uint8)
    result = decoded(jpeg_of(kind, pixels))
    assert np.abs(result.astype(int) - value).max() <= 3


def png_of(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_png_that_is_cut_is_refused_although_it_has_an_end(share: float) -> None:
    pixels = colours(48, 64)
    header = struct.pack(">IIBBBBB", 64, 48, 8, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    data = zlib.compress(rows)
    assert np.array_equal(
        decoded(png_of((b"IHDR", header), (b"IDAT", data), (b"IEND", b"")), "png"), pixels
    )
    cut = png_of((b"IHDR", header), (b"IDAT", data[: int(len(data) * share)]), (b"IEND", b""))
    with pytest.raises(RejectedImageError) as refusal:
        decoded(cut, "png")
    assert refusal.value.cause is Cause.CORRUPT_DATA


def test_a_compressed_image_of_gigapixels_is_refused_before_decoding() -> None:
    side = int(MAX_IMAGE_PIXELS**0.5) + 1
    # the size stands behind the 16 bytes of signature, length and name of the header chunk
    header = PNG[:16] + side.to_bytes(4, "big") * 2 + PNG[24:]
    crc = zlib.crc32(header[12:29]).to_bytes(4, "big")
    with pytest.raises(RejectedImageError) as refusal:
        decoded(header[:29] + crc + header[33:])
    assert refusal.value.cause is Cause.TOO_LARGE
    assert str(side) in str(refusal.value)


def jpeg_stating(side: int, **options: Any) -> bytes:
    """A JPEG of 16x16 pixels whose header states ``side`` x ``side``."""
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (3, 4, 5)).save(stream, "jpeg", **options)
    data = stream.getvalue()
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    return data[: frame + 5] + side.to_bytes(2, "big") * 2 + data[frame + 9 :]


JPEG_SEEDS = [jpeg_stating(16), jpeg_stating(16, progressive=True)]


@pytest.mark.parametrize("progressive", [False, True])
def test_a_small_jpeg_that_states_many_pixels_is_refused_before_decoding(
    progressive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = jpeg_stating(8191, progressive=progressive)
    assert MAX_IMAGE_PIXELS > 8191**2
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(RejectedImageError) as refusal:
        decoded(data)
    assert refusal.value.cause is Cause.TOO_LARGE
    assert f"8191x8191 pixels, more than {len(data)} bytes of JPEG can hold" in str(refusal.value)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_smallest_jpeg_of_one_colour_is_read(mode: str) -> None:
    stream = io.BytesIO()
    Image.new(mode, (4000, 4000)).save(stream, "jpeg", progressive=True, optimize=True, quality=1)
    assert len(stream.getvalue()) < 100_000
    assert decoded(stream.getvalue()).shape == (4000, 4000, 3)


def test_the_setting_bounds_the_pixels_of_a_compressed_image() -> None:
    message = CompressedMessage(encoded(".png", colours(6, 8)), "png")
    assert compressed_to_rgb(message, CONVERTER, max_pixels=48).shape == (6, 8, 3)
    with pytest.raises(RejectedImageError, match="8x6 pixels, more than max_image_pixels=47"):
        compressed_to_rgb(message, CONVERTER, max_pixels=47)


@given(st.data())
def test_whatever_the_bytes_an_image_is_read_or_rejected(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from([PNG, JPEG_SEEDS[0], JPEG_SEEDS[1]])))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(RejectedImageError):
        pixels = decoded(bytes(whole), data.draw(st.sampled_from(["jpeg", "png", ""])))
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3
