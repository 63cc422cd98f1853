"""From decoded queries to class scores and labels at image size (methods.md section 2, decode).

Nothing here grows with classes x pixels: a query's maps are enlarged strip by strip, and of the
classes only the best two scores of each pixel are kept. Queries may come in any order. On a CPU a
map is enlarged only where it can still change something; the result is the same.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from activesam_ros.segmentation.background import Background
from activesam_ros.segmentation.layers import Layers, Running
from activesam_ros.segmentation.score_merge import ScoreMerge
from activesam_ros.segmentation.tiles import TILE, Axis, highest, resized

# Largest number of enlarged values alive at once: 4 million floats are 16 MB.
STRIP_VALUES = 1 << 22
# The same where one map is enlarged on a CPU: what stays in a core's cache.
CACHED_VALUES = 1 << 16
# Most counters of one label.
SPREAD = 1024


class Evidence(NamedTuple):
    """What a query scores: max over n of weights[n] * sigmoid(maps[n]), enlarged.

    maps: logits [n, Hm, Wm]; weights: [n] in 0..1, both float32 or both float64; n may be 0.
    """

    maps: Tensor
    weights: Tensor


def fused_weights(presence: Tensor, probabilities: Tensor) -> Tensor:
    """Semantic and instance evidence, gated by presence; see decode.Weigh."""
    gate = presence[:, None]
    return torch.cat((gate, probabilities * gate), dim=1)


def instance_weights(presence: Tensor, probabilities: Tensor) -> Tensor:
    """Instance evidence alone, without a presence gate on the map; see decode.Weigh."""
    return torch.cat((torch.zeros_like(presence)[:, None], probabilities), dim=1)


def score_map(evidence: Evidence, size: tuple[int, int]) -> Tensor:
    """What the evidence of a query scores at each pixel -> [H, W] in the evidence's dtype."""
    if len(evidence.maps) == 0:
        return evidence.weights.new_zeros(size)
    return _strongest(evidence, *_axes(evidence.maps, size))


def _axes(maps: Tensor, size: tuple[int, int]) -> tuple[Axis, Axis]:
    """How the rows and the columns of maps [n, Hm, Wm] are enlarged to ``size``."""
    height, width = maps.shape[1:]
    dtype = torch.promote_types(maps.dtype, torch.float32)
    return (
        Axis.of(height, size[0], maps.device, dtype),
        Axis.of(width, size[1], maps.device, dtype),
    )


