"""A frame's way through the node, and the vocabulary it is segmented with.

Frames and changes of the vocabulary or the settings take turns: a change happens between two
frames, so no mask mixes two vocabularies and no mask of the old one follows the new one's labels.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from activesam_ros.errors import ActiveSamError
from activesam_ros.node.camera import Frame
from activesam_ros.node.engine import Prompted
from activesam_ros.node.images import Converter, RejectedImageError, compressed_to_rgb, to_rgb
from activesam_ros.node.options import NodeOptions
from activesam_ros.node.statistics import TOO_OLD, FrameStatistics
from activesam_ros.segmentation.result import Segmentation, Wanted


@dataclass(frozen=True)
class Running:
    """What frames are segmented with; ``version`` counts the vocabularies."""

    prompted: Prompted
    version: int
    options: NodeOptions


class Outputs(Protocol):
    """Where results go."""

    def wanted(self) -> Wanted:
        """What somebody listens to."""
        ...

    def publish_result(
        self,
        frame: Frame,
        image: NDArray[np.uint8],
        result: Segmentation,
        running: Running,
    ) -> float:
        """Publish all about one frame; returns the time from receiving it to its mask [ms]."""
        ...

    def publish_vocabulary(self, running: Running) -> None:
        """Tell what labels mean from here on."""
        ...


class TooOldError(ActiveSamError):
    """A frame waited, or travelled, longer than it may."""


class FrameProcessor:
    """Segments frames, one at a time, with what is running."""

    def __init__(
        self,
        running: Running,
        converter: Converter,
        outputs: Outputs,
        statistics: FrameStatistics,
        now_ns: Callable[[], int],
    ) -> None:
        """``now_ns`` is the node's clock, which image stamps are compared with."""
        self._running = running
        self._converter = converter
        self._outputs = outputs
        self._statistics = statistics
        self._now_ns = now_ns
        self._turn = threading.Lock()
        self._last_stamp_ns: int | None = None

    @property
    def running(self) -> Running:
        """What frames are segmented with now."""
        return self._running

    def process(self, frame: Frame) -> None:
        """Segment and publish one frame; raises what makes it unusable."""
        with self._turn:
            running = self._running
            _check_age(frame, self._now_ns(), running.options.max_image_age_ms)
            started = time.monotonic()
            image = self._pixels(frame.message, frame.compressed)
            converted = time.monotonic()
            result = running.prompted.segmenter.segment(image, self._outputs.wanted())
            self._last_stamp_ns = frame.stamp_ns
            segmented = time.monotonic()
            latency_ms = self._outputs.publish_result(frame, image, result, running)
            finished = time.monotonic()
        self._statistics.count_segmented(
            {
                "latency": latency_ms,
                "wait": (started - frame.received_s) * 1e3,
                "convert": (converted - started) * 1e3,
                "segment": (segmented - converted) * 1e3,
                "publish": (finished - segmented) * 1e3,
                **{f"segment.{stage}": value for stage, value in result.timings_ms.items()},
            },
            active_classes=len(result.classes),
        )

    def change(self, running: Running) -> int:
        """Use ``running`` from the next frame on; returns the first stamp it holds for [ns].

        A new vocabulary is published before any mask uses it.
        """
        with self._turn:
            if running.version != self._running.version:
                self._outputs.publish_vocabulary(running)
            self._running = running
            return 0 if self._last_stamp_ns is None else self._last_stamp_ns + 1

    def _pixels(self, message: Any, compressed: bool) -> NDArray[np.uint8]:
        return compressed_to_rgb(message) if compressed else to_rgb(message, self._converter)


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
    if type(error).__name__ == "OutOfMemoryError":
        return "out_of_memory"
    return f"failed_{type(error).__name__}"
