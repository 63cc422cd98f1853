"""What happens to a frame between the worker and its mask: convert, segment, publish, count.

A lock keeps changes and frames apart: a change of vocabulary or parameters waits for the current
batch, which is one frame unless ``camera_batch`` is above 1. So no mask mixes two vocabularies, and
once a new vocabulary is published no mask of the old one follows.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from activesam_ros.allocator import HugeImages
from activesam_ros.node.budget.degradation import BudgetLevel
from activesam_ros.node.budget.latency_budget import BudgetState, observe
from activesam_ros.node.budget.out_of_memory import BucketSizes, FrameMemoryError, is_out_of_memory
from activesam_ros.node.dropped_frames import FrameReporter, check_age
from activesam_ros.node.engine import CompiledVocabulary, release_memory
from activesam_ros.node.parameters.options import NodeParameters
from activesam_ros.node.ros.camera import Camera, CameraFrame
from activesam_ros.node.ros.publishers import active_classes_message
from activesam_ros.recordings.compressed_images import compressed_to_rgb
from activesam_ros.recordings.image_encodings import Converter, to_rgb
from activesam_ros.segmentation.active_set import Chooser
from activesam_ros.segmentation.methods import Method
from activesam_ros.segmentation.result import Segmentation
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.streaming.streams import Streams, rules_of


@dataclass(frozen=True)
class VocabularyInUse:
    """The vocabulary in use and the parameters it is used with; ``version`` counts vocabularies."""

    compiled: CompiledVocabulary
    version: int
    parameters: NodeParameters


@dataclass(frozen=True)
class _ConvertedFrame:
    """A frame with its image, uint8 RGB [H, W, 3]; times are on the monotonic clock [s]."""

    frame: CameraFrame
    image: NDArray[np.uint8]
    started_s: float
    converted_s: float


class FrameProcessor:
    """Segments frames with the vocabulary in use and publishes them, one batch at a time."""

    def __init__(
        self,
        in_use: VocabularyInUse,
        converter: Converter,
        cameras: Mapping[str, Camera],
        reporter: FrameReporter,
        publish_vocabulary: Callable[[VocabularyInUse], None],
        now_ns: Callable[[], int],
    ) -> None:
        """``cameras`` by name; ``now_ns`` is the clock that stamps are compared with."""
        self._in_use = in_use
        self._converter = converter
        self._cameras = cameras
        self._reporter = reporter
        self._publish_vocabulary = publish_vocabulary
        self._now_ns = now_ns
        self._between_frames = threading.Lock()
        self._highest_stamp_ns: int | None = None  # of all published masks
        self._buckets = BucketSizes()
        self._budget = BudgetState()
        self._streams = Streams()
        self._huge = HugeImages()

    @property
    def in_use(self) -> VocabularyInUse:
        """What frames are segmented with now."""
        return self._in_use

    @property
    def level(self) -> BudgetLevel:
        """The level of the latency budget at which the next frames are segmented."""
        level, _ = self._level_and_segmenter(self._in_use)
        return level

    @property
    def bucket_size(self) -> int:
        """How many queries go through the network at once in the next frames."""
        _, segmenter = self._level_and_segmenter(self._in_use)
        return self._buckets.size(segmenter.bucket_size)

    def process(self, frames: Sequence[CameraFrame]) -> None:
        """Segment and publish frames of different cameras; drop those that cannot be used."""
        with self._between_frames:
            in_use = self._in_use
            parameters = in_use.parameters
            converted = [one for frame in frames if (one := self._convert(frame, parameters))]
            if converted:
                self._segment(converted, in_use)

    def change(self, in_use: VocabularyInUse) -> int:
        """Use ``in_use`` from the next frame on; returns a stamp that divides the masks [ns].

        No mask of this stamp or a later one was made before; 0 if there is no mask yet. A
        vocabulary of another version, or with another label of the background, is published first.
        """
        with self._between_frames:
            before = self._in_use
            changes_version = in_use.version != before.version
            if changes_version or in_use.compiled.background_id != before.compiled.background_id:
                self._publish_vocabulary(in_use)
            if changes_version:
                self._streams.reset()  # the states hold query numbers of the old vocabulary
            self._in_use = in_use
            return 0 if self._highest_stamp_ns is None else self._highest_stamp_ns + 1

    def drop(self, frame: CameraFrame, error: Exception) -> None:
        """Count and log a frame that gets no mask because of ``error``."""
        self._reporter.drop(frame.camera, error)

    def _level_and_segmenter(self, in_use: VocabularyInUse) -> tuple[BudgetLevel, Segmenter]:
        levels = in_use.compiled.levels
        place = min(self._budget.level, len(levels) - 1)
        return levels[place], in_use.compiled.segmenters[place]

    def _convert(self, frame: CameraFrame, parameters: NodeParameters) -> _ConvertedFrame | None:
        started_s, settings = time.monotonic(), parameters.settings
        to_pixels = compressed_to_rgb if frame.compressed else to_rgb
        try:
            check_age(frame.stamp_ns, self._now_ns(), parameters.options.max_image_age_ms)
            image = to_pixels(
                frame.message, self._converter, settings.bit_depth, settings.max_image_pixels
            )
        except Exception as error:  # noqa: BLE001 - the other cameras' frames are segmented
            self.drop(frame, error)
            return None
        self._huge.next_image(image.shape[0] * image.shape[1], frame.camera)
        return _ConvertedFrame(frame, image, started_s, time.monotonic())

    def _segment(self, frames: Sequence[_ConvertedFrame], in_use: VocabularyInUse) -> None:
        """Segment and publish frames; after a fault try the rest one by one.

        A single frame without memory is tried again with smaller buckets.
        """
        pending = list(frames)
        while pending:
            error = self._attempt(pending, in_use)
            if error is None:
                return
            if isinstance(error, FrameMemoryError):
                release_memory()
            if len(pending) > 1:
                for one in pending:
                    self._segment([one], in_use)
                return
            _, segmenter = self._level_and_segmenter(in_use)
            configured = segmenter.bucket_size
            if isinstance(error, FrameMemoryError) and self._buckets.shrink(configured):
                self._reporter.warn(
                    f"{error} It is tried again with bucket_size {self.bucket_size} instead of "
                    f"{configured}. Set bucket_size or resolution lower to avoid this."
                )
                continue
            self.drop(pending.pop().frame, error)

    def _attempt(self, pending: list[_ConvertedFrame], in_use: VocabularyInUse) -> Exception | None:
        """Segment ``pending`` and publish each frame as soon as its result is there.

        Returns the error that ended it, if any; ``pending`` then holds the frames without result.
        """
        level, segmenter = self._level_and_segmenter(in_use)
        bucket_size = self._buckets.size(segmenter.bucket_size)
        if bucket_size != segmenter.bucket_size:
            segmenter = segmenter.with_bucket_size(bucket_size)
        try:
            results = segmenter.segment_batch(
                [one.image for one in pending],
                [self._cameras[one.frame.camera].publishers.wanted() for one in pending],
                [self._chooser(one.frame, in_use, level) for one in pending],
            )
            for result in results:
                self._publish(pending.pop(0), result, in_use, level)
        except Exception as error:  # noqa: BLE001 - the next frame may be fine
            if is_out_of_memory(error):
                # Not the error itself: its traceback keeps tensors alive.
                return FrameMemoryError(f"There is not enough memory for a frame: {error}")
            return error
        return None

    def _chooser(
        self, frame: CameraFrame, in_use: VocabularyInUse, level: BudgetLevel
    ) -> Chooser | None:
        """The frame's chooser; None to preview the whole vocabulary for this frame."""
        if not level.settings.streaming:
            self._streams.reset()  # later frames must not continue a stream that missed this frame
            return None
        method = Method(in_use.parameters.options.method)
        rules = rules_of(in_use.compiled.vocabulary, level.settings, method)
        return self._streams.chooser(frame.camera, frame.stamp_ns, rules)

    def _publish(
        self,
        converted: _ConvertedFrame,
        result: Segmentation,
        in_use: VocabularyInUse,
        level: BudgetLevel,
    ) -> None:
        """Publish the mask, then everything beside it, and count the frame.

        A frame whose mask is out is segmented, whatever fails after that; raises no error.
        """
        frame, header = converted.frame, converted.frame.message.header
        camera = self._cameras[frame.camera]
        publishers = camera.publishers
        height, width = result.labels.shape
        vocabulary, options = in_use.compiled.vocabulary, in_use.parameters.options
        segmented_s = time.monotonic()
        try:
            publishers.publish_mask(header, result.labels)
        except Exception as error:  # noqa: BLE001 - the next frame may be fine
            self.drop(frame, error)
            return
        latency_ms = (time.monotonic() - frame.received_s) * 1e3
        if self._highest_stamp_ns is None or frame.stamp_ns > self._highest_stamp_ns:
            self._highest_stamp_ns = frame.stamp_ns
        with self._reporter.output_beside_mask(frame.camera, "camera_info"):
            info = camera.camera_info(frame.stamp_ns, width, height)
            publishers.publish_camera_info(header, info)
        with self._reporter.output_beside_mask(frame.camera, "compressed_mask"):
            publishers.publish_compressed_mask(header, result.labels)
        with self._reporter.output_beside_mask(frame.camera, "confidence"):
            publishers.publish_confidence(header, result.confidence)
        with self._reporter.output_beside_mask(frame.camera, "active_classes"):
            publishers.publish_active_classes(
                active_classes_message(
                    header, result, vocabulary, in_use.version, latency_ms, level.step
                )
            )
        with self._reporter.output_beside_mask(frame.camera, "overlay"):
            publishers.publish_overlay(header, converted.image, result.labels, vocabulary, options)
        published_s = time.monotonic()
        self._buckets.succeeded()
        camera.statistics.count_segmented(
            {
                "latency": latency_ms,
                "wait": (converted.started_s - frame.received_s) * 1e3,
                "convert": (converted.converted_s - converted.started_s) * 1e3,
                "segment": (segmented_s - converted.converted_s) * 1e3,
                "publish": (published_s - segmented_s) * 1e3,
                **{f"segment.{stage}": value for stage, value in result.timings_ms.items()},
            },
            active_classes=len(result.classes),
        )
        self._observe_latency(latency_ms, in_use)

    def _observe_latency(self, latency_ms: float, in_use: VocabularyInUse) -> None:
        """Let the latency budget take a step, or take one back, and log it."""
        budget_ms = in_use.parameters.options.max_latency_ms
        before = self._budget.level
        highest = len(in_use.compiled.levels) - 1
        self._budget = observe(self._budget, latency_ms, budget_ms, highest)
        if self._budget.level != before:
            self._reporter.warn(
                f"A frame took {latency_ms:.0f} ms and the latency budget max_latency_ms is "
                f"{budget_ms:g}. From here on {self.level.describe()}."
            )
