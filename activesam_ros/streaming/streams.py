"""Streams of several cameras: each camera's state, and its frames' way through the segmenter."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.segmentation.active_set import Selection
from activesam_ros.segmentation.methods import METHODS, Method
from activesam_ros.segmentation.result import Reason, Segmentation, Wanted
from activesam_ros.segmentation.segmenter import LABELS_ONLY, Segmenter
from activesam_ros.settings import Settings
from activesam_ros.streaming.scene_change import thumbnail
from activesam_ros.streaming.stream import (
    DecodeChoice,
    FrameInfo,
    PreviewChoice,
    Rules,
    StreamState,
    choose_decode,
    choose_preview,
    next_state,
)


def rules_of(vocabulary: Vocabulary, settings: Settings, method: Method) -> Rules:
    """The rules of a stream; raises VocabularyError when a pinned name is not in the vocabulary."""
    steps = METHODS[method]
    settings = steps.resolved(settings)
    if steps.by_presence:
        # The presence that lets a query into a frame lets it into the stream. A query that is below
        # it is screened in vain, so it must not stay either.
        leave = max(settings.tau, settings.leave_threshold)
        settings = settings.replace({"enter_threshold": settings.tau, "leave_threshold": leave})
    return Rules(
        settings,
        len(vocabulary.query_class),
        frozenset(steps.admitted_always(vocabulary, settings)),
        Selection(steps.by_presence, settings),
    )


class Streams:
    """The state of every camera, for one vocabulary; settings may change between frames."""

    def __init__(self) -> None:
        self._states: dict[str, StreamState] = {}

    def chooser(self, camera: str, stamp_ns: int | None, rules: Rules) -> StreamChooser:
        """What chooses the active set of the camera's next frame."""
        return StreamChooser(self._states, camera, stamp_ns, rules)

    def state(self, camera: str) -> StreamState | None:
        """The camera's state, None before its first frame."""
        return self._states.get(camera)

    def resume(self, camera: str, state: StreamState) -> None:
        """Let the camera's next frame follow those that led to ``state``."""
        self._states[camera] = state

    def reset(self) -> None:
        """Let every camera begin anew."""
        self._states.clear()


class StreamChooser:
    """Chooses the active set of one frame; the camera's state changes when the frame is done."""

    def __init__(
        self, states: dict[str, StreamState], camera: str, stamp_ns: int | None, rules: Rules
    ) -> None:
        """``states`` by camera; the entry of ``camera`` is read now and written at the end."""
        self._states = states
        self._camera = camera
        self._state = states.get(camera)
        self._stamp_ns = stamp_ns
        self._rules = rules

    def choose_preview(self, image: NDArray[np.uint8]) -> tuple[int, ...]:
        """See Chooser."""
        self._frame = FrameInfo(self._stamp_ns, thumbnail(image))
        self._preview: PreviewChoice = choose_preview(self._state, self._frame, self._rules)
        return self._preview.queries

    def choose_decode(self, presence: Tensor) -> Mapping[int, Reason]:
        """See Chooser."""
        selected: tuple[int, ...] = ()
        if self._preview.restart is not None:
            selected = self._rules.selection(presence)
        previewed = dict(zip(self._preview.queries, presence.tolist(), strict=True))
        self._decode: DecodeChoice = choose_decode(
            self._state, self._preview, previewed, selected, self._rules
        )
        return self._decode.reasons

    def finish(self, presence: Mapping[int, float]) -> None:
        """See Chooser."""
        self._states[self._camera] = next_state(
            self._state, self._frame, self._preview, self._decode, presence, self._rules
        )


class StreamingSegmenter:
    """Segments the frames of several cameras, each with its own active set over time.

    :meth:`frame` is for the frames of a stream, :meth:`segment` for a single image.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        """The settings of ``segmenter`` hold for the streams too."""
        self._segmenter = segmenter
        self._rules = rules_of(segmenter.prompts.vocabulary, segmenter.settings, segmenter.method)
        self._streams = Streams()

    def frame(self, camera: str, stamp_ns: int | None) -> StreamedFrame:
        """What segments the camera's next frame; stamp_ns is None where frames have no stamps."""
        return StreamedFrame(self._segmenter, self._streams.chooser(camera, stamp_ns, self._rules))

    def segment(self, image: NDArray[np.uint8], wanted: Wanted = LABELS_ONLY) -> Segmentation:
        """Segment an image that belongs to no stream; see Segmenter.segment."""
        return self._segmenter.segment(image, wanted)

    def state(self, camera: str) -> StreamState | None:
        """See Streams.state."""
        return self._streams.state(camera)

    def resume(self, camera: str, state: StreamState) -> None:
        """See Streams.resume; raises RecordingError for a state of another vocabulary."""
        state.check(self._rules.queries)
        self._streams.resume(camera, state)

    def reset(self) -> None:
        """Let every camera begin anew."""
        self._streams.reset()


class StreamedFrame:
    """Segments one frame of a stream."""

    def __init__(self, segmenter: Segmenter, chooser: StreamChooser) -> None:
        self._segmenter = segmenter
        self._chooser = chooser

    def segment(self, image: NDArray[np.uint8], wanted: Wanted = LABELS_ONLY) -> Segmentation:
        """Segment uint8 RGB [H, W, 3]; see Segmenter.segment."""
        return self._segmenter.segment(image, wanted, self._chooser)
