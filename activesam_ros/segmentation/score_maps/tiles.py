"""Bilinear enlargement from the mask grid to pixels, and upper bounds for tiles of pixels.

Linear interpolation between two values never exceeds the higher one. So the highest logit among the
cells that a tile is interpolated from bounds the logits of all its pixels.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Side of a tile [px].
TILE = 32
# Interpolation rounds, so bounds are raised by this share.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Axis:
    """One side of an image over one side of a mask grid: bilinear, corners not aligned.

    below, above: int64 [pixels], the two cells that each pixel lies between. fraction: float32 or
    float64 [pixels], the weight of ``above``.
    """

    below: Tensor
    above: Tensor
    fraction: Tensor

    @classmethod
    def of(
        cls, cells: int, pixels: int, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> Axis:
        """A side of ``pixels`` pixels over ``cells`` cells, computed on ``device`` in ``dtype``."""
        pixel = torch.arange(pixels, dtype=dtype, device=device)  # [pixels]
        position = ((pixel + 0.5) * (cells / pixels) - 0.5).clamp(min=0)  # [pixels]
        below = position.long().clamp(max=cells - 1)
        above = (below + 1).clamp(max=cells - 1)
        return cls(below, above, position - below)

    @functools.cached_property
    def touched(self) -> Tensor:
        """int64 [tiles, n]: the cells of each tile's pixels, with repetitions."""
        first = self.below[::TILE]  # [tiles]
        ends = torch.arange(len(first), device=first.device).add(1).mul(TILE).sub(1)
        last = self.above[ends.clamp(max=len(self) - 1)]  # [tiles]
        most = int((last - first).max()) + 1
        cells = torch.arange(most, device=first.device)
        return (first[:, None] + cells).minimum(last[:, None])  # [tiles, n]

    def __len__(self) -> int:
        return len(self.below)

    def cell_below(self, pixel: int) -> int:
        """The first of the two cells of a pixel."""
        return int(self.below[pixel])

    def cell_above(self, pixel: int) -> int:
        """The second of the two cells of a pixel."""
        return int(self.above[pixel])


def resized(
    maps: Tensor, axis: Axis, first: int, last: int, *, dim: int, origin: int = 0
) -> Tensor:
    """Enlarge maps along ``dim``, -2 or -1, to the pixels ``first`` to ``last`` (exclusive).

    origin: the grid cell at index 0 of ``maps`` along ``dim``.
    """
    below, above = axis.below[first:last] - origin, axis.above[first:last] - origin
    fraction = axis.fraction[first:last]
    if dim == -2:
        return maps.index_select(dim, below).lerp_(maps.index_select(dim, above), fraction[:, None])
    # On a CPU, along the last dimension, gather is several times as fast as index_select.
    shape = (*maps.shape[:-1], len(below))
    return maps.gather(dim, below.expand(shape)).lerp_(
        maps.gather(dim, above.expand(shape)), fraction
    )


def enlarged(maps: Tensor, rows: Axis, columns: Axis, height: slice, width: slice) -> Tensor:
    """Maps [..., Hm, Wm] at some pixels: [..., height, width]."""
    cells = slice(rows.cell_below(height.start), rows.cell_above(height.stop - 1) + 1)
    wide = resized(maps[..., cells, :], columns, width.start, width.stop, dim=-1)
    return resized(wide, rows, height.start, height.stop, dim=-2, origin=cells.start)


def highest(maps: Tensor, rows: Axis, columns: Axis) -> Tensor:
    """Upper bounds of logits: maps [n, Hm, Wm] -> [n, tile rows, tile columns]."""
    high = maps[:, rows.touched].amax(dim=2)  # [n, tile rows, Wm]
    high = high[:, :, columns.touched].amax(dim=3)  # [n, tile rows, tile columns]
    return high + ROUNDING * high.abs()


def lowest(maps: Tensor, rows: Axis, columns: Axis) -> Tensor:
    """Lower bounds of logits: maps [n, Hm, Wm] -> [n, tile rows, tile columns]."""
    return highest(maps.neg(), rows, columns).neg_()


def extent(flags: NDArray[np.bool_], axis: int) -> slice:
    """Slice from the first to the last row with a set flag; at least one must be set.

    axis: 1 for rows, 0 for columns.
    """
    places = np.flatnonzero(flags.any(axis=axis))
    return slice(int(places[0]), int(places[-1]) + 1)


def pixels_of(tiles: slice, pixels: int) -> slice:
    """The pixels of a slice of tiles, within an image side of ``pixels``."""
    return slice(tiles.start * TILE, min(tiles.stop * TILE, pixels))
