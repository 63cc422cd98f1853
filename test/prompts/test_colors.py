"""Automatic colours."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.prompts.colors import automatic_colors, oklab, overlay_distances

COLORS = st.tuples(*[st.integers(0, 255)] * 3)
NAMES = st.lists(st.text(max_size=8).filter(str.isprintable), unique=True, max_size=40)


@given(NAMES, st.sets(COLORS, max_size=20))
def test_colors_are_distinct_and_avoid_the_taken_ones(
    names: list[str], taken: set[tuple[int, int, int]]
) -> None:
    colors = automatic_colors(names, taken)
    assert len(colors) == len(names)
    assert len(set(colors) | taken) == len(names) + len(taken)
    assert all(0 <= level <= 255 for color in colors for level in color)


@given(NAMES.flatmap(lambda names: st.tuples(st.just(names), st.permutations(names))))
def test_a_name_keeps_its_color_in_any_order(orders: tuple[list[str], list[str]]) -> None:
    one, other = (dict(zip(names, automatic_colors(names), strict=True)) for names in orders)
    assert one == other


def test_a_color_alone_is_the_color_in_a_small_set() -> None:
    names = ["road", "person", "car", "tree", "sky"]
    assert automatic_colors(["car"])[0] == automatic_colors(names)[2]


@pytest.mark.parametrize(("count", "least"), [(5, 0.18), (20, 0.1), (100, 0.045)])
def test_colors_are_bright_and_look_different(count: int, least: float) -> None:
    colors = automatic_colors([f"class {index}" for index in range(count)])
    assert (overlay_distances(colors) + np.eye(count)).min() >= least
    assert oklab(colors)[:, 0].min() >= 0.5  # lightness
    assert all(colorsys.rgb_to_hsv(*color)[1] > 0.25 for color in colors)


def test_colors_look_different_from_those_that_are_given() -> None:
    navies = [(0, 0, 142), (0, 0, 70), (0, 60, 100)]
    colors = automatic_colors([f"class {index}" for index in range(20)], navies)
    assert overlay_distances([*navies, *colors])[:3, 3:].min() >= 0.1


def test_lightness_counts_less_as_the_photo_has_its_own() -> None:
    black_white, red_green = (
        overlay_distances(pair)[0, 1]
        for pair in ([(0, 0, 0), (255, 255, 255)], [(255, 0, 0), (0, 255, 0)])
    )
    assert black_white == pytest.approx(0.5, abs=1e-3)
    assert red_green > 0.46


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ((0, 0, 0), (255, 255, 255), 1.0),
        ((128, 128, 128), (128, 128, 128), 0.0),
        ((255, 0, 0), (0, 255, 0), 0.5197),  # (0.628, 0.225, 0.126) and (0.866, -0.234, 0.179)
    ],
)
def test_oklab_has_the_published_values(
    one: tuple[int, int, int], other: tuple[int, int, int], distance: float
) -> None:
    first, second = oklab([one, other])
    assert np.linalg.norm(first - second) == pytest.approx(distance, abs=1e-3)


def test_there_is_a_color_for_every_class_a_label_map_can_hold() -> None:
    names = [str(number) for number in range(5_000)]
    assert len(set(automatic_colors(names))) == len(names)
