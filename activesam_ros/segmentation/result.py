"""The result of segmenting a frame."""

from __future__ import annotations

import enum
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from activesam_ros.prompts.vocabulary import Vocabulary

_LOG = logging.getLogger(__name__)


class Reason(enum.IntEnum):
    """Why a class is active; the numbers are those of ActiveClass.msg."""

    UNPRUNED = 0
    PREVIEWED = 1
    PINNED = 2
    CARRIED = 3


# Of a class with several active queries the first of these counts.
_REASONS_BY_RANK = (Reason.UNPRUNED, Reason.CARRIED, Reason.PREVIEWED, Reason.PINNED)


@dataclass(frozen=True, slots=True)
class ActiveClass:
    """A class that was decoded in this frame, or that has pixels in it.

    presence: the highest presence probability among its decoded queries at full resolution, None
    where no query was decoded (a background label that the calibration wrote). pixels: how many
    pixels carry its label.
    """

    id: int
    name: str
    presence: float | None
    pixels: int
    reason: Reason


@dataclass(frozen=True)
class Wanted:
    """Outputs beyond the label map, computed only where wanted."""

    confidence: bool = False
    scores: bool = False


@dataclass(frozen=True)
class Segmentation:
    """The result of one frame.

    labels: [H, W] uint8 (if all ids are at most 255) or uint16; values are class ids, and
    background_id.
    preview_presence: per query of the vocabulary its presence in the preview, None if it was not
    previewed.
    active_queries: ascending indices of the decoded queries.
    classes: active classes in vocabulary order.
    timings_ms: time per stage, with "total".
    confidence: [H, W] uint8, best class score x 255, where wanted.
    scores: [classes, H, W] float16, class scores in vocabulary order, where wanted.
    admitted_queries: ascending indices of the queries that were screened, of which the active ones
    were decoded; empty where nothing is screened.
    background_id: the label of background pixels, None if there can be none.
    """

    labels: NDArray[np.uint8] | NDArray[np.uint16]
    preview_presence: tuple[float | None, ...]
    active_queries: tuple[int, ...]
    classes: tuple[ActiveClass, ...]
    timings_ms: Mapping[str, float]
    confidence: NDArray[np.uint8] | None = None
    scores: NDArray[np.float16] | None = None
    admitted_queries: tuple[int, ...] = ()
    background_id: int | None = None

    @property
    def presence(self) -> tuple[float | None, ...]:
        """The old name of ``preview_presence``; logs a deprecation."""
        _LOG.warning("Segmentation.presence is deprecated; read preview_presence.")
        return self.preview_presence


def active_classes(
    vocabulary: Vocabulary,
    reasons: Mapping[int, Reason],
    presence: Mapping[int, float],
    pixels: Sequence[int],
) -> tuple[ActiveClass, ...]:
    """The active classes of a frame, in vocabulary order.

    reasons, presence: of every decoded query. pixels: how many pixels each class has.
    """
    best: dict[int, float] = {}
    found: dict[int, list[Reason]] = {}
    for query, reason in reasons.items():
        index = vocabulary.query_class[query]
        best[index] = max(best.get(index, 0.0), presence[query])
        found.setdefault(index, []).append(reason)
    return tuple(
        ActiveClass(
            id=entry.id,
            name=entry.name,
            presence=best.get(index),
            pixels=pixels[index],
            reason=min(found.get(index, [Reason.UNPRUNED]), key=_REASONS_BY_RANK.index),
        )
        for index, entry in enumerate(vocabulary.classes)
        if index in best or pixels[index]
    )
