"""A plot of the active set and of presence over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.image_files import write_png
from benchmarks.streaming.journal import Record

WIDTH, LEFT, RIGHT = 1200, 150, 20
TOP, COUNTS, GAP, ROW = 44, 170, 46, 16
COLORS = {
    "per_frame": (150, 150, 150),
    "streaming": (30, 90, 200),
    "streaming_shared": (200, 110, 20),
    "per_frame_shared": (120, 60, 140),
}
INK, PAPER = (40, 40, 40), (255, 255, 255)
MISSED = (215, 60, 40)
SHOWN = "streaming"


def draw(
    path: Path,
    variants: Mapping[str, Sequence[Record]],
    classes: Sequence[str],
    visible: NDArray[np.bool_],
    period_s: float,
) -> None:
    """Above: how many classes are active. Below: the presence of each class with streaming.

    visible: bool [frames, classes], ground truth. Blue is the presence of an active class, darker
    for higher; red is a class that is visible and not active; a line on top marks visible classes.
    """
    rows = [index for index in range(len(classes)) if visible[:, index].any()]
    height = TOP + COUNTS + GAP + ROW * len(rows) + 34
    picture = np.full((height, WIDTH, 3), PAPER, np.uint8)
    frames = len(visible)
    x = np.linspace(LEFT, WIDTH - RIGHT, frames + 1)
    _counts(picture, variants, x)
    shown = SHOWN if SHOWN in variants else next(iter(variants))
    presence = [record.presence for record in variants[shown]]
    top = TOP + COUNTS + GAP
    _text(
        picture, f"presence, {shown} (framed: visible, red: visible and not active)", LEFT, top - 8
    )
    for place, index in enumerate(rows):
        y = top + place * ROW
        _text(picture, classes[index], 8, y + ROW - 4)
        for frame in range(frames):
            value = presence[frame].get(classes[index])
            left, right = round(x[frame]), max(round(x[frame + 1]), round(x[frame]) + 1)
            if value is not None:
                blue = np.array((30, 90, 200)) * value + np.array((225, 233, 248)) * (1 - value)
                picture[y + 3 : y + ROW - 2, left:right] = blue
            elif visible[frame, index]:
                picture[y + 3 : y + ROW - 2, left:right] = MISSED
            if visible[frame, index]:
                picture[y + 1 : y + 3, left:right] = INK
    for second in range(0, int(frames * period_s) + 1, max(1, round(frames * period_s / 10))):
        at = round(LEFT + (WIDTH - RIGHT - LEFT) * second / (frames * period_s))
        _text(picture, f"{second} s", min(at, WIDTH - 50), height - 12)
    write_png(path, picture)


def _counts(
    picture: NDArray[np.uint8], variants: Mapping[str, Sequence[Record]], x: NDArray[np.float64]
) -> None:
    most = max(len(record.active) for run in variants.values() for record in run)
    bottom = TOP + COUNTS
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500) if most / step <= 6)
    for level in range(0, most + 1, step):
        y = round(bottom - COUNTS * level / most)
        cv2.line(picture, (LEFT, y), (WIDTH - RIGHT, y), (228, 228, 228), 1)
        _text(picture, str(level), LEFT - 30, y + 4)
    _text(picture, "active classes", 8, TOP - 22)
    for place, (name, run) in enumerate(variants.items()):
        color = COLORS[name]
        points = [
            (
                round((x[frame] + x[frame + 1]) / 2),
                round(bottom - COUNTS * len(record.active) / most),
            )
            for frame, record in enumerate(run)
        ]
        cv2.polylines(picture, [np.array(points, np.int32)], False, color, 2, cv2.LINE_AA)
        left = LEFT + 190 * place
        cv2.line(picture, (left, TOP - 26), (left + 24, TOP - 26), color, 3)
        _text(picture, name, left + 30, TOP - 22)


def _text(picture: NDArray[np.uint8], text: str, x: int, y: int) -> None:
    cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, INK, 1, cv2.LINE_AA)
