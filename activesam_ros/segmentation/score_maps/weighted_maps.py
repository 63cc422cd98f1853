"""Mask maps of several queries with their weights, and the best two scores of every pixel.

Shapes do not depend on values, so the host need not wait for the device to learn how many maps
count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class WeightedMaps(NamedTuple):
    """The maps of P queries, N each; a query scores the maximum of weight * sigmoid(logit).

    maps: [P, N, Hm, Wm], float32 or lower, and offsets: float32 [P, N]. Their sum is the logits; it
    is not formed here, as that would take two more passes over all maps. weights: float32 [P, N],
    descending for each query. order: int64 [P, N], which map each weight belongs to. counts: int32
    [P], how many weights of each query count.
    """

    maps: Tensor
    offsets: Tensor
    weights: Tensor
    order: Tensor
    counts: Tensor

    @classmethod
    def of(cls, maps: Tensor, offsets: Tensor, weights: Tensor) -> WeightedMaps:
        """maps as above; offsets [P, N] in any precision; weights: float32 [P, N] in the order of
        the maps, where 0 does not count.
        """
        ordered = weights.sort(dim=1, descending=True, stable=True)  # values, indices: [P, N]
        # "Not <= 0" counts NaN, which sorting puts first; "> 0" would not.
        counts = (ordered.values <= 0).logical_not_().sum(dim=1, dtype=torch.int32)  # [P]
        return cls(
            maps.contiguous(), offsets.float().contiguous(), ordered.values, ordered.indices, counts
        )

    def logits(self, query: int, count: int) -> Tensor:
        """The ``count`` maps of a query with the highest weights: float32 [count, Hm, Wm]."""
        chosen = self.order[query, :count]  # [count]
        return self.maps[query, chosen].float() + self.offsets[query, chosen, None, None]


@dataclass(frozen=True)
class BestTwo:
    """The best two class scores of every pixel so far, for whole tiles of pixels.

    best: float32 [H, W], inf beyond the image. second: float32 [H, W], or [0, 0] where it is not
    needed. index: int32 [H, W], the class of the best score, 0 where that score is 0.
    """

    best: Tensor
    second: Tensor
    index: Tensor

    def copy(self) -> BestTwo:
        """The same values in other memory."""
        return BestTwo(self.best.clone(), self.second.clone(), self.index.clone())
