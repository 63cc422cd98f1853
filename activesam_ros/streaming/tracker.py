"""Presence over time: which queries stay active, which enter and which leave.

A query enters by one look of the preview and stays by its own decode, whose presence is filtered
and compared with a lower threshold, so that noise around one threshold does not switch it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from activesam_ros.settings import Settings


@dataclass(frozen=True, slots=True)
class Track:
    """An active query.

    presence: filtered presence of its decodes, before the first what the preview said; latest: the
    last one unfiltered; decodes: how many there were; missing: frames in a row without evidence.
    """

    query: int
    presence: float
    latest: float
    decodes: int = 0
    missing: int = 0


def entering(looks: Mapping[int, float], settings: Settings) -> tuple[Track, ...]:
    """Tracks of the inactive queries whose preview is at or above ``enter_threshold``."""
    return tuple(
        Track(query, presence, presence)
        for query, presence in looks.items()
        if presence >= settings.enter_threshold  # false for what is not a number
    )


def strongest(tracks: Iterable[Track], settings: Settings) -> tuple[Track, ...]:
    """The ``max_active`` strongest, ascending by query.

    What was seen in the last look or decode goes before what was not, however well it was seen
    before: room belongs to what is visible now.
    """
    ranked = sorted(
        tracks,
        key=lambda track: (track.latest < settings.enter_threshold, -track.presence, track.query),
    )
    return tuple(sorted(ranked[: settings.max_active], key=lambda track: track.query))


def decoded(
    tracks: Iterable[Track], presence: Mapping[int, float], settings: Settings
) -> tuple[Track, ...]:
    """The tracks after a frame in which each was decoded with that presence, less those that leave.

    A track has evidence while its filtered presence is at or above ``leave_threshold``, or the
    decode itself at or above ``enter_threshold``; it leaves after ``hold_frames`` without.
    """
    updated = (_updated(track, presence[track.query], settings) for track in tracks)
    return tuple(track for track in updated if track.missing < settings.hold_frames)


def _updated(track: Track, latest: float, settings: Settings) -> Track:
    latest = 0.0 if math.isnan(latest) else latest
    # The preview's presence is of another kind: smaller image, shorter prompt.
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
