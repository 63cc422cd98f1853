"""Step 4: fuse the maps of queries into class scores at image size (ActiveSAM).

No tensor has classes x pixels values: the maps of a query are enlarged strip by strip, and each
pixel keeps only its best two class scores. Queries may come in any order. On a CPU a map is
enlarged only where it can still change a score; the result is the same.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from activesam_ros.segmentation.background import Background
from activesam_ros.segmentation.score_maps.kernel_or_loop import ScoreMerge
from activesam_ros.segmentation.score_maps.tiles import (
    TILE,
    Axis,
    enlarged,
    extent,
    highest,
    pixels_of,
    resized,
)
from activesam_ros.segmentation.score_maps.weighted_maps import BestTwo, WeightedMaps

# Most enlarged values in memory at once: 4 million floats are 16 MB.
STRIP_VALUES = 1 << 22
# The same where a CPU enlarges one map: what fits the cache of a core.
CACHED_VALUES = 1 << 16
# Most counters per label.
SPREAD = 1024


class Evidence(NamedTuple):
    """What a query scores at each pixel: max over n of weights[n] * sigmoid(enlarged maps[n]).

    maps: logits [n, Hm, Wm]; weights: [n] in 0..1. Both are float32 or both float64; n may be 0.
    """

    maps: Tensor
    weights: Tensor


def fused_weights(presence: Tensor, probabilities: Tensor) -> Tensor:
    """Weights of semantic and instance evidence, both gated by presence; see decode.Weigh."""
    gate = presence[:, None]  # [K, 1]
    return torch.cat((gate, probabilities * gate), dim=1)  # [K, 1 + Q]


def instance_weights(presence: Tensor, probabilities: Tensor) -> Tensor:
    """Weights of instance evidence alone, without a presence gate; see decode.Weigh."""
    return torch.cat((torch.zeros_like(presence)[:, None], probabilities), dim=1)  # [K, 1 + Q]


def score_map(evidence: Evidence, size: tuple[int, int]) -> Tensor:
    """The score map of a query, [H, W] in the dtype of its evidence."""
    if len(evidence.maps) == 0:
        return evidence.weights.new_zeros(size)
    return _strongest(evidence, *whole_axes(evidence.maps, size))


def whole_axes(maps: Tensor, size: tuple[int, int]) -> tuple[Axis, Axis]:
    """The rows and the columns of an image of ``size`` over maps [n, Hm, Wm]."""
    height, width = maps.shape[1:]
    dtype = torch.promote_types(maps.dtype, torch.float32)
    return (
        Axis.of(height, size[0], maps.device, dtype),
        Axis.of(width, size[1], maps.device, dtype),
    )


def _strongest(evidence: Evidence, rows: Axis, columns: Axis) -> Tensor:
    maps, weights = evidence
    wide = resized(maps, columns, 0, len(columns), dim=-1)  # [n, Hm, W]
    step = max(1, STRIP_VALUES // (len(maps) * len(columns)))
    strips = []
    for top in range(0, len(rows), step):
        strip = resized(wide, rows, top, min(top + step, len(rows)), dim=-2)  # [n, strip, W]
        strip.sigmoid_().mul_(weights[:, None, None])
        strips.append(strip[0] if len(strip) == 1 else strip.amax(dim=0))
    return strips[0] if len(strips) == 1 else torch.cat(strips)


class ClassScores:
    """The best two class scores of every pixel, and the class of the best one.

    A class scores the maximum over its queries. Of classes with equal scores the first is best. A
    class without queries scores 0. ``second`` is 0 unless the background rule needs it.
    """

    def __init__(
        self,
        size: tuple[int, int],
        device: torch.device,
        background: Background,
        scores: NDArray[np.float16] | None = None,
        *,
        recurring: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """scores: zeros [classes, H, W] that receive every class's score map, None if not wanted.

        recurring: whether a class may have several queries. dtype: of the evidence.
        """
        height, width = size
        self._size = size
        self._background = background
        self._scores = scores
        self._recurring = recurring
        self._axes: tuple[tuple[int, ...], Axis, Axis] | None = None
        # Whole tiles. Pixels beyond the image score inf, so that nothing can change them.
        padded = (-(-height // TILE) * TILE, -(-width // TILE) * TILE)
        self._best = torch.full(padded, torch.inf, dtype=dtype, device=device)
        self._best[:height, :width] = 0.0
        self._second = torch.zeros(
            padded if background.needs_second else (0, 0), dtype=dtype, device=device
        )
        self._index = torch.zeros(padded, dtype=torch.int32, device=device)
        # [tile rows, tile columns]: scores below this change nothing in the tile.
        self._settled = np.zeros((padded[0] // TILE, padded[1] // TILE), np.float32)

    @property
    def best(self) -> Tensor:
        """The best class score, [H, W]."""
        return self._best[: self._size[0], : self._size[1]]

    @property
    def second(self) -> Tensor:
        """The second best class score, [H, W]."""
        if not self._background.needs_second:
            return torch.zeros_like(self.best)
        return self._second[: self._size[0], : self._size[1]]

    @property
    def index(self) -> Tensor:
        """The class of the best score, int32 [H, W]."""
        return self._index[: self._size[0], : self._size[1]]

    def settled_below(self, *, labels_only: bool) -> float:
        """If this and all later queries score less at every pixel, none changes the result.

        labels_only: the result is the labels alone; ``best`` may change. Synchronises.
        """
        rule = self._background
        settled = rule.labels_settled_below if labels_only else rule.settled_below
        return float(settled(self.best, self.second).min())

    def add(self, class_index: int, evidence: Evidence) -> None:
        """Merge the evidence of one query of the class with this index."""
        if len(evidence.maps) == 0:
            return
        rows, columns = self._between(evidence.maps)
        if self._scores is not None or evidence.maps.device.type != "cpu":
            self._add_everywhere(class_index, _strongest(evidence, rows, columns))
            return
        bounds = highest(evidence.maps, rows, columns).sigmoid() * evidence.weights[:, None, None]
        bounds *= 1 + 1e-6  # another sigmoid may round otherwise
        for place, bound in enumerate(bounds.numpy()):
            alone = Evidence(evidence.maps[place], evidence.weights[place])
            self._add_where_open(class_index, alone, bound, rows, columns)

    def add_weighted_maps(self, classes: Tensor, maps: WeightedMaps, merge: ScoreMerge) -> None:
        """Merge the maps of P queries of the classes int32 [P]; asynchronous where ``merge`` is."""
        so_far = BestTwo(self._best, self._second, self._index)
        by_map = functools.partial(self._add_by_map, classes, maps)
        merge(so_far, classes, maps, self._between(maps.maps[0]), by_map)

    def _add_by_map(self, classes: Tensor, weighted: WeightedMaps) -> None:
        counts = weighted.counts.tolist()
        for query, (class_index, count) in enumerate(zip(classes.tolist(), counts, strict=True)):
            if count == 0:
                continue
            maps = weighted.logits(query, count)  # [count, Hm, Wm]
            evidence = Evidence(maps, weighted.weights[query, :count])
            self._add_everywhere(class_index, _strongest(evidence, *self._between(maps)))

    def _between(self, maps: Tensor) -> tuple[Axis, Axis]:
        """The axes of the image over maps [n, Hm, Wm], kept while the grid stays."""
        grid = tuple(maps.shape[1:])
        if self._axes is None or self._axes[0] != grid:
            self._axes = (grid, *whole_axes(maps, self._size))
        return self._axes[1:]

    def _add_everywhere(self, class_index: int, scored: Tensor) -> None:
        if self._scores is not None:
            known = self._scores[class_index]
            np.maximum(known, scored.half().cpu().numpy(), out=known)
        self._take(class_index, scored, slice(0, self._size[0]), slice(0, self._size[1]))

    def _add_where_open(
        self,
        class_index: int,
        evidence: Evidence,
        bound: NDArray[np.float32],
        rows: Axis,
        columns: Axis,
    ) -> None:
        """Merge one map [Hm, Wm], with its weight [], in the tiles that it can still change.

        bound: [tile rows, tile columns], the most that the map scores in each tile.
        """
        step = max(1, CACHED_VALUES // (TILE * self._best.shape[1]))
        for first in range(0, len(self._settled), step):
            band = slice(first, first + step)
            # "Not <", so that NaN is merged; ">=" would leave it out.
            is_open = np.logical_not(bound[band] < self._settled[band])
            if not is_open.any():
                continue
            down, across = extent(is_open, axis=1), extent(is_open, axis=0)
            down = slice(first + down.start, first + down.stop)
            height, width = pixels_of(down, self._size[0]), pixels_of(across, self._size[1])
            scored = enlarged(evidence.maps, rows, columns, height, width).sigmoid_()
            scored.mul_(evidence.weights)
            self._take(class_index, scored, height, width)
            self._settle(down, across)

    def _take(self, class_index: int, scored: Tensor, rows: slice, columns: slice) -> None:
        """Merge the scores of these pixels; the class may have scored there before."""
        best, index = self._best[rows, columns], self._index[rows, columns]
        wins = (scored == best).logical_and_(index > class_index).logical_or_(scored > best)
        if self._background.needs_second:
            second = self._second[rows, columns]
            # Where the class wins, the old best may become second; elsewhere its score may.
            lower = torch.minimum(scored, best).masked_fill_(index == class_index, 0.0)
            torch.maximum(second, lower, out=second)
        torch.maximum(best, scored, out=best)
        index.masked_fill_(wins, class_index)

    def _settle(self, down: slice, across: slice) -> None:
        """Update what is settled in these tiles."""
        rows = slice(down.start * TILE, down.stop * TILE)
        columns = slice(across.start * TILE, across.stop * TILE)
        best = self._best[rows, columns]
        settled = self._background.settled_below(
            best, self._second[rows, columns], recurring=self._recurring
        )
        lowest = settled.unflatten(0, (-1, TILE)).amin(dim=1).unflatten(1, (-1, TILE)).amin(dim=2)
        self._settled[down, across] = lowest.numpy()


def label_pixels(labels: Tensor, highest: int) -> Tensor:
    """How many pixels of ``labels``, integer [H, W], carry each of 0..highest: [highest + 1]."""
    if labels.device.type == "cpu":
        return torch.bincount(labels.flatten(), minlength=highest + 1)
    return spread_pixels(labels, highest)


def spread_pixels(labels: Tensor, highest: int) -> Tensor:
    """As label_pixels, but asynchronous: bincount synchronises.

    Each label has several counters, so that few pixels increment the same one at once.
    """
    pixels, bins = labels.numel(), highest + 1
    spread = max(1, min(SPREAD, STRIP_VALUES // bins))
    counter = torch.arange(pixels, device=labels.device).remainder_(spread)  # [H * W]
    counter += labels.flatten().long() * spread
    counts = torch.zeros(bins * spread, dtype=torch.int32, device=labels.device)
    ones = torch.ones(1, dtype=torch.int32, device=labels.device).expand(pixels)
    return counts.scatter_add_(0, counter, ones).view(bins, spread).sum(dim=1)
