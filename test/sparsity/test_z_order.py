"""The Z curve over grids of any size."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.sparsity.z_order import Curves, z_order

CPU = torch.device("cpu")
SIDES = st.integers(1, 40)


def place(row: int, column: int) -> int:
    """A cell's place on the curve of an unbounded grid, its bits interleaved as text."""
    bits = zip(f"{row:016b}", f"{column:016b}", strict=True)
    return int("".join(r + c for r, c in bits), 2)


@given(height=SIDES, width=SIDES)
def test_cells_come_by_their_interleaved_bits(height: int, width: int) -> None:
    cells = [(row, column) for row in range(height) for column in range(width)]
    expected = [row * width + column for row, column in sorted(cells, key=lambda at: place(*at))]
    assert z_order(height, width, CPU).tolist() == expected


@given(half_height=SIDES, half_width=SIDES)
def test_fours_are_quads_where_both_sides_are_even(half_height: int, half_width: int) -> None:
    width = 2 * half_width
    curve = z_order(2 * half_height, width, CPU).view(-1, 4)
    corner = curve.amin(dim=1, keepdim=True)
    assert torch.equal(curve, corner + torch.tensor([0, 1, width, width + 1]))
    assert (corner % width % 2 == 0).all()
    assert (corner // width % 2 == 0).all()


@pytest.mark.parametrize(("height", "width"), [(72, 72), (48, 48), (24, 24)])
def test_the_grids_of_the_full_size(height: int, width: int) -> None:
    curve = z_order(height, width, CPU)
    assert curve.dtype == torch.int64
    assert torch.equal(curve.sort().values, torch.arange(height * width))
    quadrant = curve[: 16 * 16]  # the curve fills the squares of powers of two one by one
    assert (quadrant // width < 16).all()
    assert (quadrant % width < 16).all()


def test_curves_are_made_once() -> None:
    curves = Curves()
    first = curves.of(5, 7, CPU)
    assert torch.equal(first, z_order(5, 7, CPU))
    assert curves.of(5, 7, CPU) is first
    assert torch.equal(curves.of(7, 5, CPU), z_order(7, 5, CPU))
