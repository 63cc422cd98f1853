"""The plot of growth.py's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.image_files import write_png

PANEL, LEFT, RIGHT, TOP, HEIGHT, GAP = 300, 58, 14, 40, 170, 34
INK, PAPER, GRID = (40, 40, 40), (255, 255, 255), (228, 228, 228)
LABELS = {
    "vocabulary": "names in the vocabulary",
    "active": "active classes",
    "width": "image width [px]",
    "resolution": "side of the network's image [px]",
    "cameras": "cameras",
}
Line = tuple[str, tuple[int, int, int]]
# For each row of panels its title and its lines; a line has a field of Point and a colour.
ROWS: tuple[tuple[str, tuple[Line, ...]], ...] = (
    (
        "CPU time a frame [s]: preview (orange), everything else (blue)",
        (("preview_s", (235, 130, 20)), ("other_s", (30, 90, 200))),
    ),
    ("peak memory of the process [MiB]", (("peak_memory_mib", (40, 140, 60)),)),
)


def plot(sweeps: Mapping[str, Sequence[Mapping[str, Any]]], file: Path) -> None:
    """Time above, memory below, with a panel for each sweep; the panels of a row share a scale."""
    height = len(ROWS) * (TOP + HEIGHT + GAP)
    picture = np.full((height, PANEL * len(sweeps), 3), PAPER, np.uint8)
    for row, (title, lines) in enumerate(ROWS):
        top = row * (TOP + HEIGHT + GAP) + TOP
        _text(picture, title, LEFT, top - 16)
        values = [point[key] for sweep in sweeps.values() for point in sweep for key, _ in lines]
        for column, (name, points) in enumerate(sweeps.items()):
            _panel(picture, (column * PANEL + LEFT, top), name, points, lines, max(values))
    write_png(file, picture)


def _panel(
    picture: NDArray[np.uint8],
    corner: tuple[int, int],
    name: str,
    points: Sequence[Mapping[str, Any]],
    lines: Sequence[Line],
    most: float,
) -> None:
    left, top = corner
    width, bottom = PANEL - LEFT - RIGHT, top + HEIGHT
    for quarter in range(5):
        y = round(bottom - HEIGHT * quarter / 4)
        cv2.line(picture, (left, y), (left + width, y), GRID, 1)
        _text(picture, f"{most * quarter / 4:.3g}", left - 46, y + 4)
    loads = [point["load"][name] for point in points]
    across = [round(left + width * load / max(loads)) for load in loads]
    _text(picture, LABELS[name], left, bottom + 30)
    _text(picture, str(max(loads)), left + width - 30, bottom + 15)
    _text(picture, "0", left - 4, bottom + 15)
    for key, color in lines:
        down = [round(bottom - HEIGHT * point[key] / most) for point in points]
        curve = np.array(list(zip(across, down, strict=True)), np.int32)
        cv2.polylines(picture, [curve], False, color, 2, cv2.LINE_AA)
        for x, y in curve.tolist():
            cv2.circle(picture, (x, y), 3, color, -1, cv2.LINE_AA)


def _text(picture: NDArray[np.uint8], text: str, x: int, y: int) -> None:
    cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, INK, 1, cv2.LINE_AA)
