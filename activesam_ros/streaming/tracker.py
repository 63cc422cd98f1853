"""Presence over time: which queries stay active, which enter and which leave.

A query enters by one preview. It stays by its own decodes, whose presence is filtered and compared
with a lower threshold, so that noise around one threshold does not switch it on and off.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from activesam_ros.settings import Settings


@dataclass(frozen=True, slots=True)
class Track:
    """An active query.

    presence: filtered presence of its decodes, before the first one that of its preview. latest:
    the last presence, unfiltered. decodes: how many there were. missing: frames in a row without
    evidence.
    """

    query: int
    presence: float
    latest: float
    decodes: int = 0
    missing: int = 0


def entering(previewed: Mapping[int, float], settings: Settings) -> tuple[Track, ...]:
    """Tracks of the inactive queries whose preview is at or above ``enter_threshold``."""
    return tuple(
        Track(query, presence, presence)
        for query, presence in previewed.items()
        if presence >= settings.enter_threshold  # false for NaN
    )


def strongest(tracks: Iterable[Track], settings: Settings) -> tuple[Track, ...]:
    """The ``max_active`` strongest tracks, ascending by query; 0 is no limit.

    A query that was seen in its last preview or decode ranks above one that was not, whatever came
    before: the limit is for what is visible now.
    """
    ranked = sorted(
        tracks,
        key=lambda track: (track.latest < settings.enter_threshold, -track.presence, track.query),
    )
    return tuple(sorted(ranked[: settings.max_active or None], key=lambda track: track.query))


def after_decode(
    tracks: Iterable[Track], presence: Mapping[int, float], settings: Settings
) -> tuple[Track, ...]:
    """The tracks that stay after a frame; ``presence`` is that of each one's decode.

    A track has evidence while its filtered presence is at or above ``leave_threshold``, or the
    decode itself is at or above ``enter_threshold``. It leaves after ``hold_frames`` frames without
    evidence.
    """
    updated = (_updated(track, presence[track.query], settings) for track in tracks)
    return tuple(track for track in updated if track.missing < settings.hold_frames)


def _updated(track: Track, latest: float, settings: Settings) -> Track:
    latest = 0.0 if math.isnan(latest) else latest
    # The first decode replaces the preview's presence, which comes of a smaller image and a shorter
    # prompt.
    filtered = (
        track.presence + settings.presence_gain * (latest - track.presence)
        if track.decodes
        else latest
    )
    evident = filtered >= settings.leave_threshold or latest >= settings.enter_threshold
    return Track(
        query=track.query,
        presence=filtered,
        latest=latest,
        decodes=track.decodes + 1,
        missing=0 if evident else track.missing + 1,
    )
