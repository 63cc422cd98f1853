"""Join the images and labels of a recording by stamp, in one pass over both."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from activesam_ros.recordings.recorded_frames import RecordedFrame

DEFAULT_WINDOW = 64


@dataclass(frozen=True, slots=True)
class LabelledFrame:
    """An image and the label image of the same stamp, None if there is none."""

    image: RecordedFrame
    labels: RecordedFrame | None


@dataclass
class StampJoin:
    """Joins frames of two topics; every image comes out once, in order.

    An image waits for its labels while the next ``window`` images and labels are read, so both
    must be recorded within that distance. Memory holds at most the window. ``unmatched_labels``
    counts labels without an image of the same stamp.
    """

    image_topic: str
    label_topic: str
    window: int = DEFAULT_WINDOW
    unmatched_labels: int = field(default=0, init=False)

    def join(self, frames: Iterator[RecordedFrame]) -> Iterator[LabelledFrame]:
        """Pairs in the order of the images."""
        # Both by the position in the stream of frames.
        images: OrderedDict[int, tuple[RecordedFrame, RecordedFrame | None]] = OrderedDict()
        labels: OrderedDict[int, RecordedFrame] = OrderedDict()
        for place, frame in enumerate(frames):
            if frame.topic == self.image_topic:
                images[place] = (frame, self._take(labels, frame.stamp_ns))
            elif frame.topic == self.label_topic and not self._give(images, frame):
                labels[place] = frame
            yield from self._ready(images, place)
            while labels and next(iter(labels)) <= place - self.window:
                labels.popitem(last=False)
                self.unmatched_labels += 1
        for image, found in images.values():
            yield LabelledFrame(image, found)
        self.unmatched_labels += len(labels)

    def _ready(
        self, images: OrderedDict[int, tuple[RecordedFrame, RecordedFrame | None]], place: int
    ) -> Iterator[LabelledFrame]:
        """The oldest images, as long as they have labels or have waited for the whole window."""
        while images:
            came, (image, found) = next(iter(images.items()))
            if found is None and came > place - self.window:
                return
            del images[came]
            yield LabelledFrame(image, found)

    @staticmethod
    def _take(labels: OrderedDict[int, RecordedFrame], stamp_ns: int) -> RecordedFrame | None:
        """Remove and return the oldest waiting labels of that stamp."""
        for place, frame in labels.items():
            if frame.stamp_ns == stamp_ns:
                return labels.pop(place)
        return None

    @staticmethod
    def _give(
        images: OrderedDict[int, tuple[RecordedFrame, RecordedFrame | None]], labels: RecordedFrame
    ) -> bool:
        """Give the labels to the oldest waiting image of that stamp; whether there is one."""
        for place, (image, found) in images.items():
            if found is None and image.stamp_ns == labels.stamp_ns:
                images[place] = (image, labels)
                return True
        return False
