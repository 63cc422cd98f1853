"""The active set of one camera as a state machine: pure functions over frozen dataclasses.

A frame goes through three functions. :func:`choose_preview` says which queries to preview,
:func:`choose_decode` which to decode, and :func:`next_state` gives the state for the next frame.
Nothing else changes the state, so a frame that fails on the way leaves no trace.

A *query* is one name of a class; a class is active while one of its queries is.

Every query is previewed or decoded at least once in ``preview_interval`` frames. ``order`` lists
all queries, longest unseen first. A previewed or decoded query moves to the end. So of Q queries
that are not pinned, at most Q - 1 are before a waiting one, and each frame takes
ceil(Q / preview_interval) from the front.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import islice

from activesam_ros.errors import PlainDataError, RecordingError
from activesam_ros.plain_data import from_json
from activesam_ros.segmentation.active_set import Selection
from activesam_ros.segmentation.result import Reason
from activesam_ros.settings import Settings
from activesam_ros.streaming import tracker
from activesam_ros.streaming.scene_change import SIDE, Thumbnail, difference
from activesam_ros.streaming.tracker import Track


class Restart(enum.Enum):
    """Why the whole vocabulary is previewed and no query is carried over."""

    BEGIN = "first frame"
    EARLIER = "stamp before the last one"
    GAP = "gap between stamps"
    SCENE = "other scene"


@dataclass(frozen=True)
class Rules:
    """What does not change from frame to frame.

    queries: how many there are. pinned: those that are never pruned. selection: what a preview of
    the whole vocabulary keeps.
    """

    settings: Settings
    queries: int
    pinned: frozenset[int]
    selection: Selection


@dataclass(frozen=True)
class StreamState:
    """What is known of a camera after its last frame.

    tracks: the queries that stay active without a pin, ascending. order: all queries, longest
    unseen first. stamp_ns and thumbnail: of the last frame; stamp_ns is None where frames have no
    stamps.
    """

    tracks: tuple[Track, ...]
    order: tuple[int, ...]
    stamp_ns: int | None
    thumbnail: Thumbnail

    def to_text(self) -> str:
        """The state in one line; :meth:`from_text` restores it, every number to its last bit."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_text(cls, text: str) -> StreamState:
        """The state that :meth:`to_text` wrote; raises RecordingError for any other text."""
        try:
            return from_json(text, cls)
        except PlainDataError as error:
            raise RecordingError(
                f"{text[:40]!r} is no state of a stream ({error}); remove what is left of the "
                "interrupted work to begin anew."
            ) from error

    def check(self, queries: int) -> None:
        """Raise RecordingError unless this can be a state of ``queries`` queries."""
        tracked = [track.query for track in self.tracks]
        if (
            sorted(self.order) != list(range(queries))
            or not set(tracked) <= set(self.order)
            or tracked != sorted(set(tracked))
            or len(self.thumbnail) != 3 * SIDE * SIDE
        ):
            raise RecordingError(
                f"The state of a stream does not fit the {queries} queries of the vocabulary; "
                "remove what is left of the interrupted work to begin anew."
            )


@dataclass(frozen=True)
class FrameInfo:
    """What the rules need to know of a new frame; stamp_ns is None where frames have no stamps."""

    stamp_ns: int | None
    thumbnail: Thumbnail


@dataclass(frozen=True)
class PreviewChoice:
    """Queries to preview, ascending; restart: why these are all queries, else None."""

    queries: tuple[int, ...]
    restart: Restart | None


@dataclass(frozen=True)
class DecodeChoice:
    """Queries to decode.

    tracks: the active queries that are not pinned. reasons: of every query to decode, ascending,
    why.
    """

    tracks: tuple[Track, ...]
    reasons: Mapping[int, Reason]

    @property
    def active(self) -> tuple[int, ...]:
        """The queries to decode, ascending."""
        return tuple(self.reasons)


def choose_preview(state: StreamState | None, frame: FrameInfo, rules: Rules) -> PreviewChoice:
    """Which queries to preview in a new frame; ``state`` is None before the first one."""
    restart = _restart(state, frame, rules)
    if state is None or restart is not None:
        return PreviewChoice(tuple(range(rules.queries)), restart)
    decoded = rules.pinned | {track.query for track in state.tracks}
    waiting = (query for query in state.order if query not in decoded)
    return PreviewChoice(tuple(sorted(islice(waiting, slice_size(rules)))), None)


def slice_size(rules: Rules) -> int:
    """How many queries a frame previews that does not restart."""
    return math.ceil((rules.queries - len(rules.pinned)) / rules.settings.preview_interval)


def choose_decode(
    state: StreamState | None,
    preview: PreviewChoice,
    presence: Mapping[int, float],
    selected: Collection[int],
    rules: Rules,
) -> DecodeChoice:
    """Which queries to decode, given the ``presence`` of each previewed query.

    selected: after a full preview, the queries that ``selection`` keeps, so that such a frame
    decodes the same queries as without streaming; else empty.
    """
    if state is None or preview.restart is not None:
        kept = tuple(
            Track(query, presence[query], presence[query])
            for query in sorted(set(selected) - rules.pinned)
        )
        return _with_reasons(kept, selected, rules)
    carried = [track for track in state.tracks if track.query not in rules.pinned]
    entered = tracker.entering(presence, rules.settings)
    kept = tracker.strongest((*carried, *entered), rules.settings)
    if not kept and not rules.pinned:
        best = max(presence, key=lambda query: presence[query])  # something is always decoded
        kept = entered = (Track(best, presence[best], presence[best]),)
    return _with_reasons(kept, [track.query for track in entered], rules)


def next_state(
    state: StreamState | None,
    frame: FrameInfo,
    preview: PreviewChoice,
    decode: DecodeChoice,
    presence: Mapping[int, float],
    rules: Rules,
) -> StreamState:
    """The state after a frame, given the ``presence`` of every decoded query."""
    order = range(rules.queries) if state is None else state.order
    seen = {*preview.queries, *presence}
    return StreamState(
        tracks=tracker.after_decode(decode.tracks, presence, rules.settings),
        order=(*(query for query in order if query not in seen), *sorted(seen)),
        stamp_ns=frame.stamp_ns,
        thumbnail=frame.thumbnail,
    )


def _restart(state: StreamState | None, frame: FrameInfo, rules: Rules) -> Restart | None:
    settings = rules.settings
    if state is None or len(state.order) != rules.queries:
        return Restart.BEGIN
    if state.stamp_ns is not None and frame.stamp_ns is not None:
        elapsed_ns = frame.stamp_ns - state.stamp_ns
        if elapsed_ns < 0:
            return Restart.EARLIER
        if elapsed_ns > settings.max_gap_s * 1e9:
            return Restart.GAP
    threshold = settings.scene_change_threshold
    if threshold and difference(state.thumbnail, frame.thumbnail) > threshold:
        return Restart.SCENE
    return None


def _with_reasons(
    tracks: tuple[Track, ...], previewed: Collection[int], rules: Rules
) -> DecodeChoice:
    """Each active query with its reason: previewed in this frame, carried over, or pinned.

    A pinned query that the preview also keeps counts as previewed, as it does without streaming.
    """
    reasons = dict.fromkeys(rules.pinned, Reason.PINNED)
    reasons |= {track.query: Reason.CARRIED for track in tracks}
    reasons |= {query: Reason.PREVIEWED for query in previewed if query in reasons}
    return DecodeChoice(tracks, dict(sorted(reasons.items())))
