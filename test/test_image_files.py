"""Image files as pixels: turned upright, composed over white, and refused when damaged."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from activesam_ros.errors import ImageError
from activesam_ros.image_files import LabelMap, png_bytes, read_image, upright, write_png
from activesam_ros.recordings.compressed_images import compressed_to_rgb
from activesam_ros.recordings.image_encodings import RosbagsConverter
from activesam_ros.recordings.serialization import new

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
LOSSLESS: dict[str, dict[str, Any]] = {
    "png": {},
    "webp": {"lossless": True},
    "avif": {"quality": 100, "subsampling": "4:4:4"},
    "tiff": {},
}
ORIENTATIONS = range(1, 9)


def picture() -> NDArray[np.uint8]:
    """[40, 48, 3]: each corner has another colour, so that every turn and mirror shows."""
    pixels = np.full((40, 48, 3), WHITE, np.uint8)
    pixels[:20, :24], pixels[:20, 24:], pixels[20:, :24] = RED, GREEN, BLUE
    return pixels


def encoded(image: Image.Image, kind: str, orientation: int | None = None, **options: Any) -> bytes:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    stream = io.BytesIO()
    image.save(stream, kind, exif=exif, **options)
    return stream.getvalue()


def turned(orientation: int) -> NDArray[np.uint8]:
    """What a viewer shows: Pillow's answer."""
    stream = io.BytesIO(encoded(Image.fromarray(picture()), "png", orientation))
    with Image.open(stream) as stored:
        return np.array(ImageOps.exif_transpose(stored))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("kind", ["jpeg", *LOSSLESS])
def test_files_are_read_upright(kind: str, orientation: int, tmp_path: Path) -> None:
    options = LOSSLESS.get(kind, {"quality": 100, "subsampling": "4:4:4"})
    path = tmp_path / f"picture.{kind}"
    path.write_bytes(encoded(Image.fromarray(picture()), kind, orientation, **options))
    pixels = read_image(path)
    expected = turned(orientation)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= (4 if kind in ("jpeg", "avif") else 0)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_messages_are_turned_as_files_are(kind: str, orientation: int, tmp_path: Path) -> None:
    data = encoded(Image.fromarray(picture()), kind, orientation)
    path = tmp_path / "picture"
    path.write_bytes(data)
    message = new(
        "sensor_msgs/msg/CompressedImage",
        {"header": None, "format": kind, "data": np.frombuffer(data, np.uint8)},
    )
    pixels = compressed_to_rgb(message, RosbagsConverter())
    np.testing.assert_array_equal(pixels, read_image(path))
    assert pixels.shape == turned(orientation).shape


def test_upright_moves_what_else_belongs_to_pixels() -> None:
    labels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert upright(labels, 6).tolist() == [[3, 0], [4, 1], [5, 2]]
    assert upright(labels, 1).tolist() == labels.tolist()


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"nonsense"])
def test_a_damaged_exif_turns_nothing(exif: bytes, tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(picture()).save(stream, "png", exif=exif)
    (tmp_path / "picture.png").write_bytes(stream.getvalue())
    np.testing.assert_array_equal(read_image(tmp_path / "picture.png"), picture())


def hidden() -> Image.Image:
    """Red everywhere; the left half is transparent and the right half opaque."""
    image = Image.new("RGBA", (4, 2), (*RED, 255))
    image.paste((*RED, 0), (0, 0, 2, 2))
    return image


@pytest.mark.parametrize("kind", ["png", "webp", "avif", "tiff", "gif"])
def test_transparent_pixels_are_white_whatever_their_hidden_color(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / f"hidden.{kind}"
    options: dict[str, Any] = {"lossless": True, "exact": True} if kind == "webp" else {}
    hidden().save(path, **options)
    pixels = read_image(path)
    assert np.abs(pixels[:, 0].astype(int) - WHITE).max() <= 3
    assert np.abs(pixels[:, 3].astype(int) - RED).max() <= 3


def test_half_transparent_pixels_are_blended(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (200, 100, 0, 51)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0, 0].tolist() == [244, 224, 204]  # a fifth of it
    Image.new("LA", (2, 2), (100, 51)).save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png")[0, 0].tolist() == [224, 224, 224]


@pytest.mark.parametrize(
    ("mode", "transparent", "seen"), [("P", 1, RED), ("RGB", GREEN, RED), ("L", 150, (76,) * 3)]
)
def test_a_transparent_color_is_white(
    mode: str, transparent: Any, seen: tuple[int, ...], tmp_path: Path
) -> None:
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), GREEN)
    image = image.quantize(2) if mode == "P" else image.convert(mode)
    if mode == "P":
        transparent = image.getpixel((1, 0))
    image.save(tmp_path / "a.png", transparency=transparent)
    assert read_image(tmp_path / "a.png").tolist() == [[list(seen), list(WHITE)]]


