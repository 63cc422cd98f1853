"""What an evaluation reads: samples, in parts that any process can read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from activesam_ros.errors import RecordingError
from activesam_ros.execution.task import Part
from activesam_ros.image_files import LabelMap


@dataclass(frozen=True)
class Sample:
    """An image to segment.

    image: uint8 RGB [H, W, 3]. labels: ground-truth ids [H, W], None without ground truth.
    stamp_ns: None when samples do not follow each other in time. place: index of the image in its
    source. name: its name in the source.
    """

    image: NDArray[np.uint8]
    labels: LabelMap | None
    stamp_ns: int | None
    place: int
    name: str


@dataclass
class SourceCount:
    """What happened to the images of a part.

    problems: how often each problem made an image or its labels unusable. first_mismatch: compares
    the sizes of the first image and labels: None without a pair, "" if they are equal, else a
    description. label_pixels: pixels of each id in the label images. ended: the source ends within
    the part; only then are labels_without_image and notes set, for the whole source.
    """

    images: int = 0
    unusable_images: int = 0
    images_without_labels: int = 0
    stamps_replaced: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    first_mismatch: str | None = None
    label_pixels: Counter[int] = field(default_factory=Counter)
    ended: bool = False
    labels_without_image: int = 0
    notes: tuple[str, ...] = ()

    def extend(self, later: SourceCount) -> None:
        """Add the count of the following part; raises what :meth:`check` raises."""
        self.images += later.images
        self.unusable_images += later.unusable_images
        self.images_without_labels += later.images_without_labels
        self.stamps_replaced += later.stamps_replaced
        self.problems += later.problems
        self.label_pixels += later.label_pixels
        if self.first_mismatch is None:
            self.first_mismatch = later.first_mismatch
            self.check()
        self.ended = self.ended or later.ended
        self.labels_without_image += later.labels_without_image
        self.notes = tuple(dict.fromkeys(self.notes + later.notes))

    def check(self) -> None:
        """Raise RecordingError when the first labels differ in size from their image.

        The topics then do not belong together. Call this on a count that starts at place 0.
        """
        if self.first_mismatch:
            raise RecordingError(
                f"The topics do not match: {self.first_mismatch}; both must have the same size."
            )


class SampleReader(Protocol):
    """Reads the samples of an open source."""

    def samples(self, part: Part, count: SourceCount) -> Iterator[Sample]:
        """The usable images of ``part`` in order; ``count`` is complete after the last."""
        ...


class SampleSource(Protocol):
    """A description of what to read; it can be pickled and sent to another process."""

    def open(self) -> SampleReader: ...