def _strongest(evidence: Evidence, rows: Axis, columns: Axis) -> Tensor:
    maps, weights = evidence
    wide = resized(maps, columns, 0, len(columns), dim=-1)
    step = max(1, STRIP_VALUES // (len(maps) * len(columns)))
    strips = []
    for top in range(0, len(rows), step):
        strip = resized(wide, rows, top, min(top + step, len(rows)), dim=-2).sigmoid_()
        strip.mul_(weights[:, None, None])
        strips.append(strip[0] if len(strip) == 1 else strip.amax(dim=0))
    return strips[0] if len(strips) == 1 else torch.cat(strips)


class ClassScores:
    """The best two class scores of every pixel, and whose the best is.

    A class scores the maximum over its queries; of equal classes the first is best; classes that
    never arrive score 0. ``second`` is kept up where the background rule needs it, else 0.
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
        """``scores``, where given, [classes, H, W] of zeros receives every class's score map.

        recurring: whether a class may come several times; dtype: of the evidence.
        """
        height, width = size
        self._size = size
        self._background = background
        self._scores = scores
        self._recurring = recurring
        self._axes: tuple[tuple[int, ...], Axis, Axis] | None = None
        # Whole tiles; pixels beyond the image score more than anything and so need nothing.
        padded = (-(-height // TILE) * TILE, -(-width // TILE) * TILE)
        self._best = torch.full(padded, torch.inf, dtype=dtype, device=device)
        self._best[:height, :width] = 0.0
        self._second = torch.zeros(
            padded if background.needs_second else (0, 0), dtype=dtype, device=device
        )
        self._index = torch.zeros(padded, dtype=torch.int32, device=device)
        self._settled = np.zeros((padded[0] // TILE, padded[1] // TILE), np.float32)

    @property
    def best(self) -> Tensor:
        """[H, W]."""
        return self._best[: self._size[0], : self._size[1]]

    @property
    def second(self) -> Tensor:
        """[H, W]."""
        if not self._background.needs_second:
            return torch.zeros_like(self.best)
        return self._second[: self._size[0], : self._size[1]]

    @property
    def index(self) -> Tensor:
        """int32 [H, W], the class of the best score."""
        return self._index[: self._size[0], : self._size[1]]

    def settled_below(self, *, labels_only: bool) -> float:
        """Queries that score less everywhere change nothing, if later ones score no more either.

        labels_only: whether ``best`` may change where the label does not.
        """
        rule = self._background
        settled = rule.labels_settled_below if labels_only else rule.settled_below
        return float(settled(self.best, self.second).min())

    def add(self, class_index: int, evidence: Evidence) -> None:
        """Take one query's evidence for the class with this index."""
        if len(evidence.maps) == 0:
            return
        rows, columns = self._between(evidence.maps)
        if self._scores is not None or evidence.maps.device.type != "cpu":
            self._add_everywhere(class_index, _strongest(evidence, rows, columns))
            return
        bounds = highest(evidence.maps, rows, columns).sigmoid() * evidence.weights[:, None, None]
        bounds *= 1 + 1e-6  # a sigmoid need not round as another one does
        for place, bound in enumerate(bounds.numpy()):
            alone = Evidence(evidence.maps[place], evidence.weights[place])
            self._add_where_open(class_index, alone, bound, rows, columns)

    def add_layers(self, classes: Tensor, layers: Layers, merge: ScoreMerge) -> None:
        """Take the layers of queries of the classes int32 [P]; waits only where ``merge`` does."""
        running = Running(self._best, self._second, self._index)
        by_map = functools.partial(self._add_by_map, classes, layers)
        merge(running, classes, layers, self._between(layers.maps[0]), by_map)

    def _add_by_map(self, classes: Tensor, layers: Layers) -> None:
        counts = layers.counts.tolist()
        for query, (class_index, count) in enumerate(zip(classes.tolist(), counts, strict=True)):
            if count == 0:
                continue
            maps = layers.logits(query, count)
            evidence = Evidence(maps, layers.weights[query, :count])
            self._add_everywhere(class_index, _strongest(evidence, *self._between(maps)))

    def _between(self, maps: Tensor) -> tuple[Axis, Axis]:
        grid = tuple(maps.shape[1:])
        if self._axes is None or self._axes[0] != grid:
            self._axes = (grid, *_axes(maps, self._size))
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
        """One map [Hm, Wm] with its weight [], where its bound [tiles, tiles] is not settled."""
        step = max(1, CACHED_VALUES // (TILE * self._best.shape[1]))
        for first in range(0, len(self._settled), step):
            band = slice(first, first + step)
            # Not >=, so that a score that is not a number is taken.
            is_open = np.logical_not(bound[band] < self._settled[band])
            if not is_open.any():
                continue
            down, across = _extent(is_open, axis=1), _extent(is_open, axis=0)
            down = slice(first + down.start, first + down.stop)
            height, width = _pixels(down, self._size[0]), _pixels(across, self._size[1])
            cells = slice(rows.cell_below(height.start), rows.cell_above(height.stop - 1) + 1)
            wide = resized(evidence.maps[cells], columns, width.start, width.stop, dim=-1)
            scored = resized(
                wide, rows, height.start, height.stop, dim=-2, origin=cells.start
            ).sigmoid_()
            scored.mul_(evidence.weights)
            self._take(class_index, scored, height, width)
            self._settle(down, across)

    def _take(self, class_index: int, scored: Tensor, rows: slice, columns: slice) -> None:
        """Merge scores of these pixels; the class may have scored there before."""
        best, index = self._best[rows, columns], self._index[rows, columns]
        wins = (scored == best).logical_and_(index > class_index).logical_or_(scored > best)
        if self._background.needs_second:
            second = self._second[rows, columns]
            # The lower of the two is the runner-up where the class wins, a candidate elsewhere.
            lower = torch.minimum(scored, best).masked_fill_(index == class_index, 0.0)
            torch.maximum(second, lower, out=second)
        torch.maximum(best, scored, out=best)
        index.masked_fill_(wins, class_index)

    def _settle(self, down: slice, across: slice) -> None:
        """Look again at what is settled in these tiles."""
        rows = slice(down.start * TILE, down.stop * TILE)
        columns = slice(across.start * TILE, across.stop * TILE)
        best = self._best[rows, columns]
        settled = self._background.settled_below(
            best, self._second[rows, columns], recurring=self._recurring
        )
        lowest = settled.unflatten(0, (-1, TILE)).amin(dim=1).unflatten(1, (-1, TILE)).amin(dim=2)
        self._settled[down, across] = lowest.numpy()


def _extent(flags: NDArray[np.bool_], axis: int) -> slice:
    """From the first to the last that is set, one is, once ``axis`` is looked through."""
    places = np.flatnonzero(flags.any(axis=axis))
    return slice(int(places[0]), int(places[-1]) + 1)


def _pixels(tiles: slice, pixels: int) -> slice:
    return slice(tiles.start * TILE, min(tiles.stop * TILE, pixels))


def label_pixels(labels: Tensor, highest: int) -> Tensor:
    """How many pixels of ``labels`` (integer [H, W]) carry each of 0..highest, [highest + 1]."""
    if labels.device.type == "cpu":
        return torch.bincount(labels.flatten(), minlength=highest + 1)
    return spread_pixels(labels, highest)


def spread_pixels(labels: Tensor, highest: int) -> Tensor:
    """As label_pixels without waiting for the device, which bincount does.

    Every label has many counters, so that few pixels ask for the same one at once.
    """
    pixels, bins = labels.numel(), highest + 1
    spread = max(1, min(SPREAD, STRIP_VALUES // bins))
    counter = torch.arange(pixels, device=labels.device).remainder_(spread)
    counter += labels.flatten().long() * spread
    counts = torch.zeros(bins * spread, dtype=torch.int32, device=labels.device)
    ones = torch.ones(1, dtype=torch.int32, device=labels.device).expand(pixels)
    return counts.scatter_add_(0, counter, ones).view(bins, spread).sum(dim=1)
