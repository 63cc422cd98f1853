"""What a frame's segmentation gives back."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class Reason(enum.IntEnum):
    """Why a class is active; the numbers of ActiveClass.msg."""

    UNPRUNED = 0
    PREVIEWED = 1
    PINNED = 2
    CARRIED = 3


@dataclass(frozen=True, slots=True)
class ActiveClass:
    """A class that was decoded in this frame, or that has pixels in it.

    ``presence`` is the highest presence probability among its decoded queries at full resolution,
    None where none was decoded (a background label written by the calibration).
    """

    id: int
    name: str
    presence: float | None
    pixels: int
    reason: Reason


@dataclass(frozen=True)
class Wanted:
    """Outputs beyond the label map, computed only where asked for."""

    confidence: bool = False
    scores: bool = False


@dataclass(frozen=True)
class Segmentation:
    """One frame's result.

    labels: [H, W] uint8 (all ids up to 255) or uint16; values are class ids.
    presence: per query of the vocabulary the preview's presence probability, None if not previewed.
    active_queries: ascending indices of the decoded queries.
    classes: active classes in vocabulary order.
    timings_ms: wall time per stage, with "total".
    confidence: [H, W] uint8, best class score x 255, where wanted.
    scores: [classes, H, W] float16 class scores in vocabulary order, where wanted.
    """

    labels: NDArray[np.uint8] | NDArray[np.uint16]
    presence: tuple[float | None, ...]
    active_queries: tuple[int, ...]
    classes: tuple[ActiveClass, ...]
    timings_ms: Mapping[str, float]
    confidence: NDArray[np.uint8] | None = None
    scores: NDArray[np.float16] | None = None
