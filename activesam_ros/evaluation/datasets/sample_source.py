"""Where samples come from, so that any part of them can be read in any process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from activesam_ros.errors import RecordingError
from activesam_ros.image_files import LabelMap


@dataclass(frozen=True)
class Sample:
    """An image to segment.

    image: uint8 RGB [H, W, 3]. labels: ground truth ids [H, W], None where there is none.
    stamp_ns: None where samples do not follow each other in time. place: which of its source's
    images it is, from 0; name: what the source calls it.
    """

    image: NDArray[np.uint8]
    labels: LabelMap | None
    stamp_ns: int | None
    place: int
    name: str


@dataclass(frozen=True, slots=True)
class Part:
    """The images with ``start`` <= place < ``stop``; all from ``start`` on where stop is None."""

    start: int
    stop: int | None = None

    def __contains__(self, place: int) -> bool:
        return self.start <= place and (self.stop is None or place < self.stop)

    def __str__(self) -> str:
        if self.stop is None:
            return f"images from {self.start} on"
        return f"images {self.start} to {self.stop - 1}"


@dataclass
class SourceCount:
    """What became of the images of a part.

    problems: how often each kept an image or its labels from being used. first_mismatch: of the
    first image and labels that could be compared in size: None with none, "" where they fit, else
    what is wrong. ended: the source ends within the part; labels_without_image and notes, on the
    whole source, are known from then on.
    """

    images: int = 0
    unusable_images: int = 0
    images_without_labels: int = 0
    stamps_replaced: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    first_mismatch: str | None = None
    ended: bool = False
    labels_without_image: int = 0
    notes: tuple[str, ...] = ()

    def extend(self, later: SourceCount) -> None:
        """Add the count of the part that follows; raises what :meth:`check` raises."""
        self.images += later.images
        self.unusable_images += later.unusable_images
        self.images_without_labels += later.images_without_labels
        self.stamps_replaced += later.stamps_replaced
        self.problems += later.problems
        if self.first_mismatch is None:
            self.first_mismatch = later.first_mismatch
            self.check()
        self.ended = self.ended or later.ended
        self.labels_without_image += later.labels_without_image
        self.notes = tuple(dict.fromkeys(self.notes + later.notes))

    def check(self) -> None:
        """Raise RecordingError where the first labels of all differ in size from their image.

        Then the topics do not belong together. Meant for a count that begins at place 0.
        """
        if self.first_mismatch:
            raise RecordingError(
                f"Wrong pair of topics: {self.first_mismatch}; they must be of one size."
            )


class SampleReader(Protocol):
    """An open source."""

    def samples(self, part: Part, count: SourceCount) -> Iterator[Sample]:
        """The usable images of ``part`` in order; ``count`` is complete when they are through."""
        ...


class SampleSource(Protocol):
    """What samples are read from; can be sent to another process."""

    def open(self) -> SampleReader: ...
