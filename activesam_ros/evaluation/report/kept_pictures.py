"""The few frames of a run that are worth a picture, kept while the run goes by.

In bounded memory, and the same frames whatever parts the run is divided into.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from activesam_ros.evaluation.report.frame_picture import FramePicture
from activesam_ros.segmentation.baselines import Method

FRAMES_EACH = 3
SAMPLE = 32
"""So many frames are kept by chance; from them come those near the median."""


@dataclass(frozen=True, slots=True)
class FrameGroup:
    """Frames of one kind, by their places in the source, in the order to be shown."""

    title: str
    places: tuple[int, ...]


@dataclass
class KeptPictures:
    """Pictures by place of the worst and best frames, and of a sample of all.

    A frame's score is None where it cannot be ranked; such frames are sampled apart.
    """

    pictures: dict[int, FramePicture] = field(default_factory=dict)
    scores: dict[int, float | None] = field(default_factory=dict)

    def add(self, place: int, score: float | None, picture: Callable[[], FramePicture]) -> None:
        """Take note of a frame; ``picture`` is called only if it is to be kept."""
        self.scores[place] = score
        kept = self._kept()
        if place in kept:
            self.pictures[place] = picture()
        self._drop_all_but(kept)

    def extend(self, later: KeptPictures) -> None:
        """Add the pictures of another part."""
        self.scores |= later.scores
        self.pictures |= later.pictures
        self._drop_all_but(self._kept())

    def choices(self, each: int = FRAMES_EACH) -> tuple[FrameGroup, ...]:
        """The worst, the median and the best frames, no frame twice.

        Median ones are those of the kept that are nearest to the middle of them: exact for a run of
        up to SAMPLE frames. Where no frame has a score, frames spread over the run.
        """
        ranked = self._ranked()
        if not ranked:
            places = sorted(self.pictures)
            count = min(3 * each, len(places))
            spread = (places[index * len(places) // count] for index in range(count))
            return (FrameGroup("Frames", tuple(spread)),) if places else ()
        each = min(each, max(1, len(ranked) // 3))
        worst = ranked[:each]
        best = [place for place in self._best() if place not in worst][:each]
        sample = self._sample(ranked)
        between = [p for p in ranked if p in sample and p not in worst and p not in best]
        first = max(0, (len(between) - each) // 2)
        named = (("Worst", worst), ("Median", between[first : first + each]), ("Best", best))
        return tuple(FrameGroup(title, tuple(places)) for title, places in named if places)

    def _ranked(self) -> list[int]:
        """Places of the frames that have a score, the worst first."""
        scored = [(score, place) for place, score in self.scores.items() if score is not None]
        return [place for _, place in sorted(scored)]

    def _best(self) -> list[int]:
        """The same, the best first; of equal ones the earliest first, as there."""
        scored = [(-score, place) for place, score in self.scores.items() if score is not None]
        return [place for _, place in sorted(scored)]

    def _sample(self, places: list[int]) -> frozenset[int]:
        return frozenset(sorted(places, key=_lot)[:SAMPLE])

    def _kept(self) -> frozenset[int]:
        ranked = self._ranked()
        unranked = [place for place, score in self.scores.items() if score is None]
        # twice as many of the best: the worst may be among them where scores are equal
        extremes = frozenset(ranked[:FRAMES_EACH] + self._best()[: 2 * FRAMES_EACH])
        return extremes | self._sample(ranked) | self._sample(unranked)

    def _drop_all_but(self, kept: frozenset[int]) -> None:
        """What is not kept now would not be kept later either."""
        self.scores = {place: score for place, score in self.scores.items() if place in kept}
        self.pictures = {place: entry for place, entry in self.pictures.items() if place in kept}


def ranking_method(methods: Sequence[Method]) -> Method:
    """The method whose frames are ranked: the first, unless that is the unpruned one."""
    return next((method for method in methods if method is not Method.FULL), methods[0])


@functools.lru_cache(maxsize=1024)
def _lot(place: int) -> bytes:
    """A number drawn for a place, always the same."""
    return hashlib.blake2b(str(place).encode(), digest_size=8).digest()
