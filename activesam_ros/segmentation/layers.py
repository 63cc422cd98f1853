"""The maps of several queries at once, in shapes that do not depend on what is in them.

So that no host has to wait for a device to learn how many maps there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Layers(NamedTuple):
    """What P queries score: each the maximum of its weights times the sigmoid of its logits.

    maps: [P, N, Hm, Wm], float32 or lower, and offsets: float32 [P, N], together the logits, apart
    since adding them up would be two more passes over all maps; weights: float32 [P, N], those of
    each query in descending order; order: int64 [P, N], which map each weight is of; counts: int32
    [P], how many of the weights count.
    """

    maps: Tensor
    offsets: Tensor
    weights: Tensor
    order: Tensor
    counts: Tensor

    @classmethod
    def of(cls, maps: Tensor, offsets: Tensor, weights: Tensor) -> Layers:
        """maps as above, offsets in any precision; weights: float32 [P, N] in the order of the
        maps, 0 does not count.
        """
        ordered = weights.sort(dim=1, descending=True, stable=True)
        # Not >, so that what is no number counts; sorting puts it first.
        counts = (ordered.values <= 0).logical_not_().sum(dim=1, dtype=torch.int32)
        return cls(
            maps.contiguous(), offsets.float().contiguous(), ordered.values, ordered.indices, counts
        )

    def logits(self, query: int, count: int) -> Tensor:
        """Of the first ``count`` maps of a query, by weight: float32 [count, Hm, Wm]."""
        chosen = self.order[query, :count]
        return self.maps[query, chosen].float() + self.offsets[query, chosen, None, None]


@dataclass(frozen=True)
class Running:
    """The best two class scores of every pixel so far, of whole tiles.

    best: float32 [H, W], inf beyond the image; second: float32 [H, W], [0, 0] where it is not
    needed; index: int32 [H, W], the class of the best score; where that is 0 the index is 0.
    """

    best: Tensor
    second: Tensor
    index: Tensor

    def copy(self) -> Running:
        """The same values in other memory."""
        return Running(self.best.clone(), self.second.clone(), self.index.clone())

    def become(self, other: Running) -> None:
        """Take the values of another."""
        self.best.copy_(other.best)
        self.second.copy_(other.second)
        self.index.copy_(other.index)
