"""The tables and the plot of `python -m benchmarks.sparse`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.image_files import write_png
from benchmarks.sparse.plans import SWITCHES

MIOU_LOSS_GOAL = 0.004
GOAL_DENSITY = 0.4
COLORS = {
    "content": (40, 90, 200),
    "static": (40, 130, 60),
    "random": (140, 140, 140),
    "tome": (200, 60, 40),
}
MARKERS = {
    "content": cv2.MARKER_SQUARE,
    "static": cv2.MARKER_DIAMOND,
    "random": cv2.MARKER_TILTED_CROSS,
    "tome": cv2.MARKER_TRIANGLE_UP,
}
MEASURES = (("miou", "mIoU"), ("agreement", "dense labels kept"))
PANEL_WIDTH, PANEL_HEIGHT, TITLE, LEGEND = 340, 290, 34, 40
LEFT, RIGHT, TOP, BOTTOM = 58, 18, 34, 52
LOWEST_DENSITY = 0.25
INK, GRID, PAPER = (70, 70, 70), (228, 228, 228), 255


def report(values: Mapping[str, Any]) -> str:
    """All figures as Markdown tables."""
    parts = []
    for network in dict.fromkeys(row["network"] for row in values["rows"]):
        rows = [row for row in values["rows"] if row["network"] == network]
        parts.append(table(network, rows))
    if values["full_size_layers"]:
        parts.append(layer_table(values["full_size_layers"]))
    return "\n".join(parts)


def table(network: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of one network; at GOAL_DENSITY whether the goal is met."""
    dense = rows[0]
    against = "against the ground truth" if network == "demo" else "against the dense labels"
    lines = [
        f"| {network}: switch | density | tokens by | mIoU {against} | lost | dense labels kept "
        "| encoder time | fusion time | encoder MiB | fusion MiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lost = dense["miou"] - row["miou"]
        verdict = ""
        if row["density"] == GOAL_DENSITY and network == "demo":
            verdict = " (met)" if lost <= MIOU_LOSS_GOAL else " (missed)"
        lines.append(
            f"| {row['switch']} | {row['density']:g} | {row['way']} | {row['miou']:.4f} | "
            f"{lost:.4f}{verdict} | {row['agreement']:.4f} | {_number(row['encode_share'], 2)} | "
            f"{_number(row['fuse_share'], 2)} | {_number(row['encode_mib'], 1)} | "
            f"{_number(row['fuse_mib'], 1)} |"
        )
    return "\n".join(lines) + "\n"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def layer_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of the full-size network's layers."""
    lines = [
        "| full-size layer | density | time [ms] | share of the dense time | MiB |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['layer']} | {row['density']:g} | {row['time_ms']:.1f} | {row['share']:.2f} | "
        f"{row['memory_mib']:.1f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A panel for each measure and switch, with a line for each way; the first row is dense."""
    width = PANEL_WIDTH * len(SWITCHES)
    height = TITLE + PANEL_HEIGHT * len(MEASURES) + LEGEND
    canvas = np.full((height, width, 3), PAPER, np.uint8)
    _write(
        canvas,
        "mIoU and share of pixels with the dense label on unseen demo drives, by density",
        (14, 24),
        scale=0.6,
    )
    dense, *others = rows
    for line, (measure, title) in enumerate(MEASURES):
        shown = [row[measure] for row in rows]
        ticks = _ticks(min(shown), max(shown))
        for column, switch in enumerate(SWITCHES):
            corner = (PANEL_WIDTH * column, TITLE + PANEL_HEIGHT * line)
            kept = [row for row in others if row["switch"] == switch]
            panel = _Panel(canvas, corner, ticks)
            panel.frame(f"{switch.replace('_', ' ')}: {title}", [row["density"] for row in kept])
            for way, color in COLORS.items():
                points = [(row["density"], row[measure]) for row in kept if row["way"] == way]
                if points:
                    panel.draw(sorted([*points, (1.0, dense[measure])]), color, MARKERS[way])
    _legend(canvas, [way for way in COLORS if any(row["way"] == way for row in others)])
    write_png(path, canvas)


class _Panel:
    """One diagram; ``ticks``: of its vertical axis, ascending."""

    def __init__(
        self, canvas: NDArray[np.uint8], corner: tuple[int, int], ticks: Sequence[float]
    ) -> None:
        self._canvas = canvas
        self._corner = corner
        self._ticks = ticks
        self._low, self._high = ticks[0], ticks[-1]

    def place(self, density: float, value: float) -> tuple[int, int]:
        """The pixel (x, y) of a point."""
        across = (density - LOWEST_DENSITY) / (1 - LOWEST_DENSITY)
        up = (value - self._low) / (self._high - self._low)
        x = LEFT + across * (PANEL_WIDTH - LEFT - RIGHT)
        y = PANEL_HEIGHT - BOTTOM - up * (PANEL_HEIGHT - TOP - BOTTOM)
        return self._corner[0] + round(x), self._corner[1] + round(y)

    def frame(self, title: str, densities: Sequence[float]) -> None:
        """Draw the title, the grid and the labels of the axes."""
        x, y = self._corner
        _write(self._canvas, title, (x + 14, y + 20))
        for value in self._ticks:
            at = self.place(LOWEST_DENSITY, value)
            cv2.line(self._canvas, at, self.place(1, value), GRID, 1)
            _write(self._canvas, f"{value:.3f}", (x + 10, at[1] + 4), scale=0.38)
        for density in sorted({*densities, 1.0}):
            at = self.place(density, self._low)
            _write(self._canvas, f"{density:g}", (at[0] - 9, at[1] + 18), scale=0.38)
        _write(self._canvas, "density", (x + PANEL_WIDTH // 2, y + PANEL_HEIGHT - 12), scale=0.4)

    def draw(
        self, points: Sequence[tuple[float, float]], color: tuple[int, int, int], marker: int
    ) -> None:
        """Draw a line with a marker at each point (density, value)."""
        places = [self.place(*point) for point in points]
        cv2.polylines(self._canvas, [np.array(places, np.int32)], False, color, 1, cv2.LINE_AA)
        for at in places:
            cv2.drawMarker(self._canvas, at, color, marker, 8, 2, cv2.LINE_AA)


def _legend(canvas: NDArray[np.uint8], ways: Sequence[str]) -> None:
    names = {
        "content": "Stripe-Sort by content",
        "static": "static stripes",
        "random": "random tokens",
        "tome": "token merging (ToMe)",
    }
    y = len(canvas) - LEGEND // 2
    for place, way in enumerate(ways):
        x = 40 + 260 * place
        cv2.line(canvas, (x, y), (x + 30, y), COLORS[way], 1, cv2.LINE_AA)
        cv2.drawMarker(canvas, (x + 15, y), COLORS[way], MARKERS[way], 8, 2, cv2.LINE_AA)
        _write(canvas, names[way], (x + 40, y + 5), COLORS[way])


def _ticks(low: float, high: float) -> list[float]:
    """3 to 8 round numbers, from one at or below ``low`` to one at or above ``high``."""
    widest = max(high - low, 1e-3)
    step = 10 ** math.floor(math.log10(widest / 2))
    step *= next(factor for factor in (1, 2, 5, 10) if widest / (step * factor) <= 6)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def _write(
    canvas: NDArray[np.uint8],
    text: str,
    where: tuple[int, int],
    color: tuple[int, int, int] = INK,
    scale: float = 0.44,
) -> None:
    cv2.putText(canvas, text, where, cv2.FONT_HERSHEY_SIMPLEX, scale, color, 1, cv2.LINE_AA)
