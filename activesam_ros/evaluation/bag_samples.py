"""From a recording to samples: decoded images with the labels of the same stamp."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from activesam_ros.errors import ImageError, RecordingError
from activesam_ros.evaluation.bags import Frame, Recording
from activesam_ros.evaluation.evaluate import Sample
from activesam_ros.evaluation.frame_pixels import RgbDecoder, label_map
from activesam_ros.evaluation.metrics import LabelMap
from activesam_ros.evaluation.stamp_join import LabelledFrame, StampJoin


@dataclass
class BagSamples:
    """The samples of an image topic, and what became of the frames that gave none.

    label_topic: None to go without ground truth. problems: how often each kept an image or its
    labels from being used. Complete only after :meth:`samples` has run through.
    """

    recording: Recording
    image_topic: str
    label_topic: str | None
    decode: RgbDecoder
    images: int = field(default=0, init=False)
    unusable_images: int = field(default=0, init=False)
    images_without_labels: int = field(default=0, init=False)
    labels_without_image: int = field(default=0, init=False)
    stamps_replaced: int = field(default=0, init=False)
    problems: Counter[str] = field(default_factory=Counter, init=False)

    def samples(self) -> Iterator[Sample]:
        """Every usable image in order.

        Raises RecordingError when the first labels differ in size from their image: then the topics
        do not belong together.
        """
        compared = False
        for pair in self._pairs():
            self.images += 1
            try:
                image = self.decode(pair.image)
            except ImageError as error:
                self.unusable_images += 1
                self.problems[f"{self.image_topic}: {error}"] += 1
                continue
            self.stamps_replaced += pair.image.stamp_is_log_time
            labels = self._labels(pair.labels)
            if labels is not None and labels.shape != image.shape[:2]:
                problem = (
                    f"the labels on {self.label_topic} are {_size(labels.shape)} and the images on "
                    f"{self.image_topic} {_size(image.shape)}"
                )
                if not compared:
                    raise RecordingError(
                        f"Wrong pair of topics: {problem}; they must be of one size."
                    )
                self.problems[problem] += 1
                labels = None
            compared = compared or labels is not None
            self.images_without_labels += self.label_topic is not None and labels is None
            yield Sample(image, labels, pair.image.stamp_ns)

    def _pairs(self) -> Iterator[LabelledFrame]:
        if self.label_topic is None:
            for frame in self.recording.frames([self.image_topic]):
                yield LabelledFrame(frame, None)
            return
        join = StampJoin(self.image_topic, self.label_topic)
        yield from join.join(self.recording.frames([self.image_topic, self.label_topic]))
        self.labels_without_image = join.unmatched_labels

    def _labels(self, frame: Frame | None) -> LabelMap | None:
        if frame is None:
            return None
        try:
            return label_map(frame)
        except ImageError as error:
            self.problems[str(error)] += 1
            return None


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
