"""The streams of several cameras: where each one's state is kept between its frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.segmentation.active_set import select
from activesam_ros.segmentation.result import Reason, Segmentation, Wanted
from activesam_ros.segmentation.segmenter import LABELS_ONLY, Segmenter
from activesam_ros.settings import Settings
from activesam_ros.streaming.scene_change import thumbnail
from activesam_ros.streaming.stream import Arrival, Look, Plan, Rules, State, decide, look, settle


def rules_of(vocabulary: Vocabulary, settings: Settings) -> Rules:
    """What a stream goes by; raises VocabularyError when a pinned name is not in the vocabulary."""
    return Rules(
        settings,
        len(vocabulary.query_class),
        frozenset(vocabulary.pinned_queries(settings.pinned)),
    )


class Streams:
    """The state of every camera; of one vocabulary, while settings may change between frames."""

    def __init__(self) -> None:
        self._states: dict[str, State] = {}

    def chooser(self, camera: str, stamp_ns: int | None, rules: Rules) -> StreamChooser:
        """What chooses the active set of the camera's next frame."""
        return StreamChooser(self._states, camera, stamp_ns, rules)

    def state(self, camera: str) -> State | None:
        """What the camera's frames so far come to, None where there were none."""
        return self._states.get(camera)

    def resume(self, camera: str, state: State) -> None:
        """Let the camera's next frame follow those that ``state`` came of."""
        self._states[camera] = state

    def reset(self) -> None:
        """Let every camera begin anew."""
        self._states.clear()


class StreamChooser:
    """Chooses for one frame; the camera's state changes when the frame is settled."""

    def __init__(
        self, states: dict[str, State], camera: str, stamp_ns: int | None, rules: Rules
    ) -> None:
        """``states`` by camera, of which that of ``camera`` is read and written."""
        self._states = states
        self._camera = camera
        self._state = states.get(camera)
        self._stamp_ns = stamp_ns
        self._rules = rules

    def look(self, pixels: Callable[[], Tensor]) -> tuple[int, ...]:
        """See Chooser."""
        self._arrival = Arrival(self._stamp_ns, thumbnail(pixels()))
        self._look: Look = look(self._state, self._arrival, self._rules)
        return self._look.queries

    def choose(self, presence: Tensor) -> Mapping[int, Reason]:
        """See Chooser."""
        settings = self._rules.settings
        selected: tuple[int, ...] = ()
        if self._look.restart is not None:
            selected = select(
                presence,
                quantile_alpha=settings.quantile_alpha,
                max_active=settings.max_active,
            )
        seen = dict(zip(self._look.queries, presence.tolist(), strict=True))
        self._plan: Plan = decide(self._state, self._look, seen, selected, self._rules)
        return self._plan.reasons

    def settle(self, presence: Mapping[int, float]) -> None:
        """See Chooser."""
        self._states[self._camera] = settle(
            self._state, self._arrival, self._look, self._plan, presence, self._rules
        )


class StreamingSegmenter:
    """Segments the frames of several cameras, each with its own active set over time.

    :meth:`frame` is for the frames of a stream, :meth:`segment` for an image by itself.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._rules = rules_of(segmenter.prompts.vocabulary, segmenter.settings)
        self._streams = Streams()

    def frame(self, camera: str, stamp_ns: int | None) -> StreamedFrame:
        """What segments the camera's next frame; stamp_ns None where frames have no times."""
        return StreamedFrame(self._segmenter, self._streams.chooser(camera, stamp_ns, self._rules))

    def segment(self, image: NDArray[np.uint8], wanted: Wanted = LABELS_ONLY) -> Segmentation:
        """Segment an image of no stream; see Segmenter.segment."""
        return self._segmenter.segment(image, wanted)

    def state(self, camera: str) -> State | None:
        """See Streams.state."""
        return self._streams.state(camera)

    def resume(self, camera: str, state: State) -> None:
        """See Streams.resume."""
        self._streams.resume(camera, state)

    def reset(self) -> None:
        """Let every camera begin anew."""
        self._streams.reset()


def in_time(segmenter: Segmenter, settings: Settings) -> Segmenter | StreamingSegmenter:
    """``segmenter``, made to stream where ``settings``, which are its own, say so."""
    return StreamingSegmenter(segmenter) if settings.streaming else segmenter


class StreamedFrame:
    """Segments one frame of a stream."""

    def __init__(self, segmenter: Segmenter, chooser: StreamChooser) -> None:
        self._segmenter = segmenter
        self._chooser = chooser

    def segment(self, image: NDArray[np.uint8], wanted: Wanted = LABELS_ONLY) -> Segmentation:
        """Segment uint8 RGB [H, W, 3]; see Segmenter.segment."""
        return self._segmenter.segment(image, wanted, self._chooser)
