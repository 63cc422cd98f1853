"""The state machine as a whole, against random presence sequences and an oracle of visibility."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.errors import RecordingError
from activesam_ros.segmentation.active_set import Selection
from activesam_ros.segmentation.result import Reason
from activesam_ros.settings import Settings
from activesam_ros.streaming.stream import (
    DecodeChoice,
    FrameInfo,
    PreviewChoice,
    Restart,
    Rules,
    StreamState,
    choose_decode,
    choose_preview,
    next_state,
    slice_size,
)
from activesam_ros.streaming.tracker import Track

PERIOD_NS = 100_000_000
SAME_SCENE = (0.5,) * 192
Presence = Callable[[int, int], float]


@dataclass(frozen=True)
class Frame:
    """What happened in one frame."""

    preview: PreviewChoice
    decode: DecodeChoice


def best(presence: dict[int, float], count: int) -> list[int]:
    """Stands for ActiveSAM's own selection after a full preview."""
    return sorted(sorted(presence, key=lambda query: -presence[query])[:count])


def step(
    state: StreamState | None, info: FrameInfo, previewed: Presence, decoded: Presence, rules: Rules
) -> tuple[StreamState, Frame]:
    """One frame; ``previewed`` and ``decoded`` give the presence of (query, 0)."""
    preview = choose_preview(state, info, rules)
    seen = {query: previewed(query, 0) for query in preview.queries}
    selected = best(seen, rules.settings.max_active) if preview.restart else []
    decode = choose_decode(state, preview, seen, selected, rules)
    found = {query: decoded(query, 0) for query in decode.active}
    return next_state(state, info, preview, decode, found, rules), Frame(preview, decode)


