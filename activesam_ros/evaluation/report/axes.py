"""Axes of the report's charts: scales and tick labels.

A chart is drawn in a box where x runs from 0 to 100 and y from 0 at the top to 100. The page
stretches the box to the available width and writes the tick labels beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LOG_FROM_RATIO = 8.0
MAX_COLUMNS = 480
"""Charts of more frames draw several frames in one column."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick label and its position, 0 to 100 per cent of the axis."""

    position: float
    text: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values to 0..1, linearly or logarithmically."""

    low: float
    high: float
    logarithmic: bool

    @classmethod
    def of(cls, values: Sequence[float], from_zero: bool) -> Scale:
        """A scale for ``values``; logarithmic if their ratio is at least LOG_FROM_RATIO."""
        low, high = min(values), max(values)
        if low > 0 and high / low >= LOG_FROM_RATIO:
            return cls(low / 1.1, high * 1.1, True)
        low = 0.0 if from_zero else low
        return cls(low, high if high > low else low + 1.0, False)

    def __call__(self, value: float) -> float:
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, unit: str = "") -> tuple[Tick, ...]:
        """Three to seven round numbers along the axis; the last one has the unit."""
        values = _decades(self.low, self.high) if self.logarithmic else []
        if len(values) < 3:
            values = _steps(self.low, self.high)
        texts = [f"{value:g}" for value in values]
        if unit:
            texts[-1] += f" {unit}"
        return tuple(
            Tick(round(self(value) * 100, 3), text)
            for value, text in zip(values, texts, strict=True)
        )


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
