"""Rules by which frames are dropped, the causes they are counted under, and what is logged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rclpy.impl.rcutils_logger import RcutilsLogger

from activesam_ros.errors import ScoreError
from activesam_ros.node.dropped_frames import (
    FrameReporter,
    NoRoomError,
    RateLimiter,
    TooOldError,
    check_age,
    drop_cause,
)
from activesam_ros.node.statistics import FrameStatistics
from activesam_ros.recordings.image_encodings import Cause, RejectedImageError


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


def test_the_refusal_of_an_old_frame_says_how_to_avoid_it() -> None:
    check_age(stamp_ns=0, now_ns=10**18, max_age_ms=0.0)
    check_age(stamp_ns=10**18, now_ns=0, max_age_ms=1.0)
    with pytest.raises(
        TooOldError, match=r"101 ms old, more than max_image_age_ms=100.*use_sim_time"
    ):
        check_age(stamp_ns=0, now_ns=101_000_000, max_age_ms=100.0)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RejectedImageError(Cause.WRONG_STEP, "step 3"), "wrong_step"),
        (TooOldError("old"), "too_old"),
        (NoRoomError("full"), "no_room"),
        (ScoreError("NaN"), "not_finite"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (RuntimeError("shape 3 does not fit 4"), "failed_RuntimeError"),
    ],
)
def test_causes_do_not_depend_on_numbers_in_messages(error: Exception, cause: str) -> None:
    assert drop_cause(error) == cause


@dataclass
class FakeLogger:
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def warning(self, message: str) -> None:
        self.warnings.append(message)

    def error(self, message: str) -> None:
        self.errors.append(message)


def test_a_cause_is_logged_once_for_each_camera_and_counted_always() -> None:
    logger = FakeLogger()
    statistics = {name: FrameStatistics() for name in ("front", "left")}
    reporter = FrameReporter(cast("RcutilsLogger", logger), statistics)
    for _ in range(3):
        reporter.drop("front", TooOldError("too old by 7 ms."))
    reporter.drop("left", TooOldError("too old by 8 ms."))
    reporter.no_room("front", keep_all_mib=5)
    reporter.superseded("front")
    assert statistics["front"].snapshot().drops == {"too_old": 3, "no_room": 1, "superseded": 1}
    assert statistics["left"].snapshot().drops == {"too_old": 1}
    assert len(logger.errors) == 3
    assert "An image of front was dropped (too_old): too old by 7 ms." in logger.errors[0]
    assert "keep_all_mib=5" in logger.errors[2]


def test_only_unexpected_faults_are_logged_with_their_traceback() -> None:
    logger = FakeLogger()
    reporter = FrameReporter(cast("RcutilsLogger", logger), {"front": FrameStatistics()})
    reporter.drop("front", NoRoomError("full."))
    try:
        raise RuntimeError("shape 3 does not fit 4")
    except RuntimeError as error:
        reporter.drop("front", error)
    assert ["Traceback" in text for text in logger.errors] == [False, True]
