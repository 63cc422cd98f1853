"""The budget's controller: up when late, down when easy, never to and fro for ever."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.node.budget.latency_budget import (
    EASY_FRAMES,
    EASY_SHARE,
    LATE_FRAMES,
    MAX_PATIENCE_FRAMES,
    BudgetState,
    observe,
)

BUDGET_MS = 100.0
LATENCIES = st.lists(st.floats(0.0, 1000.0), max_size=200)


def after(latencies_ms: list[float], state: BudgetState, highest: int = 3) -> BudgetState:
    for latency_ms in latencies_ms:
        state = observe(state, latency_ms, BUDGET_MS, highest)
    return state


@given(LATENCIES, st.integers(0, 3))
def test_the_level_moves_by_one_and_stays_in_range(latencies: list[float], highest: int) -> None:
    state = BudgetState()
    for latency_ms in latencies:
        following = observe(state, latency_ms, BUDGET_MS, highest)
        assert abs(following.level - state.level) <= 1
        assert 0 <= following.level <= highest
        assert EASY_FRAMES <= following.patience <= MAX_PATIENCE_FRAMES
        if following.level > state.level:
            assert latency_ms > BUDGET_MS
        if following.level < state.level:
            assert latency_ms < EASY_SHARE * BUDGET_MS
        state = following


@given(LATENCIES)
def test_being_late_for_long_takes_every_step(latencies: list[float]) -> None:
    state = after(latencies, BudgetState())
    assert after([150.0] * 3 * LATE_FRAMES, state).level == 3


@given(LATENCIES)
def test_being_easy_for_long_takes_every_step_back(latencies: list[float]) -> None:
    state = after(latencies, BudgetState())
    assert after([10.0] * 3 * MAX_PATIENCE_FRAMES, state).level == 0


@given(LATENCIES)
def test_between_the_limits_nothing_changes(latencies: list[float]) -> None:
    state = after(latencies, BudgetState())
    assert after([EASY_SHARE * BUDGET_MS, BUDGET_MS] * 500, state).level == state.level


@given(LATENCIES)
def test_without_a_budget_nothing_is_left_out(latencies: list[float]) -> None:
    state = after(latencies, BudgetState())
    assert observe(state, 1000.0, 0.0, 3) == BudgetState()


def test_single_late_frames_do_nothing() -> None:
    assert after([150.0, 150.0, 50.0] * 100, BudgetState()).level == 0


def test_a_step_back_that_fails_is_tried_less_and_less_often() -> None:
    state, steps_back = after([150.0] * LATE_FRAMES, BudgetState()), []
    for number in range(3000):  # late without the step, easy with it
        following = observe(state, 20.0 if state.level else 150.0, BUDGET_MS, 1)
        if following.level < state.level:
            steps_back.append(number)
        state = following
    gaps = [later - earlier for earlier, later in itertools.pairwise(steps_back)]
    assert gaps[0] < gaps[1] < gaps[2]
    assert len(steps_back) < 12


def test_fewer_levels_than_before() -> None:
    assert observe(BudgetState(level=3), 80.0, BUDGET_MS, 1).level == 1
