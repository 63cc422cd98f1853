"""Whether a frame shows another scene than the one before, from a thumbnail of each."""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 8

Thumbnail: TypeAlias = tuple[float, ...]
"""Mean colours of SIDE x SIDE tiles, 0..1: all of red, then green, then blue."""


def thumbnail(image: NDArray[np.uint8]) -> Thumbnail:
    """The thumbnail of an image, uint8 RGB [H, W, 3].

    It is made on the host: whoever reads one from a device has to wait for the device.
    """
    tiles = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)  # [SIDE, SIDE, 3]
    return tuple((tiles.transpose(2, 0, 1).ravel() / 255).tolist())


def difference(before: Thumbnail, now: Thumbnail) -> float:
    """Mean absolute difference of the tiles, 0..1.

    The median change of each colour is left out: another exposure or white balance is not another
    scene.
    """
    tiles = SIDE * SIDE
    total = 0.0
    for start in range(0, len(now), tiles):
        change = [
            new - old
            for new, old in zip(
                now[start : start + tiles], before[start : start + tiles], strict=True
            )
        ]
        common = sorted(change)[tiles // 2]
        total += sum(abs(value - common) for value in change)
    return total / len(now)
