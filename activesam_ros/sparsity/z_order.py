"""The Z (Morton) curve over the cells of a grid (SparseSAM)."""

from __future__ import annotations

import torch
from torch import Tensor


def z_order(height: int, width: int, device: torch.device) -> Tensor:
    """Row-major indices of the cells in the order of the curve, int64 [height * width].

    A cell's place on the curve interleaves the bits of its row and column, so neighbours on the
    curve lie close together in the grid. In a grid with even sides the curve runs through 2 x 2
    quads, four cells each.
    """
    rows = _spread(torch.arange(height, device=device), height) * 2
    columns = _spread(torch.arange(width, device=device), width)
    return (rows[:, None] + columns).flatten().argsort()


def _spread(numbers: Tensor, count: int) -> Tensor:
    """Numbers below ``count`` with a zero bit before each of their bits."""
    spread = torch.zeros_like(numbers)
    for bit in range(max(count - 1, 0).bit_length()):
        spread |= (numbers >> bit & 1) << 2 * bit
    return spread


class Curves:
    """Caches the curve of each grid."""

    def __init__(self) -> None:
        self._curves: dict[tuple[int, int, torch.device], Tensor] = {}

    def of(self, height: int, width: int, device: torch.device) -> Tensor:
        """See :func:`z_order`."""
        grid = height, width, device
        if grid not in self._curves:
            self._curves[grid] = z_order(*grid)
        return self._curves[grid]
