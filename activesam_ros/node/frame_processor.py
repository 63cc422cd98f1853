"""A frame's way through the node, and the vocabulary it is segmented with.

Frames and changes of the vocabulary or the settings take turns: a change happens between two
frames, so no mask mixes two vocabularies and no mask of the old one follows the new one's labels.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from activesam_ros.errors import ActiveSamError
from activesam_ros.node.budget.latency_budget import BudgetState, observe
from activesam_ros.node.budget.memory_retry import BucketSizes, FrameMemoryError, is_out_of_memory
from activesam_ros.node.engine import Mode, Prompted, release_memory
from activesam_ros.node.parameters.options import NodeOptions
from activesam_ros.node.ros.camera import Frame
from activesam_ros.node.statistics import NO_ROOM, TOO_OLD, FrameStatistics
from activesam_ros.recordings.image_encodings import (
    Converter,
    RejectedImageError,
    compressed_to_rgb,
    to_rgb,
)
from activesam_ros.segmentation.active_set import Chooser
from activesam_ros.segmentation.result import Segmentation, Wanted
from activesam_ros.streaming.streams import Streams, rules_of


@dataclass(frozen=True)
class Running:
    """What frames are segmented with; ``version`` counts the vocabularies."""

    prompted: Prompted
    version: int
    options: NodeOptions


@dataclass(frozen=True)
class SegmentedFrame:
    """A frame, its pixels as RGB uint8 [H, W, 3], and what came of it by which means."""

    frame: Frame
    image: NDArray[np.uint8]
    result: Segmentation
    running: Running
    mode: Mode


class Outputs(Protocol):
    """Where results go."""

    def wanted(self, camera: str) -> Wanted:
        """What somebody listens to of a camera."""
        ...

    def publish_result(self, segmented: SegmentedFrame) -> float:
        """Publish all about one frame; returns the time from receiving it to its mask [ms]."""
        ...

    def publish_vocabulary(self, running: Running) -> None:
        """Tell what labels mean from here on."""
        ...

    def drop(self, frame: Frame, error: Exception) -> None:
        """A frame could not be used."""
        ...

    def note(self, text: str) -> None:
        """Something the operator should know of; the frame in work goes on."""
        ...


@dataclass(frozen=True)
class _Work:
    """A frame whose pixels are ready; times on the monotonic clock."""

    frame: Frame
    image: NDArray[np.uint8]
    started_s: float
    converted_s: float


class TooOldError(ActiveSamError):
    """A frame waited, or travelled, longer than it may."""


class NoRoomError(ActiveSamError):
    """With keep_all, more frames wait than there is memory for."""


class FrameProcessor:
    """Segments frames with what is running, one batch at a time."""

    def __init__(
        self,
        running: Running,
        converter: Converter,
        outputs: Outputs,
        statistics: Mapping[str, FrameStatistics],
        now_ns: Callable[[], int],
    ) -> None:
        """``statistics`` by camera; ``now_ns`` is the clock that stamps are compared with."""
        self._running = running
        self._converter = converter
        self._outputs = outputs
        self._statistics = statistics
        self._now_ns = now_ns
        self._turn = threading.Lock()
        self._last_stamp_ns: int | None = None
        self._buckets = BucketSizes()
        self._budget = BudgetState()
        self._streams = Streams()

    @property
    def running(self) -> Running:
        """What frames are segmented with now."""
        return self._running

    @property
    def mode(self) -> Mode:
        """How the next frames are segmented, by the latency budget."""
        modes = self._running.prompted.modes
        return modes[min(self._budget.level, len(modes) - 1)]

    @property
    def bucket_size(self) -> int:
        """How many queries go through the network at once, by the memory there is."""
        return self._buckets.size(self.mode.segmenter.bucket_size)

    def process(self, frames: Sequence[Frame]) -> None:
        """Segment and publish frames of different cameras; drops those that cannot be used."""
        with self._turn:
            running = self._running
            works = [work for frame in frames if (work := self._prepare(frame, running.options))]
            if works:
                self._segment(works, running)

    def change(self, running: Running) -> int:
        """Use ``running`` from the next frame on; returns the first stamp it holds for [ns].

        A new vocabulary is published before any mask uses it.
        """
        with self._turn:
            if running.version != self._running.version:
                self._outputs.publish_vocabulary(running)
                self._streams.reset()  # queries are numbered anew
            self._running = running
            return 0 if self._last_stamp_ns is None else self._last_stamp_ns + 1

    def _prepare(self, frame: Frame, options: NodeOptions) -> _Work | None:
        started_s = time.monotonic()
        try:
            _check_age(frame, self._now_ns(), options.max_image_age_ms)
            if frame.compressed:
                image = compressed_to_rgb(frame.message)
            else:
                image = to_rgb(frame.message, self._converter)
        except Exception as error:  # noqa: BLE001 - one camera's fault is not the others'
            self._outputs.drop(frame, error)
            return None
        return _Work(frame, image, started_s, time.monotonic())

    def _segment(self, works: list[_Work], running: Running) -> None:
        """Segment ``works``; where memory runs out one by one, then with smaller buckets."""
        left = list(works)
        while left:
            error = self._attempt(left, running)
            if error is None:
                return
            if isinstance(error, FrameMemoryError):
                release_memory()
            if len(left) > 1:
                for work in left:
                    self._segment([work], running)
                return
            configured = self.mode.segmenter.bucket_size
            if isinstance(error, FrameMemoryError) and self._buckets.shrink(configured):
                self._outputs.note(
                    f"{error} Trying again with bucket_size {self.bucket_size} instead of "
                    f"{configured}; set bucket_size or resolution lower to have it always."
                )
                continue
            self._outputs.drop(left.pop().frame, error)

    def _attempt(self, left: list[_Work], running: Running) -> Exception | None:
        """Segment and publish ``left``, which keeps what is not done when an error is returned."""
        mode, bucket_size = self.mode, self.bucket_size
        segmenter = mode.segmenter
        if bucket_size != segmenter.bucket_size:
            segmenter = segmenter.with_bucket_size(bucket_size)
        cameras = [work.frame.camera for work in left]
        try:
            results = segmenter.segment_batch(
                [work.image for work in left],
                [self._outputs.wanted(camera) for camera in cameras],
                [self._chooser(work.frame, running, mode) for work in left],
            )
            for result in results:
                work = left[0]
                self._finish(work, SegmentedFrame(work.frame, work.image, result, running, mode))
                left.pop(0)
        except Exception as error:  # noqa: BLE001 - a frame's fault is not the next one's
            if is_out_of_memory(error):
                # Not the error itself: its traceback holds the tensors there is no room for.
                return FrameMemoryError(f"There is no memory for a frame: {error}")
            return error
        return None

    def _chooser(self, frame: Frame, running: Running, mode: Mode) -> Chooser | None:
        """Of the frame's active set, None where a preview of its own decides."""
        vocabulary, settings = running.prompted.vocabulary, mode.level.settings
        if not settings.streaming:
            self._streams.reset()  # a stream does not go on past frames that it has not seen
            return None
        rules = rules_of(vocabulary, settings)
        return self._streams.chooser(frame.camera, frame.stamp_ns, rules)

    def _finish(self, work: _Work, segmented: SegmentedFrame) -> None:
        """Publish and count a frame, and look at its latency."""
        self._last_stamp_ns = work.frame.stamp_ns
        segmented_s = time.monotonic()
        latency_ms = self._outputs.publish_result(segmented)
        published_s = time.monotonic()
        self._buckets.succeeded()
        result = segmented.result
        self._statistics[work.frame.camera].count_segmented(
            {
                "latency": latency_ms,
                "wait": (work.started_s - work.frame.received_s) * 1e3,
                "convert": (work.converted_s - work.started_s) * 1e3,
                "segment": (segmented_s - work.converted_s) * 1e3,
                "publish": (published_s - segmented_s) * 1e3,
                **{f"segment.{stage}": value for stage, value in result.timings_ms.items()},
            },
            active_classes=len(result.classes),
        )
        self._observe(latency_ms, segmented.running)

    def _observe(self, latency_ms: float, running: Running) -> None:
        budget_ms = running.options.max_latency_ms
        before = self._budget.level
        highest = len(running.prompted.modes) - 1
        self._budget = observe(self._budget, latency_ms, budget_ms, highest)
        if self._budget.level != before:
            self._outputs.note(
                f"A frame took {latency_ms:.0f} ms, the latency budget max_latency_ms is "
                f"{budget_ms:g}: from here on {self.mode.level.describe()}."
            )


def _check_age(frame: Frame, now_ns: int, max_age_ms: float) -> None:
    """Raise TooOldError; a stamp in the future has age zero."""
    age_ms = max(now_ns - frame.stamp_ns, 0) / 1e6
    if 0 < max_age_ms < age_ms:
        raise TooOldError(
            f"the image is {age_ms:.0f} ms old, more than max_image_age_ms={max_age_ms:g}; for a "
            "recording set use_sim_time and publish its clock, or set max_image_age_ms to 0."
        )


def drop_cause(error: Exception) -> str:
    """The name under which a dropped frame is counted: the same for every frame of one fault."""
    if isinstance(error, RejectedImageError):
        return error.cause.value
    if isinstance(error, TooOldError):
        return TOO_OLD
    if isinstance(error, NoRoomError):
        return NO_ROOM
    if isinstance(error, FrameMemoryError) or is_out_of_memory(error):
        return "out_of_memory"
    return f"failed_{type(error).__name__}"
