"""Presence over time: entering, filtering, leaving, and room for the strongest."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.settings import Settings
from activesam_ros.streaming.tracker import Track, after_decode, entering, strongest

SETTINGS = Settings(enter_threshold=0.5, leave_threshold=0.2, hold_frames=3, presence_gain=0.5)


def run(values: list[float], settings: Settings = SETTINGS) -> list[Track]:
    """The states of one track that is decoded with ``values``, until it leaves."""
    tracks: tuple[Track, ...] = (Track(0, 0.9, 0.9),)
    states: list[Track] = []
    for value in values:
        tracks = after_decode(tracks, {0: value}, settings)
        states.extend(tracks)
        if not tracks:
            break
    return states


def test_a_query_enters_at_the_threshold_and_not_below() -> None:
    tracks = entering({3: 0.5, 4: 0.49, 5: math.nan, 6: 1.0}, SETTINGS)
    assert [track.query for track in tracks] == [3, 6]


def test_the_first_decode_replaces_what_the_preview_said() -> None:
    assert [track.presence for track in run([0.4, 0.8, 0.0])] == pytest.approx([0.4, 0.6, 0.3])


def test_noise_between_the_thresholds_keeps_a_query() -> None:
    assert len(run([0.6, 0.3, 0.45, 0.21, 0.4, 0.3] * 10)) == 60


def test_a_single_blink_is_filtered() -> None:
    assert [track.missing for track in run([0.9, 0.0, 0.9])] == [0, 0, 0]


def test_a_query_leaves_after_the_frames_it_is_held() -> None:
    assert [track.missing for track in run([0.0] * 10)] == [1, 2]  # and leaves in the third
    assert [track.missing for track in run([0.0, 0.0, 0.6, 0.0, 0.0])] == [1, 2, 0, 1, 2]


def test_a_clear_decode_is_evidence_whatever_came_before() -> None:
    slow = SETTINGS.replace({"presence_gain": 0.01})
    assert [track.missing for track in run([0.0, 0.0, 0.9, 0.9, 0.9, 0.9], slow)][2:] == [0] * 4


def test_what_is_not_a_number_is_no_evidence() -> None:
    assert [track.missing for track in run([math.nan] * 5)] == [1, 2]


@given(
    values=st.lists(st.floats(0, 1), min_size=1, max_size=40),
    gain=st.floats(0.05, 1),
    hold=st.integers(1, 6),
)
def test_a_query_leaves_when_the_plain_recursion_says_so(
    values: list[float], gain: float, hold: int
) -> None:
    settings = SETTINGS.replace({"presence_gain": gain, "hold_frames": hold})
    filtered = values[0]
    without = 0
    stays = 0
    for place, value in enumerate(values):
        filtered = filtered + gain * (value - filtered) if place else value
        without = 0 if filtered >= 0.2 or value >= 0.5 else without + 1
        if without == hold:
            break
        stays += 1
    assert len(run(values, settings)) == stays


def test_room_goes_to_what_is_seen_now_and_then_to_the_strongest() -> None:
    settings = SETTINGS.replace({"max_active": 2})
    fading = Track(0, presence=0.8, latest=0.1, decodes=4)
    weak = Track(1, presence=0.3, latest=0.55, decodes=1)
    strong = Track(2, presence=0.9, latest=0.9, decodes=9)
    assert strongest((fading, weak, strong), settings) == (weak, strong)
    assert strongest((strong, fading), settings) == (fading, strong)
    assert strongest((), settings) == ()
