"""The figures of single frames, the source of charts, frames.csv and the gallery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FrameFigures:
    """One method on one frame; fractions and milliseconds, None if undefined.

    place: index of the image in its source. name: its name in the source. stamp_ns: None when
    frames do not follow each other in time. active: ascending indices of the decoded classes.
    miou: over the classes labelled in the frame. flicker: None for the first frame. pixels: int32
    [4, C], for each class that is labelled or predicted its index and its labelled, predicted and
    correct pixels; None without ground truth.
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

    @property
    def score(self) -> float | None:
        """The quality of the frame: mIoU, or agreement with the unpruned method without labels."""
        return self.agreement_with_full if self.miou is None else self.miou


def elapsed_s(figures: Sequence[FrameFigures]) -> list[float] | None:
    """Seconds since the first frame; None when frames do not follow each other in time."""
    stamps_ns = [entry.stamp_ns for entry in figures]
    known = [stamp for stamp in stamps_ns if stamp is not None]
    if not known or len(known) != len(stamps_ns):
        return None
    return [(stamp - known[0]) / 1e9 for stamp in known]
