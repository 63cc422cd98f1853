"""Images that never arrived, by the stamps of those that did."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.node.stamp_gaps import StampGaps

PERIOD_NS = 33_333_333
START_NS = 1_700_000_000 * 10**9


def missing(places: Iterable[int], jitter_ns: Iterable[int] | None = None) -> int:
    """The count for images that are received at these places of a stream at 30 Hz."""
    gaps = StampGaps()
    for place in places:
        late_ns = 0 if jitter_ns is None else next(iter(jitter_ns))
        gaps.add(START_NS + place * PERIOD_NS + late_ns)
    return gaps.missing


def test_nothing_is_missing_from_a_whole_stream() -> None:
    assert missing(range(200)) == 0


@pytest.mark.parametrize("gap", [1, 2, 30])
def test_the_images_of_a_gap_are_counted(gap: int) -> None:
    assert missing([*range(50), *range(50 + gap, 100)]) == gap


def test_every_second_image_of_a_part_may_be_missing() -> None:
    assert missing([*range(40), *range(40, 80, 2)]) == 19


@given(st.lists(st.integers(-6_000_000, 6_000_000), min_size=100, max_size=100))
def test_jitter_is_no_gap(jitter_ns: list[int]) -> None:
    gaps = StampGaps()
    for place, late_ns in enumerate(jitter_ns):
        gaps.add(START_NS + place * PERIOD_NS + late_ns)
    assert gaps.missing <= 5


@pytest.mark.parametrize("stamp_ns", [0, START_NS - 10**12, START_NS + 10**14])
def test_a_stamp_that_does_not_continue_begins_anew(stamp_ns: int) -> None:
    gaps = StampGaps()
    for place in range(50):
        gaps.add(START_NS + place * PERIOD_NS)
    gaps.add(stamp_ns)
    gaps.add(stamp_ns + PERIOD_NS)
    gaps.restart()
    gaps.add(stamp_ns + 20 * PERIOD_NS)
    assert gaps.missing == 0
