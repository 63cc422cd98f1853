"""The active set of one camera as a state machine without side effects.

A frame goes through three functions: :func:`look` says what to preview, :func:`decide` what to
decode, :func:`settle` gives the state for the next frame. The state changes in the last one alone,
so that a frame which fails on the way leaves no trace.

Units: a *query* is one name of a class; a class is active while one of its queries is.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from activesam_ros.segmentation.result import Reason
from activesam_ros.settings import Settings
from activesam_ros.streaming import scheduler, tracker
from activesam_ros.streaming.scene_change import Thumbnail, difference
from activesam_ros.streaming.tracker import Track


class Restart(enum.Enum):
    """Why a frame is previewed in full and nothing is carried into it."""

    BEGIN = "first frame"
    EARLIER = "stamp before the last one"
    GAP = "gap between stamps"
    SCENE = "other scene"


@dataclass(frozen=True)
class Rules:
    """What does not change from frame to frame: settings, number of queries, pinned ones."""

    settings: Settings
    queries: int
    pinned: frozenset[int]


@dataclass(frozen=True)
class State:
    """What a camera's frames so far come to.

    tracks: active queries, ascending. order: all queries, longest unseen first. stamp_ns and
    thumbnail: of the last frame, stamp_ns None where frames have none.
    """

    tracks: tuple[Track, ...]
    order: tuple[int, ...]
    stamp_ns: int | None
    thumbnail: Thumbnail


@dataclass(frozen=True)
class Arrival:
    """A new frame; stamp_ns None where frames follow each other without times."""

    stamp_ns: int | None
    thumbnail: Thumbnail


@dataclass(frozen=True)
class Look:
    """Queries to preview, ascending; restart: why these are all of them, else None."""

    queries: tuple[int, ...]
    restart: Restart | None


@dataclass(frozen=True)
class Plan:
    """What to decode.

    tracks: of the active queries that are not pinned. reasons: of every query to decode, ascending.
    """

    tracks: tuple[Track, ...]
    reasons: Mapping[int, Reason]

    @property
    def active(self) -> tuple[int, ...]:
        """The queries to decode, ascending."""
        return tuple(self.reasons)


def look(state: State | None, arrival: Arrival, rules: Rules) -> Look:
    """What to preview in the frame that arrived; ``state`` is None before the first."""
    restart = _restart(state, arrival, rules)
    if state is None or restart is not None:
        return Look(tuple(range(rules.queries)), restart)
    size = scheduler.slice_size(rules.queries - len(rules.pinned), rules.settings.preview_interval)
    decoded = rules.pinned | {track.query for track in state.tracks}
    return Look(scheduler.next_looks(state.order, decoded, size), None)


def decide(
    state: State | None,
    looked: Look,
    presence: Mapping[int, float],
    selected: Collection[int],
    rules: Rules,
) -> Plan:
    """What to decode, given the preview's ``presence`` of the queries looked at.

    selected: after a full preview, the queries that ActiveSAM's own rule keeps (methods.md section
    2, preview); such a frame has the active set it would have without streaming.
    """
    if state is None or looked.restart is not None:
        kept = tuple(
            Track(query, presence[query], presence[query])
            for query in sorted(set(selected) - rules.pinned)
        )
        return _plan(kept, selected, rules)
    carried = [track for track in state.tracks if track.query not in rules.pinned]
    entered = tracker.entering(presence, rules.settings)
    kept = tracker.strongest((*carried, *entered), rules.settings)
    if not kept and not rules.pinned:
        best = max(presence, key=lambda query: presence[query])  # something is always decoded
        kept = entered = (Track(best, presence[best], presence[best]),)
    return _plan(kept, [track.query for track in entered], rules)


def settle(
    state: State | None,
    arrival: Arrival,
    looked: Look,
    plan: Plan,
    presence: Mapping[int, float],
    rules: Rules,
) -> State:
    """The state after the frame, given the ``presence`` of every query that was decoded."""
    order = range(rules.queries) if state is None else state.order
    seen = {*looked.queries, *presence}
    return State(
        tracks=tracker.decoded(plan.tracks, presence, rules.settings),
        order=scheduler.after_looks(order, seen),
        stamp_ns=arrival.stamp_ns,
        thumbnail=arrival.thumbnail,
    )


def _restart(state: State | None, arrival: Arrival, rules: Rules) -> Restart | None:
    settings = rules.settings
    if state is None or len(state.order) != rules.queries:
        return Restart.BEGIN
    if state.stamp_ns is not None and arrival.stamp_ns is not None:
        elapsed_ns = arrival.stamp_ns - state.stamp_ns
        if elapsed_ns < 0:
            return Restart.EARLIER
        if elapsed_ns > settings.max_gap_s * 1e9:
            return Restart.GAP
    threshold = settings.scene_change_threshold
    if threshold and difference(state.thumbnail, arrival.thumbnail) > threshold:
        return Restart.SCENE
    return None


def _plan(tracks: tuple[Track, ...], previewed: Collection[int], rules: Rules) -> Plan:
    """Why each is active: previewed in this frame, carried from the last one, or pinned.

    A query that the preview found and that is pinned too is previewed, as without streaming.
    """
    found = frozenset(previewed)
    reasons = dict.fromkeys(rules.pinned, Reason.PINNED)
    reasons |= {track.query: Reason.CARRIED for track in tracks}
    reasons |= {query: Reason.PREVIEWED for query in found if query in reasons}
    return Plan(tracks, dict(sorted(reasons.items())))
