"""The overlay against its definition, pixel by pixel, and a legend that can be read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from activesam_ros.errors import ImageError, UsageError
from activesam_ros.segmentation.overlay import (
    draw_overlay,
    legend,
    legend_entries,
    text_width,
    with_legend,
)

PALETTE = {0: (10, 20, 30), 7: (200, 0, 100), 254: (255, 255, 0)}


def image_of(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


@given(
    seed=st.integers(0, 2**32 - 1),
    wide=st.booleans(),
    opacity=st.floats(0.0, 1.0),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_pixels_are_the_weighted_mean_of_image_and_class_colour(
    seed: int, wide: bool, opacity: float, size: tuple[int, int]
) -> None:
    image = image_of(*size, seed)
    ids = [0, 7, 254, 60_000 if wide else 9]
    labels = np.random.default_rng(seed).choice(ids, size)
    labels = labels.astype(np.uint16 if wide else np.uint8)
    palette = {**PALETTE, **({60_000: (1, 2, 3)} if wide else {})}
    before = image.copy()

    picture = draw_overlay(image, labels, palette, opacity)

    assert picture.dtype == np.uint8
    for place in np.ndindex(*size):
        color = palette.get(int(labels[place]))
        expected = (
            image[place]
            if color is None
            else opacity * np.array(color) + (1 - opacity) * image[place]
        )
        assert np.abs(picture[place] - expected).max() <= 0.51
    np.testing.assert_array_equal(image, before)


def test_unknown_ids_and_an_empty_palette_keep_the_image() -> None:
    image = image_of(4, 5)
    labels = np.full((4, 5), 3, np.uint8)
    np.testing.assert_array_equal(draw_overlay(image, labels, PALETTE, 1.0), image)
    np.testing.assert_array_equal(draw_overlay(image, labels, {}, 1.0), image)


def test_palette_ids_beyond_the_label_type_do_not_matter() -> None:
    image = image_of(2, 2)
    labels = np.full((2, 2), 7, np.uint8)
    picture = draw_overlay(image, labels, {**PALETTE, 1000: (9, 9, 9)}, 1.0)
    np.testing.assert_array_equal(picture, np.broadcast_to(PALETTE[7], (2, 2, 3)))


@pytest.mark.parametrize(
    ("image", "labels", "sentence"),
    [
        (np.zeros((2, 3), np.uint8), np.zeros((2, 3), np.uint8), "RGB"),
        (np.zeros((2, 3, 3), np.float32), np.zeros((2, 3), np.uint8), "float32"),
        (np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3), np.int64), "int64"),
        (np.zeros((2, 3, 3), np.uint8), np.zeros((3, 2), np.uint8), r"\(3, 2\)"),
    ],
)
def test_unfit_arrays_are_refused(image: object, labels: object, sentence: str) -> None:
    with pytest.raises(ImageError, match=sentence):
        draw_overlay(image, labels, PALETTE, 0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("opacity", [-0.1, 1.1, float("nan")])
def test_opacity_has_a_range(opacity: float) -> None:
    with pytest.raises(UsageError, match="0 to 1"):
        draw_overlay(image_of(2, 2), np.zeros((2, 2), np.uint8), PALETTE, opacity)


def test_legend_shows_every_colour_and_writes_beside_it() -> None:
    entries = [("road", (1, 2, 3)), ("traffic light", (4, 5, 6)), ("sky", (7, 8, 9))]
    strip = legend(entries, width=200)
    assert strip.shape[1:] == (200, 3)
    for _, color in entries:
        assert (strip == color).all(axis=2).sum() >= 100
    # Letters are drawn with soft edges: nowhere quite the ink's 240, but far from the paper.
    assert (strip.min(axis=2) > 150).any()


@given(count=st.integers(0, 40), width=st.integers(48, 700), row_height=st.integers(8, 24))
def test_legend_is_as_wide_as_asked_and_holds_every_entry(
    count: int, width: int, row_height: int
) -> None:
    entries = [(f"class {index}", (index, 255, 255 - index)) for index in range(count)]
    strip = legend(entries, width, row_height)
    assert strip.shape[1] == width
    assert strip.shape[0] % row_height == 0
    assert all((strip == color).all(axis=2).any() for _, color in entries)


def test_names_too_long_for_the_strip_are_cut() -> None:
    strip = legend([("an endless name " * 20, (1, 2, 3))], width=120)
    assert strip.shape == (24, 120, 3)


def test_a_legend_without_room_is_refused() -> None:
    with pytest.raises(UsageError, match="10 px"):
        legend([], width=10)


def test_text_width_grows_with_the_text() -> None:
    assert text_width("road", 12) < text_width("road and more", 12)


CLASSES = [
    (0, "road", (1, 2, 3)),
    (7, "vélo", (4, 5, 6)),
    (9, "汽车", (7, 8, 9)),
    (5, "bus", (9, 9, 9)),
]


def test_legend_entries_are_the_classes_of_the_picture_largest_first() -> None:
    labels = np.array([[7, 7, 7], [9, 9, 200]], np.uint8)  # 200 is no class
    assert legend_entries(labels, CLASSES) == (("velo", (4, 5, 6)), ("class 9", (7, 8, 9)))
    wide = labels.astype(np.uint16)
    wide[1, 2] = 0
    assert [name for name, _ in legend_entries(wide, CLASSES)] == ["velo", "class 9", "road"]


@pytest.mark.parametrize("width", [1, 100, 640, 5000])
def test_a_picture_keeps_its_pixels_above_its_legend(width: int) -> None:
    picture = image_of(20, width)
    entries = [("road", (1, 2, 3)), ("traffic light", (4, 5, 6))]
    whole = with_legend(picture, entries)
    np.testing.assert_array_equal(whole[:20, :width], picture)
    assert whole.shape[1] == max(width, 160)
    for _, color in entries:
        assert (whole[20:] == color).all(axis=2).sum() >= 64


@given(count=st.integers(0, 40), rows=st.integers(0, 4))
def test_legends_of_so_many_rows_have_one_size(count: int, rows: int) -> None:
    picture = image_of(8, 200)
    colors = [(index, 255, 255 - index) for index in range(count)]
    whole = with_legend(picture, [(f"class {color[0]}", color) for color in colors], rows)
    assert whole.shape == (8 + 16 * rows, 200, 3)
    shown = sum(bool((whole[8:] == color).all(axis=2).any()) for color in colors)
    if count > 10:  # two columns of "class 10"
        assert shown == (count if count <= 2 * rows else max(2 * rows - 1, 0))
