"""The figures of single frames, the source of charts, frames.csv and the gallery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from activesam_ros.evaluation.scoring.metrics import IdMap
from activesam_ros.image_files import LabelMap


@dataclass(frozen=True, slots=True)
class ConceptChanges:
    """Which pixels of one image get another label by signatures than by the highest score.

    size: number of pixels of the image. moves: int32 [3, n], for each pair of classes the index by
    the highest score, the index by signatures, and the number of pixels. The number of classes
    stands for a label that is no class.
    """

    size: int
    moves: NDArray[np.int32]

    @classmethod
    def of(cls, plain: LabelMap, decoded: LabelMap, ids: IdMap) -> ConceptChanges:
        """From two label maps [H, W]; ids: from labels to class indices."""
        differs = plain != decoded
        pairs = np.stack((ids.indices(plain[differs]), ids.indices(decoded[differs])))  # [2, d]
        moves, pixels = np.unique(pairs, axis=1, return_counts=True)  # [2, n], [n]
        return cls(plain.size, np.vstack((moves, pixels)).astype(np.int32))


@dataclass(frozen=True, slots=True)
class FrameFigures:
    """One method on one frame; fractions and milliseconds, None if undefined.

    place: index of the image in its source. name: its name in the source. stamp_ns: None when
    frames do not follow each other in time. active: ascending indices of the decoded classes.
    miou: over the classes labelled in the frame. flicker: None for the first frame. pixels: int32
    [4, C], for each class that is labelled or predicted its index and its labelled, predicted and
    correct pixels; None without ground truth. admitted: ascending indices of the classes that the
    preview admitted, of which screening left the active ones; None where nothing is screened.
    concepts: what signatures change; None where that was not computed.
    """

    place: int
    name: str
    stamp_ns: int | None
    latency_ms: float
    stages_ms: Mapping[str, float]
    active: tuple[int, ...]
    miou: float | None
    pixel_accuracy: float | None
    agreement_with_full: float | None
    flicker: float | None
    pixels: NDArray[np.int32] | None = field(default=None, compare=False)
    admitted: tuple[int, ...] | None = None
    concepts: ConceptChanges | None = field(default=None, compare=False)

    @property
    def screened_out(self) -> tuple[int, ...] | None:
        """The admitted classes that were not decoded; None where nothing is screened."""
        if self.admitted is None:
            return None
        return tuple(index for index in self.admitted if index not in self.active)

    @property
    def score(self) -> float | None:
        """The quality of the frame: mIoU, or agreement with the unpruned method without labels."""
        return self.agreement_with_full if self.miou is None else self.miou


def class_count(classes: Sequence[int] | None) -> int | None:
    """The number of classes; None where they are not known."""
    return None if classes is None else len(classes)


def elapsed_s(figures: Sequence[FrameFigures]) -> list[float] | None:
    """Seconds since the first frame; None when frames do not follow each other in time."""
    stamps_ns = [entry.stamp_ns for entry in figures]
    known = [stamp for stamp in stamps_ns if stamp is not None]
    if not known or len(known) != len(stamps_ns):
        return None
    return [(stamp - known[0]) / 1e9 for stamp in known]
