"""Segmentation metrics that can be added up over frames; equal to mmsegmentation's IoUMetric.

Class *indices* follow the order of the vocabulary. Label maps hold class *ids*; an :class:`IdMap`
converts them to indices. Values are fractions, NaN if undefined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from activesam_ros.errors import UsageError
from activesam_ros.image_files import LabelMap

IGNORE_INDEX = 255
LABEL_IDS = 1 << 16

_IGNORED = -1


@dataclass(frozen=True)
class IdMap:
    """From the ids of a label map to class indices.

    table: int32 [65536], by id the index of its class, ``class_count`` for an id without a class,
    or -1 for an id whose pixels do not count.
    """

    class_count: int
    table: NDArray[np.int32]

    @classmethod
    def of(
        cls,
        index_of_id: Mapping[int, int],
        class_count: int,
        ignored: Sequence[int] = (),
    ) -> IdMap:
        """The map of ``index_of_id``; ids in ``ignored`` do not count, even with a class.

        Raises UsageError for an id or an index out of range.
        """
        table = np.full(LABEL_IDS, class_count, np.int32)
        for id, index in index_of_id.items():
            if not 0 <= id < len(table) or not 0 <= index < class_count:
                raise UsageError(
                    f"The label id {id} cannot mean class {index}: ids range to {len(table) - 1} "
                    f"and classes to {class_count - 1}."
                )
            table[id] = index
        table[list(ignored)] = _IGNORED
        return cls(class_count, table)

    def indices(self, labels: LabelMap) -> NDArray[np.int32]:
        """int32 of the shape of ``labels``: a class index, class_count, or -1 if ignored."""
        return self.table[labels]


@dataclass(frozen=True)
class ConfusionMatrix:
    """How many pixels labelled with a row's class were predicted as a column's class.

    counts: int64 [classes + 1, classes + 1]; the last row counts labels, and the last column
    predictions, outside the vocabulary.
    """

    counts: NDArray[np.int64]

    @classmethod
    def empty(cls, class_count: int) -> ConfusionMatrix:
        """A matrix of zeros."""
        return cls(np.zeros((class_count + 1, class_count + 1), np.int64))

    @classmethod
    def of(
        cls, labels: LabelMap, prediction: LabelMap, label_ids: IdMap, prediction_ids: IdMap
    ) -> ConfusionMatrix:
        """The matrix of one image; both maps are [H, W].

        Raises UsageError when the shapes differ.
        """
        if labels.shape != prediction.shape:
            raise UsageError(
                f"Labels of shape {labels.shape} cannot be compared with a prediction of shape "
                f"{prediction.shape}; both must have the same size."
            )
        side = label_ids.class_count + 1
        rows = label_ids.indices(labels).reshape(-1)  # [H * W]
        columns = prediction_ids.indices(prediction).reshape(-1)  # [H * W]
        columns = np.where(columns < 0, side - 1, columns)
        valid = rows >= 0
        pairs = rows[valid].astype(np.int64) * side + columns[valid]
        counts = np.bincount(pairs, minlength=side * side).astype(np.int64)  # [side * side]
        return cls(counts.reshape(side, side))

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        return ConfusionMatrix(self.counts + other.counts)

    @property
    def class_count(self) -> int:
        return len(self.counts) - 1

    @property
    def intersection(self) -> NDArray[np.int64]:
        """Correct pixels of each class, int64 [classes]."""
        return np.diagonal(self.counts)[:-1]

    @property
    def label_pixels(self) -> NDArray[np.int64]:
        """Pixels labelled with each class, int64 [classes]."""
        pixels: NDArray[np.int64] = self.counts.sum(axis=1)[:-1]
        return pixels

    @property
    def predicted_pixels(self) -> NDArray[np.int64]:
        """Pixels predicted as each class, int64 [classes]."""
        pixels: NDArray[np.int64] = self.counts.sum(axis=0)[:-1]
        return pixels

    def occurring(self) -> NDArray[np.int32]:
        """Classes that are labelled or predicted in one image, int32 [4, C].

        Their indices, and their labelled, predicted and correct pixels.
        """
        indices = np.flatnonzero(self.label_pixels + self.predicted_pixels)
        pixels = (self.label_pixels, self.predicted_pixels, self.intersection)
        return np.stack([indices, *(counts[indices] for counts in pixels)]).astype(np.int32)

    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each class, float64 [classes].

        NaN for a class that is neither labelled nor predicted.
        """
        union = self.label_pixels + self.predicted_pixels - self.intersection
        return _ratio(self.intersection, union)

    def miou(self) -> float:
        """Mean IoU over the classes that have one."""
        return _mean(self.iou())

    def miou_of_labelled(self) -> float:
        """Mean IoU over the labelled classes."""
        return _mean(self.iou()[self.label_pixels > 0])

    def class_accuracy(self) -> NDArray[np.float64]:
        """Share of correct pixels among the labelled pixels of each class; NaN without pixels."""
        return _ratio(self.intersection, self.label_pixels)

    def mean_class_accuracy(self) -> float:
        """Mean of :meth:`class_accuracy` over the classes that have one."""
        return _mean(self.class_accuracy())

    def pixel_accuracy(self) -> float:
        """Share of correct pixels among all pixels labelled with a class."""
        return share(int(self.intersection.sum()), int(self.label_pixels.sum()))


@dataclass(frozen=True, slots=True)
class Share:
    """``hits`` out of ``total``; shares of several frames are added."""

    hits: int = 0
    total: int = 0

    def __add__(self, other: Share) -> Share:
        return Share(self.hits + other.hits, self.total + other.total)

    @property
    def value(self) -> float:
        return share(self.hits, self.total)


def agreement(first: LabelMap, second: LabelMap) -> Share:
    """The share of pixels with equal labels in two label maps [H, W] of one vocabulary."""
    if first.shape != second.shape:
        raise UsageError(
            f"Label maps of shapes {first.shape} and {second.shape} cannot be compared."
        )
    return Share(int(np.count_nonzero(first == second)), first.size)


def temporal_flicker(previous: LabelMap | None, current: LabelMap) -> Share:
    """The share of pixels whose label differs from that of the same pixel one frame before.

    The first frame, and a frame whose size differs from the one before, give 0 of 0. Motion counts
    as flicker too, so compare methods on one recording, not recordings with each other.
    """
    if previous is None or previous.shape != current.shape:
        return Share()
    return Share(int(np.count_nonzero(previous != current)), current.size)


def presence_recall(
    reference: LabelMap, reference_ids: IdMap, active: Sequence[int], minimum_share: float
) -> Share:
    """How many of the classes visible in a reference label map [H, W] are active.

    A class is visible when it covers more than ``minimum_share`` of the pixels that count.
    active: class indices.
    """
    indices = reference_ids.indices(reference).reshape(-1)
    counted = indices[indices >= 0]
    pixels = np.bincount(counted, minlength=reference_ids.class_count)[: reference_ids.class_count]
    visible = np.flatnonzero(pixels > minimum_share * counted.size)
    return Share(int(np.isin(visible, list(active)).sum()), len(visible))


def share(hits: int, total: int) -> float:
    """``hits / total``, NaN if ``total`` is 0."""
    return hits / total if total else float("nan")


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    result = np.full(len(whole), np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
