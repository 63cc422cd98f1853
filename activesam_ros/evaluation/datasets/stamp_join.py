"""Join the images and labels of a recording by stamp, or by order, in one pass over both."""

from __future__ import annotations

import dataclasses
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from activesam_ros.errors import RecordingError
from activesam_ros.recordings.recorded_frames import RecordedFrame, Recording

DEFAULT_WINDOW = 64
JOINED_BY_ORDER = (
    "No stamp of the images and labels is set, so the n-th labels are taken for the n-th image."
)
# So many label images without an image say that the topics have different stamps.
_ENOUGH_UNMATCHED = 8


@dataclass(frozen=True, slots=True)
class LabelledFrame:
    """An image and the label image of the same stamp, None if there is none."""

    image: RecordedFrame
    labels: RecordedFrame | None


@dataclass
class StampJoin:
    """Joins frames of two topics by stamp; every image comes out once, in order.

    An image waits for its labels while the next ``window`` images and labels are read, so both
    must be recorded within that distance. Memory holds at most the window. ``unmatched_labels``
    counts labels without an image of the same stamp. by_order: join the n-th image and the n-th
    labels instead.
    """

    image_topic: str
    label_topic: str
    window: int = DEFAULT_WINDOW
    by_order: bool = False
    unmatched_labels: int = field(default=0, init=False)

    def join(self, frames: Iterator[RecordedFrame]) -> Iterator[LabelledFrame]:
        """Pairs in the order of the images."""
        # Both by the position in the stream of frames, with what joins them.
        images: OrderedDict[int, tuple[int, RecordedFrame, RecordedFrame | None]] = OrderedDict()
        labels: OrderedDict[int, tuple[int, RecordedFrame]] = OrderedDict()
        seen: Counter[str] = Counter()
        for place, frame in enumerate(frames):
            key = seen[frame.topic] if self.by_order else frame.stamp_ns
            seen[frame.topic] += 1
            if frame.topic == self.image_topic:
                images[place] = (key, frame, self._take(labels, key))
            elif frame.topic == self.label_topic and not self._give(images, key, frame):
                labels[place] = (key, frame)
            yield from self._ready(images, place)
            while labels and next(iter(labels)) <= place - self.window:
                labels.popitem(last=False)
                self.unmatched_labels += 1
        for _, image, found in images.values():
            yield LabelledFrame(image, found)
        self.unmatched_labels += len(labels)

    def _ready(
        self, images: OrderedDict[int, tuple[int, RecordedFrame, RecordedFrame | None]], place: int
    ) -> Iterator[LabelledFrame]:
        """The oldest images, as long as they have labels or have waited for the whole window."""
        while images:
            came, (_, image, found) = next(iter(images.items()))
            if found is None and came > place - self.window:
                return
            del images[came]
            yield LabelledFrame(image, found)

    @staticmethod
    def _take(
        labels: OrderedDict[int, tuple[int, RecordedFrame]], key: int
    ) -> RecordedFrame | None:
        """Remove and return the oldest waiting labels of that key."""
        for place, (own, frame) in labels.items():
            if own == key:
                del labels[place]
                return frame
        return None

    @staticmethod
    def _give(
        images: OrderedDict[int, tuple[int, RecordedFrame, RecordedFrame | None]],
        key: int,
        labels: RecordedFrame,
    ) -> bool:
        """Give the labels to the oldest waiting image of that key; whether there is one."""
        for place, (own, image, found) in images.items():
            if found is None and own == key:
                images[place] = (own, image, labels)
                return True
        return False


def labels_are_joined_by_order(recording: Recording, image_topic: str, label_topic: str) -> bool:
    """Whether labels and images can be joined by their order alone; False if by stamp.

    By order only if no stamp is set on either topic, no labels were recorded at the time of their
    image, and both topics have the same number of messages. Reads the recording up to the first
    labels that have an image. Raises RecordingError if none can be joined.
    """
    images: list[RecordedFrame] = []
    labels: list[RecordedFrame] = []

    def noted() -> Iterator[RecordedFrame]:
        for frame in recording.frames([image_topic, label_topic]):
            kept = images if frame.topic == image_topic else labels
            kept.append(dataclasses.replace(frame, message=None))
            yield frame

    join = StampJoin(image_topic, label_topic)
    for pair in join.join(noted()):
        if pair.labels is not None:
            return False
        if join.unmatched_labels >= _ENOUGH_UNMATCHED:
            break
    if not labels or not images:
        return False  # nothing can be said of stamps; what is missing is counted
    counts = [recording.message_count([topic]) for topic in (image_topic, label_topic)]
    unset = [
        topic
        for topic, frames in ((image_topic, images), (label_topic, labels))
        if all(frame.stamp_is_log_time for frame in frames)
    ]
    if len(unset) == 2 and counts[0] == counts[1]:
        return True
    first = labels[0]
    nearest = min(images, key=lambda frame: abs(frame.stamp_ns - first.stamp_ns))
    away_s = abs(nearest.stamp_ns - first.stamp_ns) / 1e9
    reason = f"the image nearest to the first labels is {away_s:.3f} s away"
    if unset:
        reason = f"no stamp on {' and '.join(unset)} is set, and the times of recording differ"
    if len(unset) == 2:
        reason += f", as do the numbers of messages ({counts[0]} and {counts[1]})"
    raise RecordingError(
        f"No label image on {label_topic} has the stamp of an image on {image_topic}: {reason}; "
        "give each label image the stamp of its image, or leave --label-topic out."
    )
