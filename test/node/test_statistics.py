"""Counts, rates and latencies of a camera's frames."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.node.statistics import RATE_WINDOW_S, FrameStatistics, percentiles


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_frame_is_received_then_segmented_superseded_or_dropped() -> None:
    statistics = FrameStatistics(Clock())
    for _ in range(4):
        statistics.count_received()
    statistics.count_left_out("superseded")
    assert statistics.count_dropped("wrong_step", "step 3 is too small")
    assert not statistics.count_dropped("wrong_step", "step 4 is too small")
    statistics.count_segmented({"latency": 12.0}, active_classes=5)
    snapshot = statistics.snapshot()
    assert (snapshot.received, snapshot.segmented, snapshot.dropped) == (4, 1, 3)
    assert snapshot.drops == {"superseded": 1, "wrong_step": 2}
    assert snapshot.problems == {"wrong_step": "step 4 is too small"}
    assert snapshot.latency_ms["latency"].p95 == 12.0
    assert snapshot.active_classes == 5


def test_frames_that_are_lost_together_are_counted_together() -> None:
    statistics = FrameStatistics(Clock())
    assert statistics.count_dropped("lost", "on their way", frames=7)
    assert not statistics.count_dropped("lost", "on their way", frames=2)
    assert statistics.snapshot().drops == {"lost": 9}


def test_the_last_drop_is_forgotten_when_a_frame_is_segmented() -> None:
    statistics = FrameStatistics(Clock())
    statistics.count_dropped("corrupt_data", "no JPEG")
    assert statistics.snapshot().last_drop == "corrupt_data"
    statistics.count_segmented({}, active_classes=0)
    assert statistics.snapshot().last_drop is None
    statistics.count_left_out("superseded")
    assert statistics.snapshot().last_drop is None


def test_rates_are_of_the_last_seconds() -> None:
    clock = Clock()
    statistics = FrameStatistics(clock)
    for _ in range(20):
        clock.now_s += 0.1
        statistics.count_received()
    assert abs(statistics.snapshot().rate_in_hz - 10.0) < 1e-6
    clock.now_s += RATE_WINDOW_S + 1
    assert statistics.snapshot().rate_in_hz == 0.0
    assert statistics.snapshot().received == 20


def test_times_since_are_none_before_and_never_negative() -> None:
    clock = Clock()
    statistics = FrameStatistics(clock)
    assert statistics.snapshot().since_received_s is None
    statistics.count_received()
    clock.now_s -= 5.0
    assert statistics.snapshot().since_received_s == 0.0


def test_a_restart_keeps_counts_and_forgets_times_and_problems() -> None:
    clock = Clock()
    statistics = FrameStatistics(clock)
    statistics.count_received()
    statistics.count_dropped("too_old", "10 s")
    clock.now_s += 50
    statistics.restart()
    clock.now_s += 2
    snapshot = statistics.snapshot()
    assert (snapshot.received, snapshot.dropped) == (1, 1)
    assert (snapshot.running_s, snapshot.since_received_s, snapshot.problems) == (2.0, None, {})
    assert statistics.count_dropped("too_old", "11 s"), "it is reported again"


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
def test_percentiles_are_values_in_order(values: list[float]) -> None:
    result = percentiles(values)
    assert result.p50 in values
    assert result.p95 in values
    assert min(values) <= result.p50 <= result.p95 <= max(values)
