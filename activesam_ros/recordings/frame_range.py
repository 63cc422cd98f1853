"""A part of a recording: from one time to another, and at most so many frames."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from activesam_ros.errors import UsageError
from activesam_ros.recordings.recorded_frames import RecordedFrame

_NANOSECONDS = 1_000_000_000
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class FrameRange:
    """The frames from ``start_s`` to ``end_s``, ``limit`` of each topic; None for no bound.

    Times count from the first image, by the time of recording; both bounds belong to the range.
    Raises UsageError for bounds that no frame can keep.
    """

    start_s: float = 0.0
    end_s: float | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < math.inf:
            raise UsageError(f"--start {self.start_s:g} must be 0 or more seconds.")
        if self.end_s is not None and not self.end_s >= self.start_s:
            raise UsageError(
                f"--end {self.end_s:g} must be at least --start, {self.start_s:g} seconds."
            )
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit {self.limit} must be 1 frame or more.")

    @property
    def is_whole(self) -> bool:
        """Whether it takes every frame."""
        return self == WHOLE

    def expected(self, count: int | None, topics: int = 1) -> int | None:
        """How many of ``count`` frames of so many topics it takes; None when that is unknown."""
        bounded = self.start_s > 0 or self.end_s is not None
        if count is None or bounded:
            return None
        return count if self.limit is None else min(count, self.limit * topics)

    def select(
        self,
        items: Iterable[_Item],
        image_of: Callable[[_Item], RecordedFrame],
        topics: Collection[str],
    ) -> Iterator[_Item]:
        """The items whose image is in the range; ends with the last, without reading further.

        topics: those of the images, which must come in order of recording.
        """
        first_ns: int | None = None
        taken: Counter[str] = Counter()
        for item in items:
            image = image_of(item)
            first_ns = image.log_time_ns if first_ns is None else first_ns
            offset_s = (image.log_time_ns - first_ns) / _NANOSECONDS
            if self.end_s is not None and offset_s > self.end_s:
                return
            if offset_s < self.start_s or taken[image.topic] == self.limit:
                continue
            taken[image.topic] += 1
            yield item
            if all(taken[topic] == self.limit for topic in topics):
                return


WHOLE = FrameRange()
"""Every frame."""