def test_a_transparent_grey_of_sixteen_bits_is_white(tmp_path: Path) -> None:
    grey = Image.fromarray(np.array([[0, 40_000, 32_896]], np.uint16))
    grey.save(tmp_path / "a.png", transparency=40_000)
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 255, 128]


def test_sixteen_bits_are_scaled_and_grey_becomes_rgb(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.array([[0, 257, 65535, 32896]], np.uint16))
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 1, 255, 128]
    color = np.array([[[257, 514, 65535]]], np.uint16)  # BGR
    cv2.imwrite(str(tmp_path / "b.tiff"), color)
    assert read_image(tmp_path / "b.tiff").tolist() == [[[255, 2, 1]]]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", r"\(0 bytes\)"),
        (b"not an image", "is not an image that can be decoded; give"),
        (png_bytes(picture())[:60], "decoded"),
        (cv2.imencode(".tiff", np.ones((2, 2), np.float32))[1].tobytes(), "pixels are float32"),
    ],
)
def test_what_is_no_whole_image_is_refused(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match=sentence) as refused:
        read_image(tmp_path / "a.png")
    assert "\n" not in str(refused.value)


def test_an_avif_file_says_what_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.avif"
    path.write_bytes(encoded(Image.fromarray(picture()), "avif"))
    monkeypatch.setattr(Image, "ID", [kind for kind in Image.ID if kind != "AVIF"])
    with pytest.raises(ImageError, match=r"needs Pillow 11\.3 or later; give"):
        read_image(path)


def test_a_telephones_heic_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(ImageError, match="it is HEIC; give a whole JPEG"):
        read_image(tmp_path / "a.heic")


def test_a_missing_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_labels_are_written_as_they_are(kind: type[np.uint8 | np.uint16], tmp_path: Path) -> None:
    labels: LabelMap = np.array([[0, 7], [np.iinfo(kind).max, 1]], kind)  # type: ignore[assignment]
    write_png(tmp_path / "a.png", labels)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED), labels)
    with pytest.raises(ImageError, match="cannot hold"):
        write_png(tmp_path / "b.png", np.zeros((0, 3), np.uint8))
    assert not (tmp_path / "b.png").exists()


def test_a_jpeg_that_is_cut_but_ends_with_an_end_marker_is_refused(tmp_path: Path) -> None:
    whole = encoded(Image.fromarray(picture()), "jpeg", quality=95)
    (tmp_path / "a.jpg").write_bytes(whole[:-60] + b"\xff\xd9")
    with pytest.raises(ImageError, match="a part of it is missing"):
        read_image(tmp_path / "a.jpg")


def test_a_file_of_12_bits_in_16_uses_the_whole_range(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.array([[0, 1024, 4095, 65535]], np.uint16))
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 4, 16, 255]
    assert read_image(tmp_path / "a.png", bit_depth=12)[0, :, 0].tolist() == [0, 64, 255, 255]


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_bit_depth_counts_for_16_bits_with_alpha_too(tmp_path: Path, suffix: str) -> None:
    bgra = np.array([[[4095, 2048, 0, 65535], [0, 0, 0, 0]]], np.uint16)
    path = tmp_path / f"a{suffix}"
    assert cv2.imwrite(str(path), bgra)
    assert read_image(path, bit_depth=12).tolist() == [[[0, 128, 255], [255, 255, 255]]]
    assert read_image(path).tolist() == [[[0, 8, 16], [255, 255, 255]]]


def test_more_pixels_than_the_bound_are_refused_by_the_header(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 6)).save(path)
    assert read_image(path, max_pixels=48).shape == (6, 8, 3)
    with pytest.raises(ImageError, match=r"a\.png .* 8x6 pixels, more than max_image_pixels"):
        read_image(path, max_pixels=47)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow, of damaged TIFF
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff", "gif", "bmp"])
@settings(max_examples=50)
@given(data=st.data())
def test_whatever_the_bytes_a_file_is_read_or_refused(kind: str, data: st.DataObject) -> None:
    whole = bytearray(encoded(Image.fromarray(picture()), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.NamedTemporaryFile() as file:
        file.write(whole)
        file.flush()
        with contextlib.suppress(ImageError):
            assert read_image(file.name).ndim == 3
