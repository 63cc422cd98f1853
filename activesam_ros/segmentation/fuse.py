"""From decoded queries to class scores and labels at image size (methods.md section 2, decode).

Nothing here grows with classes x pixels: a query's maps are upsampled strip by strip, and of the
classes only the best two scores of each pixel are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from activesam_ros.segmentation.decode import DecodedQuery

# Largest number of upsampled values alive at once: 4 million floats are 16 MB.
STRIP_VALUES = 1 << 22

ScoreMap = Callable[[DecodedQuery, tuple[int, int]], Tensor]


def fused_score_map(decoded: DecodedQuery, size: tuple[int, int]) -> Tensor:
    """Instance and semantic evidence, gated by presence -> float32 [H, W]."""
    maps = torch.cat((decoded.masks, decoded.semantic[None]))
    weights = torch.cat((decoded.probabilities, decoded.probabilities.new_ones(1)))
    return strongest(maps, weights * decoded.presence, size)


def instance_score_map(decoded: DecodedQuery, size: tuple[int, int]) -> Tensor:
    """Instance evidence alone, without a presence gate on the map -> float32 [H, W]."""
    if len(decoded.masks) == 0:
        return decoded.semantic.new_zeros(size)
    return strongest(decoded.masks, decoded.probabilities, size)


def strongest(maps: Tensor, weights: Tensor, size: tuple[int, int]) -> Tensor:
    """max over n of weights[n] * sigmoid(upsampled maps[n]) -> float32 [H, W].

    maps: logits [n, Hm, Wm], n > 0; weights: [n]. Bilinear, corners not aligned.
    """
    height, width = size
    wide = widened(maps, width)
    rows = max(1, STRIP_VALUES // (len(maps) * width))
    strips = []
    for top in range(0, height, rows):
        strip = upsampled_rows(wide, height, top, min(top + rows, height)).sigmoid_()
        strip.mul_(weights[:, None, None])
        strips.append(strip[0] if len(strip) == 1 else strip.amax(dim=0))
    return strips[0] if len(strips) == 1 else torch.cat(strips)


def widened(maps: Tensor, width: int) -> Tensor:
    """``maps`` [n, Hm, Wm] resized along their rows -> [n, Hm, width]; done first: few values."""
    size = (maps.shape[1], width)
    return F.interpolate(maps[None], size=size, mode="bilinear")[0]


def upsampled_rows(maps: Tensor, height: int, top: int, bottom: int) -> Tensor:
    """Rows top..bottom of ``maps`` [n, Hm, W] resized to ``height`` -> [n, bottom - top, W]."""
    source_rows = maps.shape[1]
    row = torch.arange(top, bottom, device=maps.device, dtype=torch.float32)
    position = ((row + 0.5) * (source_rows / height) - 0.5).clamp(min=0)
    above = position.long().clamp(max=source_rows - 1)
    below = (above + 1).clamp(max=source_rows - 1)
    fraction = (position - above)[:, None]
    return torch.lerp(maps[:, above], maps[:, below], fraction)


class ClassScores:
    """The best two class scores of every pixel, and whose the best is.

    Queries of one class must arrive one after the other; a class scores the maximum over its
    queries, and classes that never arrive score 0.
    """

    def __init__(
        self, size: tuple[int, int], device: torch.device, scores: NDArray[np.float16] | None
    ) -> None:
        """``scores``, where given, [classes, H, W] receives every class's score map."""
        self.best = torch.zeros(size, device=device)
        self.second = torch.zeros(size, device=device)
        self.index = torch.zeros(size, dtype=torch.int32, device=device)
        self._scores = scores
        self._class: int | None = None
        self._map: Tensor | None = None

    def add(self, class_index: int, score_map: Tensor) -> None:
        """Take one query's score map float32 [H, W] of the class with this index."""
        if self._map is not None and class_index == self._class:
            torch.maximum(self._map, score_map, out=self._map)
            return
        self.finish()
        self._class, self._map = class_index, score_map

    def finish(self) -> None:
        """Settle the last class; afterwards best, second and index are final."""
        if self._map is None or self._class is None:
            return
        if self._scores is not None:
            self._scores[self._class] = self._map.half().cpu().numpy()
        wins = self._map > self.best
        # The lower of the two is the runner-up where the class wins, and a candidate elsewhere.
        lower = torch.minimum(self._map, self.best)
        torch.maximum(self.second, lower, out=self.second)
        torch.maximum(self.best, self._map, out=self.best)
        self.index.masked_fill_(wins, self._class)
        self._class, self._map = None, None


def class_pixels(labels: Tensor, ids: Sequence[int]) -> list[int]:
    """How many pixels of ``labels`` (integer [H, W]) carry each of ``ids``."""
    counts = torch.bincount(labels.flatten().long(), minlength=max(ids, default=0) + 1).tolist()
    return [counts[identity] for identity in ids]
