"""Automatic colours."""

from __future__ import annotations

import colorsys
import itertools

from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.prompts.colors import automatic_colors

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


def test_a_hundred_colors_are_bright_and_far_apart() -> None:
    colors = automatic_colors([f"class {index}" for index in range(100)])
    apart = min(
        max(abs(a - b) for a, b in zip(one, other, strict=True))
        for one, other in itertools.combinations(colors, 2)
    )
    assert apart >= 24
    assert min(max(color) for color in colors) >= 140
    assert all(colorsys.rgb_to_hsv(*color)[1] > 0.3 for color in colors)


def test_there_is_a_color_for_every_class_a_label_map_can_hold() -> None:
    names = [str(number) for number in range(5_000)]
    assert len(set(automatic_colors(names))) == len(names)
