"""The state machine as a whole, against random presence sequences and an oracle of visibility."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.segmentation.result import Reason
from activesam_ros.settings import Settings
from activesam_ros.streaming.stream import (
    Arrival,
    Look,
    Plan,
    Restart,
    Rules,
    State,
    decide,
    look,
    settle,
)

PERIOD_NS = 100_000_000
SAME_SCENE = (0.5,) * 192
Presence = Callable[[int, int], float]


@dataclass(frozen=True)
class Frame:
    """What happened in one frame."""

    look: Look
    plan: Plan


def best(presence: dict[int, float], count: int) -> list[int]:
    """Stands for ActiveSAM's own selection after a full preview."""
    return sorted(sorted(presence, key=lambda query: -presence[query])[:count])


def step(
    state: State | None, arrival: Arrival, previewed: Presence, decoded: Presence, rules: Rules
) -> tuple[State, Frame]:
    """One frame; ``previewed`` and ``decoded`` give the presence of (query, 0)."""
    looked = look(state, arrival, rules)
    seen = {query: previewed(query, 0) for query in looked.queries}
    selected = best(seen, rules.settings.max_active) if looked.restart else []
    plan = decide(state, looked, seen, selected, rules)
    found = {query: decoded(query, 0) for query in plan.active}
    return settle(state, arrival, looked, plan, found, rules), Frame(looked, plan)


def run(frames: int, presence: Presence, rules: Rules) -> list[Frame]:
    """Frames of one scene at 10 Hz; ``presence`` of (query, frame) in preview and decode."""
    state: State | None = None
    history = []
    for place in range(frames):

        def of_frame(query: int, _: int, place: int = place) -> float:
            return presence(query, place)

        arrival = Arrival(place * PERIOD_NS, SAME_SCENE)
        state, frame = step(state, arrival, of_frame, of_frame, rules)
        history.append(frame)
    return history


def rules(queries: int, pinned: Sequence[int] = (), **settings: object) -> Rules:
    values: dict[str, object] = {
        "enter_threshold": 0.5,
        "leave_threshold": 0.2,
        "hold_frames": 3,
        "preview_interval": 4,
        "max_active": 40,
    }
    return Rules(Settings.from_mapping(values | settings), queries, frozenset(pinned))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Rules, list[set[int]], Presence]:
    """Rules, which queries are visible in each frame, and presences that agree with that.

    At most max_active are visible in any two consecutive frames. A visible query has a presence at
    or above enter_threshold in every look and decode, another any below: noise as strong as it can
    be without being visible.
    """
    queries = draw(st.integers(2, 20))
    max_active = draw(st.integers(1, 8))
    pinned = draw(st.frozensets(st.integers(0, queries - 1), max_size=min(3, queries - 1)))
    noise = draw(st.floats(0, 0.999))
    world = rules(
        queries,
        tuple(pinned),
        max_active=max_active,
        preview_interval=draw(st.integers(1, 10)),
        hold_frames=draw(st.integers(1, 6)),
        presence_gain=draw(st.floats(0.05, 1)),
        enter_threshold=draw(st.floats(0.2, 0.9)),
    )
    rng = random.Random(draw(st.integers(0, 2**32 - 1)))
    change = draw(st.sampled_from((0.02, 0.1, 0.5)))
    visible: list[set[int]] = []
    now: set[int] = set()
    for _ in range(draw(st.integers(1, 30))):
        before = now
        now = {query for query in now if rng.random() > change}
        for query in range(queries):
            if len(now | before) < max_active and rng.random() < change:
                now.add(query)
        visible.append(set(now))
    enter = world.settings.enter_threshold
    levels = [
        [
            enter + level * (1 - enter) if query in now else level * enter * noise
            for query, level in enumerate(rng.random() for _ in range(queries))
        ]
        for now in visible
    ]

    def presence(query: int, frame: int) -> float:
        return levels[frame][query]

    return world, visible, presence


def wait(given_rules: Rules) -> int:
    """The guarantee in frames: a query that has to make room is not looked at in that frame."""
    return max(2, given_rules.settings.preview_interval)


@given(worlds())
def test_a_visible_query_is_active_within_the_interval_and_stays(
    world: tuple[Rules, list[set[int]], Presence],
) -> None:
    given_rules, visible, presence = world
    history = run(len(visible), presence, given_rules)
    since = dict.fromkeys(range(given_rules.queries), 0)  # frames in a row, this one included
    entered = dict.fromkeys(range(given_rules.queries), False)
    for frame, now in zip(history, visible, strict=True):
        for query in since:
            since[query] = since[query] + 1 if query in now else 0
            active = query in frame.plan.reasons
            entered[query] = query in now and (entered[query] or active)
            if since[query] >= wait(given_rules):
                assert active
            assert active or not entered[query], "left while it was visible"