def run(frames: int, presence: Presence, rules: Rules) -> list[Frame]:
    """Frames of one scene at 10 Hz; ``presence`` of (query, frame) in preview and decode."""
    state: StreamState | None = None
    history = []
    for place in range(frames):

        def of_frame(query: int, _: int, place: int = place) -> float:
            return presence(query, place)

        info = FrameInfo(place * PERIOD_NS, SAME_SCENE)
        state, frame = step(state, info, of_frame, of_frame, rules)
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
    chosen = Settings.from_mapping(values | settings)
    return Rules(chosen, queries, frozenset(pinned), Selection(False, chosen))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Rules, list[set[int]], Presence]:
    """Rules, which queries are visible in each frame, and presences that agree with that.

    At most max_active are visible in any two consecutive frames. A visible query has a presence at
    or above enter_threshold in every preview and decode, another one any below: noise as strong as
    it can be without being visible.
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
    """The guarantee in frames: a query that has to make room is not previewed in that frame."""
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
            active = query in frame.decode.reasons
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
        active = frame.decode.active
        if place == 0:
            assert frame.preview == PreviewChoice(tuple(range(given_rules.queries)), Restart.BEGIN)
        else:
            assert frame.preview.restart is None
            assert len(frame.preview.queries) == min(size, free - before)
        for query in {*frame.preview.queries, *active}:
            last[query] = place
        assert all(place - seen < wait(given_rules) for seen in last.values())
        assert list(active) == sorted(active)
        assert active
        assert given_rules.pinned <= set(active)
        assert len(frame.decode.tracks) <= given_rules.settings.max_active
        assert len(active) <= len(frame.decode.tracks) + len(given_rules.pinned)
        before = held(frame, presence, place, given_rules)


def held(frame: Frame, presence: Presence, place: int, given_rules: Rules) -> int:
    """How many tracks of a frame go on into the next."""
    info = FrameInfo(place * PERIOD_NS, SAME_SCENE)
    found = {query: presence(query, place) for query in frame.decode.active}
    return len(next_state(None, info, frame.preview, frame.decode, found, given_rules).tracks)


def test_reasons_say_who_entered_who_stayed_and_who_is_pinned() -> None:
    def presence(query: int, frame: int) -> float:
        return 0.9 if query == 5 or (query == 7 and frame >= 3) else 0.0

    history = run(12, presence, rules(12, pinned=(1,), max_active=2))
    assert history[0].decode.reasons[5] is Reason.PREVIEWED
    assert {frame.decode.reasons[5] for frame in history[1:]} == {Reason.CARRIED}
    assert {frame.decode.reasons[1] for frame in history[1:]} == {Reason.PINNED}
    reasons = [frame.decode.reasons.get(7) for frame in history]
    first = next(place for place, reason in enumerate(reasons) if reason is not None)
    assert 3 <= first < 3 + 4
    assert reasons[first:] == [Reason.PREVIEWED] + [Reason.CARRIED] * (11 - first)


def test_a_query_leaves_after_hold_frames_without_evidence() -> None:
    def presence(query: int, frame: int) -> float:
        return 0.9 if query == 5 and frame < 6 else 0.4 if query == 8 else 0.0

    history = run(20, presence, rules(12, hold_frames=3, presence_gain=1, max_active=2))
    assert [place for place, frame in enumerate(history) if 5 in frame.decode.reasons] == [
        *range(9)
    ]
    assert all(8 in frame.decode.reasons for frame in history), "above leave_threshold it stays"


def test_a_pinned_query_is_decoded_without_any_evidence() -> None:
    history = run(20, lambda query, frame: 0.0, rules(12, pinned=(2, 3), max_active=1))
    assert all({2, 3} <= set(frame.decode.reasons) for frame in history)
    assert all(2 not in frame.preview.queries for frame in history[1:])


def test_something_is_always_decoded() -> None:
    nothing = run(20, lambda query, frame: query / 1000, rules(12, max_active=3))
    assert all(frame.decode.active for frame in nothing)


def test_room_taken_by_what_faded_is_given_to_what_appears() -> None:
    def presence(query: int, frame: int) -> float:
        early, late = query in (0, 1), query in (8, 9)
        return 0.95 if (early and frame < 5) or (late and frame >= 5) else 0.0

    history = run(12, presence, rules(12, max_active=2, hold_frames=100))
    assert history[4].decode.active == (0, 1)
    assert history[8].decode.active == (8, 9)


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
    first, second = (FrameInfo(stamp_ns, SAME_SCENE) for stamp_ns in stamps_ns)
    state, _ = step(
        None, first, lambda q, _: float(q == 5), lambda q, _: float(q == 5), given_rules
    )
    _, frame = step(state, second, lambda q, _: float(q == 7), lambda q, _: 1.0, given_rules)
    assert frame.preview.restart is restart
    if restart is None:
        assert frame.decode.reasons[5] is Reason.CARRIED
    else:
        assert frame.preview.queries == tuple(range(12))
        assert frame.decode.reasons == {7: Reason.PREVIEWED}


def test_another_scene_begins_anew_unless_it_is_not_compared() -> None:
    night = (0.9, 0.1) * 96
    for threshold, restart in ((0.2, Restart.SCENE), (0.0, None)):
        given_rules = rules(12, scene_change_threshold=threshold)
        state, _ = step(None, FrameInfo(0, SAME_SCENE), lambda *_: 0.9, lambda *_: 0.9, given_rules)
        _, frame = step(state, FrameInfo(1, night), lambda *_: 0.9, lambda *_: 0.9, given_rules)
        assert frame.preview.restart is restart


def test_another_interval_and_another_pin_take_effect_at_once() -> None:
    state: StreamState | None = None
    for given_rules, size in (
        (rules(24, max_active=1), 24),
        (rules(24, max_active=1), 6),
        (rules(24, max_active=1, preview_interval=24), 1),
        (rules(24, pinned=(4,), max_active=1, preview_interval=1), 22),
    ):
        info = FrameInfo(0, SAME_SCENE)
        state, frame = step(state, info, lambda q, _: float(q == 9), lambda *_: 1.0, given_rules)
        assert len(frame.preview.queries) == size
        assert given_rules.pinned | {9} == set(frame.decode.active)


def test_a_vocabulary_of_another_size_begins_anew() -> None:
    state, _ = step(None, FrameInfo(0, SAME_SCENE), lambda *_: 0.9, lambda *_: 0.9, rules(12))
    _, frame = step(state, FrameInfo(1, SAME_SCENE), lambda *_: 0.9, lambda *_: 0.9, rules(13))
    assert frame.preview == PreviewChoice(tuple(range(13)), Restart.BEGIN)


@given(
    queries=st.integers(1, 60),
    interval=st.integers(1, 12),
    pinned_share=st.sampled_from((0.0, 0.1, 0.9)),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_query_is_seen_within_the_interval_whatever_is_decoded(
    queries: int, interval: int, pinned_share: float, seed: int
) -> None:
    rng = random.Random(seed)
    pinned = tuple(query for query in range(queries) if rng.random() < pinned_share)
    given_rules = rules(queries, pinned, preview_interval=interval)
    info = FrameInfo(None, SAME_SCENE)
    state = StreamState((), tuple(range(queries)), None, SAME_SCENE)
    last_seen = dict.fromkeys(range(queries), -1)
    for frame in range(3 * interval):
        active = rng.sample(range(queries), rng.randint(0, min(queries, 6)))
        state = replace(state, tracks=tuple(Track(query, 1.0, 1.0) for query in sorted(active)))
        decoded = {*pinned, *active}
        preview = choose_preview(state, info, given_rules)
        assert preview.restart is None
        assert len(preview.queries) == min(slice_size(given_rules), queries - len(decoded))
        assert list(preview.queries) == sorted(set(preview.queries) - decoded)
        for query in {*preview.queries, *decoded}:
            last_seen[query] = frame
        assert all(frame - seen < interval for seen in last_seen.values()) or frame < interval - 1
        nothing = DecodeChoice((), {})
        state = next_state(state, info, preview, nothing, dict.fromkeys(decoded, 0.0), given_rules)
        assert sorted(state.order) == list(range(queries))


def test_the_longest_unseen_are_previewed_first() -> None:
    given_rules = rules(6, preview_interval=2)
    info = FrameInfo(None, SAME_SCENE)
    state = StreamState((Track(2, 1.0, 1.0),), (0, 2, 4, 5, 1, 3), None, SAME_SCENE)
    preview = choose_preview(state, info, given_rules)
    assert preview.queries == (0, 4, 5)
    after = next_state(state, info, preview, DecodeChoice((), {}), {2: 0.0}, given_rules)
    assert after.order == (1, 3, 0, 2, 4, 5)


def test_slices_add_up_to_the_vocabulary() -> None:
    sizes = [slice_size(rules(count, preview_interval=8)) for count in (1000, 150, 8, 1)]
    assert sizes == [125, 19, 1, 1]
    assert slice_size(rules(150, preview_interval=1)) == 150
    assert slice_size(rules(2, pinned=(0, 1))) == 0


PRESENCE = st.floats(0, 1)


@given(
    tracks=st.lists(
        st.builds(
            Track, st.integers(0, 999), PRESENCE, PRESENCE, st.integers(0, 99), st.integers(0, 9)
        ),
        max_size=4,
    ),
    order=st.permutations(range(6)),
    stamp_ns=st.none() | st.integers(0, 2**63),
    thumbnail=st.lists(PRESENCE, max_size=5),
)
def test_a_state_written_as_text_comes_back_to_the_last_bit(
    tracks: list[Track], order: list[int], stamp_ns: int | None, thumbnail: list[float]
) -> None:
    state = StreamState(tuple(tracks), tuple(order), stamp_ns, tuple(thumbnail))
    assert StreamState.from_text(state.to_text()) == state


def test_what_is_no_number_comes_back() -> None:
    state = StreamState((Track(1, math.nan, math.nan),), (1,), None, ())
    (track,) = StreamState.from_text(state.to_text()).tracks
    assert math.isnan(track.presence)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tracks": [{"query": 1}]}', "null"])
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(RecordingError, match="no state of a stream"):
        StreamState.from_text(text)
