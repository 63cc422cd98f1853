"""Read samples from a recording: decoded images with the labels of the same stamp."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from activesam_ros.errors import ImageError
from activesam_ros.evaluation.datasets.sample_source import Sample, SourceCount
from activesam_ros.evaluation.datasets.stamp_join import LabelledFrame, StampJoin
from activesam_ros.execution.task import Part
from activesam_ros.image_files import FULL_BIT_DEPTH, MAX_IMAGE_PIXELS, LabelMap
from activesam_ros.recordings.formats.decompression import DEFAULT_MAX_MESSAGE_MIB
from activesam_ros.recordings.frame_pixels import RgbDecoder, label_map, rgb_decoder
from activesam_ros.recordings.frame_range import WHOLE, FrameRange
from activesam_ros.recordings.recorded_frames import RecordedFrame, Recording, open_recording


@dataclass(frozen=True)
class BagSource:
    """An image topic of a recording.

    label_topic: None without ground truth. by_order: join images and labels by their order, since
    no stamp is set. bit_depth, max_pixels: as in Settings. range: the images to evaluate.
    max_message_mib: as in Recording.
    """

    path: Path
    image_topic: str
    label_topic: str | None
    by_order: bool = False
    bit_depth: int = FULL_BIT_DEPTH
    range: FrameRange = WHOLE
    max_pixels: int = MAX_IMAGE_PIXELS
    max_message_mib: int = DEFAULT_MAX_MESSAGE_MIB

    def open(self) -> BagReader:
        """Raises RecordingError, or MissingDependencyError without an image decoder."""
        decode = rgb_decoder(self.bit_depth, self.max_pixels)
        return BagReader(self, open_recording(self.path, self.max_message_mib), decode)


class BagReader:
    """Reads the samples of a recording, part by part.

    Parts in rising order are read in one pass. An earlier part starts a new pass, because images
    can be counted only by reading them.
    """

    def __init__(self, source: BagSource, recording: Recording, decode: RgbDecoder) -> None:
        self._source = source
        self._recording = recording
        self._decode = decode
        self._pairs: Iterator[LabelledFrame] | None = None
        self._join: StampJoin | None = None
        self._place = 0

    def samples(self, part: Part, count: SourceCount) -> Iterator[Sample]:
        """The usable images of ``part`` in order.

        Raises RecordingError when the first labels differ in size from their image.
        """
        if self._pairs is None or part.start < self._place:
            self._begin()
        assert self._pairs is not None
        while part.stop is None or self._place < part.stop:
            pair = next(self._pairs, None)
            if pair is None:
                self._end(part, count)
                return
            place = self._place
            self._place += 1
            if place in part:
                sample = self._sample(pair, place, count)
                if part.start == 0:
                    count.check()
                if sample is not None:
                    yield sample

    def _begin(self) -> None:
        image_topic, label_topic = self._source.image_topic, self._source.label_topic
        self._place = 0
        self._join = None
        if label_topic is None:
            frames = self._recording.frames([image_topic])
            pairs: Iterator[LabelledFrame] = (LabelledFrame(frame, None) for frame in frames)
        else:
            self._join = StampJoin(image_topic, label_topic, by_order=self._source.by_order)
            pairs = self._join.join(self._recording.frames([image_topic, label_topic]))
        self._pairs = self._source.range.select(pairs, lambda pair: pair.image, [image_topic])

    def _end(self, part: Part, count: SourceCount) -> None:
        count.ended = True
        if part.start <= self._place:  # false for a part entirely beyond the end
            count.notes = self._recording.notes
            count.labels_without_image = self._join.unmatched_labels if self._join else 0

    def _sample(self, pair: LabelledFrame, place: int, count: SourceCount) -> Sample | None:
        image_topic, label_topic = self._source.image_topic, self._source.label_topic
        count.images += 1
        try:
            image = self._decode(pair.image)
        except ImageError as error:
            count.unusable_images += 1
            count.problems[f"{image_topic}: {error}"] += 1
            return None
        count.stamps_replaced += pair.image.stamp_is_log_time
        labels = _labels(pair.labels, count, self._source.max_pixels)
        if labels is not None:
            mismatch = ""
            if labels.shape != image.shape[:2]:
                mismatch = (
                    f"the labels on {label_topic} are {_size(labels.shape)} and the images on "
                    f"{image_topic} {_size(image.shape)}"
                )
                count.problems[mismatch] += 1
                labels = None
            if count.first_mismatch is None:
                count.first_mismatch = mismatch
        count.images_without_labels += label_topic is not None and labels is None
        if labels is not None:
            ids, pixels = np.unique(labels, return_counts=True)
            count.label_pixels.update(dict(zip(ids.tolist(), pixels.tolist(), strict=True)))
        return Sample(image, labels, pair.image.stamp_ns, place, image_topic)


def _labels(frame: RecordedFrame | None, count: SourceCount, max_pixels: int) -> LabelMap | None:
    if frame is None:
        return None
    try:
        return label_map(frame, max_pixels)
    except ImageError as error:
        count.problems[str(error)] += 1
        return None


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
