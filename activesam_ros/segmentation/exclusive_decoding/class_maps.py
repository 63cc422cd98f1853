"""The mask maps of all classes of an image, in the order in which a GPU kernel reads them.

Shapes do not depend on values, so the host need not wait for the device to learn how many maps
count.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from activesam_ros.segmentation.fuse import Evidence


class ClassMaps(NamedTuple):
    """The maps of n classes, M in all; a class scores the maximum of weight * sigmoid(logit).

    maps: [M, Hm, Wm], float32 or lower, and offsets: float32 [M]. Their sum is the logits. weights:
    float32 [M], those of the first class first, descending for each class. order: int64 [M], which
    map each weight belongs to. starts: int32 [n + 1]; the weights of class i that count are those
    from starts[i] to starts[i + 1] (exclusive).
    """

    maps: Tensor
    offsets: Tensor
    weights: Tensor
    order: Tensor
    starts: Tensor

    @classmethod
    def of(
        cls, maps: Tensor, offsets: Tensor, weights: Tensor, places: Tensor, *, classes: int
    ) -> ClassMaps:
        """Asynchronous. maps: as above; offsets: [M] in any precision; weights: float32 [M].

        Both are in the order of the maps; a weight of 0 does not count. places: int64 [M], the
        class of each map, of 0 to classes - 1.
        """
        weights, by_weight = weights.sort(descending=True, stable=True)  # [M]
        # "Not <= 0" counts NaN; "> 0" would not. What does not count comes behind all classes.
        place = places[by_weight].masked_fill(weights <= 0, classes)  # [M]
        place, by_class = place.sort(stable=True)  # [M]
        every = torch.arange(classes + 1, device=place.device)
        return cls(
            maps.contiguous(),
            offsets.float().contiguous(),
            weights[by_class],
            by_weight[by_class],
            torch.searchsorted(place, every, out_int32=True),
        )

    def evidence(self) -> list[tuple[int, Evidence]]:
        """The maps that count of each class, with its place; synchronises."""
        starts = self.starts.tolist()
        found = []
        for place, (start, stop) in enumerate(itertools.pairwise(starts)):
            chosen = self.order[start:stop]
            logits = self.maps[chosen].float() + self.offsets[chosen, None, None]
            found.append((place, Evidence(logits, self.weights[start:stop])))
        return found
