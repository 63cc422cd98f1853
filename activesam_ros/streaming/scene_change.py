"""Whether a frame shows another scene than the one before, from a thumbnail of each."""

from __future__ import annotations

from typing import TypeAlias

import torch.nn.functional as F
from torch import Tensor

SIDE = 8

Thumbnail: TypeAlias = tuple[float, ...]
"""Mean colours of SIDE x SIDE tiles, 0..1, red, green and blue one after the other."""


def thumbnail(pixels: Tensor) -> Thumbnail:
    """Of pixels [1, 3, S, S] in -1..1, as the network sees them."""
    tiles = F.adaptive_avg_pool2d(pixels.float(), SIDE)
    return tuple(((tiles + 1) / 2).flatten().tolist())


def difference(before: Thumbnail, now: Thumbnail) -> float:
    """Mean absolute difference of the tiles, 0..1.

    What all tiles of a colour have in common is left out: a camera's exposure and white balance are
    no other scene.
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
