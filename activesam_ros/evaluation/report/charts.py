"""Geometry of the report's charts: SVG paths in a unit box, stretched to whatever width there is.

x runs from 0 to 100, y from 0 at the top to 100; axis labels are text beside the drawing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LOG_FROM_RATIO = 8.0
MAX_COLUMNS = 480
HISTOGRAM_BINS = 48


@dataclass(frozen=True, slots=True)
class Tick:
    """An axis label and where it stands, 0 to 100 per cent of the axis."""

    position: float
    text: str


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to 0..1, linear or logarithmic."""

    low: float
    high: float
    logarithmic: bool

    @classmethod
    def of(cls, values: Sequence[float], from_zero: bool) -> Scale:
        """A scale that holds ``values``; logarithmic where they spread LOG_FROM_RATIO and more."""
        low, high = min(values), max(values)
        if low > 0 and high / low >= LOG_FROM_RATIO:
            return cls(low / 1.1, high * 1.1, True)
        low = 0.0 if from_zero else low
        return cls(low, high if high > low else low + 1.0, False)

    def __call__(self, value: float) -> float:
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, unit: str = "") -> list[Tick]:
        """Round numbers along the axis, three to seven of them."""
        values = _decades(self.low, self.high) if self.logarithmic else []
        if len(values) < 3:
            values = _steps(self.low, self.high)
        texts = [f"{value:g}" for value in values]
        suffix = f" {unit}" if unit else ""
        return [
            Tick(round(self(value) * 100, 3), text + (suffix if place == len(values) - 1 else ""))
            for place, (value, text) in enumerate(zip(values, texts, strict=True))
        ]


def line_path(xs: Sequence[float], ys: Sequence[float], x_scale: Scale, y_scale: Scale) -> str:
    """A line through the points; of many, the highest of each of MAX_COLUMNS columns."""
    points = [(x_scale(x) * 100, 100 - y_scale(y) * 100) for x, y in zip(xs, ys, strict=True)]
    highest: dict[int, tuple[float, float]] = {}
    for x, y in points:
        column = int(x / 100 * MAX_COLUMNS)
        if column not in highest or y < highest[column][1]:
            highest[column] = (x, y)
    kept = points if len(points) <= MAX_COLUMNS else [highest[c] for c in sorted(highest)]
    if len(kept) == 1:
        kept = [(0.0, kept[0][1]), (100.0, kept[0][1])]
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in kept)


def histogram_path(values: Sequence[float], scale: Scale) -> str:
    """Bars of the share of ``values`` in each bin, the tallest as high as the box."""
    bins = [0] * HISTOGRAM_BINS
    for value in values:
        bins[min(int(scale(value) * HISTOGRAM_BINS), HISTOGRAM_BINS - 1)] += 1
    tallest, width = max(bins), 100 / HISTOGRAM_BINS
    return "".join(
        f"M{place * width + 0.15:.2f} 100v{-count / tallest * 100:.2f}h{width - 0.3:.2f}V100z"
        for place, count in enumerate(bins)
        if count
    )


def strip_paths(active: Sequence[tuple[int, ...]], edges: Sequence[float]) -> dict[int, str]:
    """For each class that is ever active a path of bars over the frames it is active in.

    active: of each frame the class indices. edges: where frames begin and the last one ends, 0 to
    100. Of many frames neighbours share a column, which shows a class active in any of them.
    """
    columns = min(len(active), MAX_COLUMNS)
    members: list[set[int]] = [set() for _ in range(columns)]
    lefts = [0.0] * columns
    for frame in reversed(range(len(active))):
        column = frame * columns // len(active)
        members[column].update(active[frame])
        lefts[column] = edges[frame]
    bounds = [*lefts, edges[-1]]
    paths: dict[int, str] = {}
    for index in sorted(set().union(*members)) if members else []:
        begin: int | None = None
        path = ""
        for column in range(columns + 1):
            inside = column < columns and index in members[column]
            if inside and begin is None:
                begin = column
            elif not inside and begin is not None:
                path += f"M{bounds[begin]:.2f} 0H{bounds[column]:.2f}V100H{bounds[begin]:.2f}z"
                begin = None
        paths[index] = path
    return paths


def frame_edges(times_s: Sequence[float]) -> list[float]:
    """Where frames begin and the last one ends, 0 to 100: each lasts until the next."""
    if len(times_s) == 1:
        return [0.0, 100.0]
    typical = float(np.median(np.diff(times_s)))
    ends = [*times_s, times_s[-1] + max(typical, 1e-9)]
    span = ends[-1] - ends[0]
    if span <= 0 or any(later < earlier for earlier, later in itertools.pairwise(ends)):
        return [place * 100 / len(times_s) for place in range(len(times_s) + 1)]
    return [(end - ends[0]) / span * 100 for end in ends]


def _decades(low: float, high: float) -> list[float]:
    found: list[float] = []
    for exponent in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        found += [digit * 10.0**exponent for digit in (1, 2, 5)]
    inside = [value for value in found if low <= value <= high]
    return inside if len(inside) <= 7 else [v for v in inside if f"{v:e}".startswith("1.0")]


def _steps(low: float, high: float) -> list[float]:
    rough = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round(place * step, 12) for place in range(first, math.floor(high / step + 1e-9) + 1)]
