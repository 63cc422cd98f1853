"""Cells of a grid along the Z (Morton) curve (methods.md section 4)."""

from __future__ import annotations

import torch
from torch import Tensor


def z_order(height: int, width: int, device: torch.device) -> Tensor:
    """Row-major indices of the cells in the order of the curve, int64 [height * width].

    A cell's place on the curve is its row's and column's bits interleaved, so any four neighbours
    on the curve lie close together in the grid: in a grid with even sides every four from a
    multiple of four on are a 2 x 2 quad.
    """
    rows = _spread(torch.arange(height, device=device), height) * 2
    columns = _spread(torch.arange(width, device=device), width)
    return (rows[:, None] + columns).flatten().argsort()


def _spread(numbers: Tensor, count: int) -> Tensor:
    """Each number below ``count`` with a zero bit before each of its bits."""
    spread = torch.zeros_like(numbers)
    for bit in range(max(count - 1, 0).bit_length()):
        spread |= (numbers >> bit & 1) << 2 * bit
    return spread


class Curves:
    """The curves of the grids met so far, each made once."""

    def __init__(self) -> None:
        self._curves: dict[tuple[int, int, torch.device], Tensor] = {}

    def of(self, height: int, width: int, device: torch.device) -> Tensor:
        """What :func:`z_order` gives."""
        grid = height, width, device
        if grid not in self._curves:
            self._curves[grid] = z_order(*grid)
        return self._curves[grid]
