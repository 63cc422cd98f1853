"""Draw the losses of a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from activesam_ros.errors import MissingDependencyError, UsageError

WIDTH, HEIGHT, MARGIN, LEGEND = 960, 540, 60, 110
# The losses are noisy: each point is the mean of this number of neighbours.
SMOOTHED_OVER = 9
SHOWN = {
    "loss": (40, 40, 40),
    "probes": (140, 140, 140),
    "presence": (200, 60, 40),
    "semantic_dice": (40, 130, 60),
    "competition": (200, 150, 30),
    "mask_dice": (40, 90, 200),
    "box": (160, 80, 180),
}


def draw_curve(log: Path, picture: Path) -> None:
    """Draw the losses of ``log`` (one JSON object a line) over the steps, on a logarithmic scale.

    Raises UsageError for a log without lines, MissingDependencyError without OpenCV.
    """
    try:
        import cv2

        from activesam_ros.image_files import write_png
    except ImportError:
        raise MissingDependencyError(
            "Drawing the curve needs OpenCV: pip install opencv-python-headless."
        ) from None
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    if not lines:
        raise UsageError(f"{log} has no lines; train first.")
    steps = np.array([line["step"] for line in lines], np.float64)
    curves = {
        name: smoothed(np.array([line.get(name, np.nan) for line in lines], np.float64))
        for name in SHOWN
    }
    values = np.concatenate(list(curves.values()))
    values = values[np.isfinite(values) & (values > 0)]
    low, high = np.log10(values.min()), np.log10(values.max()) + 1e-6
    canvas = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)

    def place(step: float, value: float) -> tuple[int, int]:
        x = MARGIN + step / steps[-1] * (WIDTH - 2 * MARGIN - LEGEND)
        y = HEIGHT - MARGIN - (np.log10(value) - low) / (high - low) * (HEIGHT - 2 * MARGIN)
        return round(x), round(float(y))

    def write(text: str, where: tuple[int, int], color: tuple[int, int, int]) -> None:
        cv2.putText(canvas, text, where, cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, 1, cv2.LINE_AA)

    for value in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0):
        if low <= np.log10(value) <= high:
            left, right = place(0, value), place(float(steps[-1]), value)
            cv2.line(canvas, left, right, (225, 225, 225), 1)
            write(f"{value:g}", (8, left[1] + 5), (90, 90, 90))
    for share in (0.0, 0.5, 1.0):
        step = float(steps[-1]) * share
        write(f"{step:.0f}", (place(step, 10**low)[0] - 12, HEIGHT - MARGIN + 24), (90, 90, 90))
    for row, (name, color) in enumerate(SHOWN.items()):
        kept = np.isfinite(curves[name]) & (curves[name] > 0)
        points = [place(*point) for point in zip(steps[kept], curves[name][kept], strict=True)]
        cv2.polylines(canvas, [np.array(points, np.int32)], False, color, 2, cv2.LINE_AA)
        write(name, (WIDTH - MARGIN - LEGEND + 24, MARGIN + 20 * row), color)
    write("step", (WIDTH // 2 - 20, HEIGHT - 12), (90, 90, 90))
    write_png(picture, canvas)


def smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each value and its neighbours; at the ends there are fewer."""
    reach = SMOOTHED_OVER // 2
    return np.array(
        [values[max(0, at - reach) : at + reach + 1].mean() for at in range(len(values))]
    )
