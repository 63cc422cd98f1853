"""Mean rates are kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.node.rate_limit import RateLimiter


@given(
    rate=st.floats(0.1, 100.0),
    gaps=st.lists(st.floats(0.0, 3.0), min_size=1, max_size=60),
)
def test_no_time_span_has_more_than_the_limit_allows(rate: float, gaps: list[float]) -> None:
    limiter, now_s, passed = RateLimiter(rate), 0.0, []
    for gap in gaps:
        now_s += gap
        if limiter.passes(now_s):
            passed.append(now_s)
    for first, begin in enumerate(passed):
        for last, end in enumerate(passed[first:], start=first):
            assert last - first + 1 <= rate * (end - begin) + 2 + 1e-6


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 300), (100.0, 300), (10.0, 100), (4.0, 40)])
def test_a_camera_of_30_hz(rate: float, expected: int) -> None:
    limiter = RateLimiter(rate)
    passed = sum(limiter.passes(number / 30) for number in range(300))
    assert passed == pytest.approx(expected, abs=1)


def test_jitter_at_the_limit_loses_nothing() -> None:
    limiter = RateLimiter(10.0)
    jitter = (0.0, 0.03, -0.03, 0.01)
    assert all(limiter.passes(number / 10 + jitter[number % 4]) for number in range(100))


def test_after_a_pause_the_limit_holds_at_once() -> None:
    limiter = RateLimiter(10.0)
    assert limiter.passes(0.0)
    assert sum(limiter.passes(100.0 + number / 1000) for number in range(100)) <= 2