@given(worlds())
def test_every_frame_costs_the_same_and_no_query_waits_longer_than_the_interval(
    world: tuple[Rules, list[set[int]], Presence],
) -> None:
    given_rules, visible, presence = world
    free = given_rules.queries - len(given_rules.pinned)
    size = -(-free // given_rules.settings.preview_interval)
    last = dict.fromkeys(range(given_rules.queries), -1)
    before = 0
    for place, frame in enumerate(run(len(visible), presence, given_rules)):
        active = frame.plan.active
        if place == 0:
            assert frame.look == Look(tuple(range(given_rules.queries)), Restart.BEGIN)
        else:
            assert frame.look.restart is None
            assert len(frame.look.queries) == min(size, free - before)
        for query in {*frame.look.queries, *active}:
            last[query] = place
        assert all(place - seen < wait(given_rules) for seen in last.values())
        assert list(active) == sorted(active)
        assert active
        assert given_rules.pinned <= set(active)
        assert len(frame.plan.tracks) <= given_rules.settings.max_active
        assert len(active) <= len(frame.plan.tracks) + len(given_rules.pinned)
        before = held(frame, presence, place, given_rules)


def held(frame: Frame, presence: Presence, place: int, given_rules: Rules) -> int:
    """How many tracks of a frame go on into the next."""
    arrival = Arrival(place * PERIOD_NS, SAME_SCENE)
    found = {query: presence(query, place) for query in frame.plan.active}
    return len(settle(None, arrival, frame.look, frame.plan, found, given_rules).tracks)


def test_reasons_say_who_entered_who_stayed_and_who_is_pinned() -> None:
    def presence(query: int, frame: int) -> float:
        return 0.9 if query == 5 or (query == 7 and frame >= 3) else 0.0

    history = run(12, presence, rules(12, pinned=(1,), max_active=2))
    assert history[0].plan.reasons[5] is Reason.PREVIEWED
    assert {frame.plan.reasons[5] for frame in history[1:]} == {Reason.CARRIED}
    assert {frame.plan.reasons[1] for frame in history[1:]} == {Reason.PINNED}
    reasons = [frame.plan.reasons.get(7) for frame in history]
    first = next(place for place, reason in enumerate(reasons) if reason is not None)
    assert 3 <= first < 3 + 4
    assert reasons[first:] == [Reason.PREVIEWED] + [Reason.CARRIED] * (11 - first)


def test_a_query_leaves_after_hold_frames_without_evidence() -> None:
    def presence(query: int, frame: int) -> float:
        return 0.9 if query == 5 and frame < 6 else 0.4 if query == 8 else 0.0

    history = run(20, presence, rules(12, hold_frames=3, presence_gain=1, max_active=2))
    assert [place for place, frame in enumerate(history) if 5 in frame.plan.reasons] == [*range(9)]
    assert all(8 in frame.plan.reasons for frame in history), "above leave_threshold it stays"


def test_a_pinned_query_is_decoded_without_any_evidence() -> None:
    history = run(20, lambda query, frame: 0.0, rules(12, pinned=(2, 3), max_active=1))
    assert all({2, 3} <= set(frame.plan.reasons) for frame in history)
    assert all(2 not in frame.look.queries for frame in history[1:])


def test_something_is_always_decoded() -> None:
    nothing = run(20, lambda query, frame: query / 1000, rules(12, max_active=3))
    assert all(frame.plan.active for frame in nothing)


def test_room_taken_by_what_faded_is_given_to_what_appears() -> None:
    def presence(query: int, frame: int) -> float:
        early, late = query in (0, 1), query in (8, 9)
        return 0.95 if (early and frame < 5) or (late and frame >= 5) else 0.0

    history = run(12, presence, rules(12, max_active=2, hold_frames=100))
    assert history[4].plan.active == (0, 1)
    assert history[8].plan.active == (8, 9)


@pytest.mark.parametrize(
    ("stamps_ns", "restart"),
    [
        ((0, PERIOD_NS), None),
        ((5, 5), None),
        ((0, 1_999_999_999), None),
        ((0, 2_000_000_001), Restart.GAP),
        ((PERIOD_NS, PERIOD_NS - 1), Restart.EARLIER),
        ((10**18, 0), Restart.EARLIER),
        ((None, None), None),
        ((None, 10**18), None),
        ((10**18, None), None),
    ],
)
def test_jumps_in_time_begin_anew(
    stamps_ns: tuple[int | None, int | None], restart: Restart | None
) -> None:
    given_rules = rules(12, max_active=1)
    first, second = (Arrival(stamp_ns, SAME_SCENE) for stamp_ns in stamps_ns)
    state, _ = step(
        None, first, lambda q, _: float(q == 5), lambda q, _: float(q == 5), given_rules
    )
    _, frame = step(state, second, lambda q, _: float(q == 7), lambda q, _: 1.0, given_rules)
    assert frame.look.restart is restart
    if restart is None:
        assert frame.plan.reasons[5] is Reason.CARRIED
    else:
        assert frame.look.queries == tuple(range(12))
        assert frame.plan.reasons == {7: Reason.PREVIEWED}


def test_another_scene_begins_anew_unless_it_is_not_compared() -> None:
    night = (0.9, 0.1) * 96
    for threshold, restart in ((0.2, Restart.SCENE), (0.0, None)):
        given_rules = rules(12, scene_change_threshold=threshold)
        state, _ = step(None, Arrival(0, SAME_SCENE), lambda *_: 0.9, lambda *_: 0.9, given_rules)
        _, frame = step(state, Arrival(1, night), lambda *_: 0.9, lambda *_: 0.9, given_rules)
        assert frame.look.restart is restart


def test_another_interval_and_another_pin_take_effect_at_once() -> None:
    state: State | None = None
    for given_rules, size in (
        (rules(24, max_active=1), 24),
        (rules(24, max_active=1), 6),
        (rules(24, max_active=1, preview_interval=24), 1),
        (rules(24, pinned=(4,), max_active=1, preview_interval=1), 22),
    ):
        arrival = Arrival(0, SAME_SCENE)
        state, frame = step(state, arrival, lambda q, _: float(q == 9), lambda *_: 1.0, given_rules)
        assert len(frame.look.queries) == size
        assert given_rules.pinned | {9} == set(frame.plan.active)


def test_a_vocabulary_of_another_size_begins_anew() -> None:
    state, _ = step(None, Arrival(0, SAME_SCENE), lambda *_: 0.9, lambda *_: 0.9, rules(12))
    _, frame = step(state, Arrival(1, SAME_SCENE), lambda *_: 0.9, lambda *_: 0.9, rules(13))
    assert frame.look == Look(tuple(range(13)), Restart.BEGIN)
