"""A stream's state as text and back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.errors import RecordingError
from activesam_ros.streaming.saved_state import from_text, to_text
from activesam_ros.streaming.stream import State
from activesam_ros.streaming.tracker import Track

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
def test_every_number_comes_back(
    tracks: list[Track], order: list[int], stamp_ns: int | None, thumbnail: list[float]
) -> None:
    state = State(tuple(tracks), tuple(order), stamp_ns, tuple(thumbnail))
    assert from_text(to_text(state)) == state


def test_what_is_no_number_comes_back() -> None:
    state = State((Track(1, math.nan, math.nan),), (1,), None, ())
    (track,) = from_text(to_text(state)).tracks
    assert math.isnan(track.presence)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tracks": [{"query": 1}]}', "null"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(RecordingError, match="no state of a stream"):
        from_text(text)
