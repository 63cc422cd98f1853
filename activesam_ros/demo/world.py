"""The world of a seed (first version: a straight street with boxes)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from activesam_ros.demo.classes import ClassId


@dataclass(frozen=True)
class Box:
    """Axis-aligned box: centre x, y, size and speed along x."""

    label: ClassId
    x: float
    y: float
    size: tuple[float, float, float]
    color: tuple[int, int, int]
    speed: float = 0.0


class World:
    """Boxes along a straight street."""

    def __init__(self, seed: int, duration_s: float) -> None:
        rng = np.random.default_rng([seed, 0])
        length = 8.0 * duration_s + 150.0
        kinds = [
            (ClassId.BUILDING, (10.0, 8.0, 9.0), 14.0, 0.0),
            (ClassId.CAR, (4.2, 1.8, 1.5), 4.5, 0.0),
            (ClassId.CAR, (4.2, 1.8, 1.5), 1.7, -9.0),
            (ClassId.PERSON, (0.5, 0.5, 1.75), 7.0, 1.2),
            (ClassId.POLE, (0.15, 0.15, 6.0), 6.2, 0.0),
            (ClassId.VEGETATION, (3.0, 3.0, 5.0), 8.5, 0.0),
            (ClassId.TRUCK, (9.0, 2.5, 3.5), 1.7, -7.0),
            (ClassId.FENCE, (6.0, 0.1, 1.2), 9.5, 0.0),
        ]
        boxes = []
        for x in np.arange(5.0, length, 2.0):
            label, size, offset, speed = kinds[rng.integers(len(kinds))]
            side = 1.0 if speed < 0 else rng.choice([-1.0, 1.0])
            red, green, blue = (int(level) for level in rng.integers(40, 220, 3))
            boxes.append(Box(label, float(x), side * offset, size, (red, green, blue), speed))
        self.boxes = tuple(boxes)

    def ego_x(self, time_s: float) -> float:
        """How far the ego vehicle has come, metres."""
        return 8.0 * time_s
