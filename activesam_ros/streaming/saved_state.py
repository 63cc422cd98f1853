"""A camera's state as text, so that work which was interrupted goes on as if it had not been."""

from __future__ import annotations

import dataclasses
import json

from activesam_ros.errors import RecordingError
from activesam_ros.streaming.stream import State
from activesam_ros.streaming.tracker import Track


def to_text(state: State) -> str:
    """``state`` in one line; :func:`from_text` gives it back, every number to its last bit."""
    return json.dumps(dataclasses.asdict(state))


def from_text(text: str) -> State:
    """What :func:`to_text` was given; raises RecordingError for anything else."""
    try:
        values = json.loads(text)
        return State(
            tracks=tuple(Track(**track) for track in values["tracks"]),
            order=tuple(values["order"]),
            stamp_ns=values["stamp_ns"],
            thumbnail=tuple(values["thumbnail"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise RecordingError(
            f"{text[:40]!r} is no state of a stream ({error!r}); remove what was left of the "
            "interrupted work to begin anew."
        ) from error
