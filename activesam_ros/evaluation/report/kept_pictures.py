"""Choose the frames of a run that the report shows, while the run goes on.

Memory is bounded, and the choice does not depend on the parts into which the run is divided.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from activesam_ros.evaluation.report.frame_picture import FramePicture
from activesam_ros.segmentation.methods import Method

FRAMES_EACH = 3
SAMPLE = 32
"""Size of the random sample from which the median frames are taken."""


@dataclass(frozen=True, slots=True)
class FrameGroup:
    """Frames under one title, by place in the source, in the order of the page."""

    title: str
    places: tuple[int, ...]


@dataclass
class KeptPictures:
    """Pictures of the worst and the best frames, and of a random sample, by place.

    A frame that cannot be ranked has the score None; these frames have a sample of their own.
    """

    pictures: dict[int, FramePicture] = field(default_factory=dict)
    scores: dict[int, float | None] = field(default_factory=dict)

    def add(self, place: int, score: float | None, picture: Callable[[], FramePicture]) -> None:
        """Rank a frame. ``picture`` is called only if the frame is kept."""
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

    def groups(self, each: int = FRAMES_EACH) -> tuple[FrameGroup, ...]:
        """The worst, the median and the best frames, no frame twice.

        The median frames are those in the middle of the sample, which is exact for a run of up to
        SAMPLE frames. Without any score: frames at even distances.
        """
        ranked = self._ranked()
        if not ranked:
            places = sorted(self.pictures)
            count = min(3 * each, len(places))
            spread = (places[index * len(places) // count] for index in range(count))
            return (FrameGroup("Frames", tuple(spread)),) if places else ()
        each = min(each, max(1, len(ranked) // 3))
        worst = ranked[:each]
        best = [place for place in self._ranked(-1) if place not in worst][:each]
        sample = self._sample(ranked)
        between = [p for p in ranked if p in sample and p not in worst and p not in best]
        first = max(0, (len(between) - each) // 2)
        named = (("Worst", worst), ("Median", between[first : first + each]), ("Best", best))
        return tuple(FrameGroup(title, tuple(places)) for title, places in named if places)

    def _ranked(self, sign: int = 1) -> list[int]:
        """Places of the frames with a score, the worst first, or the best first with sign -1.

        Of equal scores the earliest comes first.
        """
        scored = [
            (sign * score, place) for place, score in self.scores.items() if score is not None
        ]
        return [place for _, place in sorted(scored)]

    def _sample(self, places: list[int]) -> frozenset[int]:
        return frozenset(sorted(places, key=_lot)[:SAMPLE])

    def _kept(self) -> frozenset[int]:
        ranked = self._ranked()
        unranked = [place for place, score in self.scores.items() if score is None]
        # Twice as many of the best, since equal scores may put the worst among them.
        extremes = frozenset(ranked[:FRAMES_EACH] + self._ranked(-1)[: 2 * FRAMES_EACH])
        return extremes | self._sample(ranked) | self._sample(unranked)

    def _drop_all_but(self, kept: frozenset[int]) -> None:
        """Drop the others for good; later frames cannot bring them back."""
        self.scores = {place: score for place, score in self.scores.items() if place in kept}
        self.pictures = {place: entry for place, entry in self.pictures.items() if place in kept}


def ranking_method(methods: Sequence[Method]) -> Method:
    """The method that ranks the frames: the first one other than the unpruned method."""
    return next((method for method in methods if method is not Method.FULL), methods[0])


@functools.lru_cache(maxsize=1024)
def _lot(place: int) -> bytes:
    """A pseudo-random number for a place, equal in every run."""
    return hashlib.blake2b(str(place).encode(), digest_size=8).digest()
