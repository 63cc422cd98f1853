"""Plans that replace dense computation in the network; sparsity/ makes them.

A field that is None keeps the dense code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from torch import Tensor

# (query, key, value, key before rotary position), [B, heads, N, d] each -> [B, heads, N, d].
Attend: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
# (tokens [B, N, width], update): adds update(chosen tokens [B, n, width]) to the chosen tokens and
# leaves the others as they are -> [B, N, width].
Feed: TypeAlias = Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]


@dataclass(frozen=True)
class BlockPlan:
    """One transformer block's attention and MLP."""

    attend: Attend | None = None
    feed: Feed | None = None


DENSE = BlockPlan()


@dataclass(frozen=True)
class FusionPlan:
    """The fusion encoder's plan for one batch of images, the same for every prompt.

    order: int64 [B, N], the image token at each place; places: its inverse; layers: one plan for
    each layer, for tokens in that order. The first layer's self-attention does not depend on the
    prompt and runs once per image; it stays dense, and its ``attend`` is not used.
    """

    order: Tensor
    places: Tensor
    layers: Sequence[BlockPlan]

    def image(self, index: int) -> FusionPlan:
        """The plan of one image."""
        one = slice(index, index + 1)
        return FusionPlan(self.order[one], self.places[one], self.layers)


class ImagePlan(Protocol):
    """Makes the plans of each batch of images; one object serves any number of frames."""

    def trunk(self, height: int, width: int) -> Sequence[BlockPlan]:
        """Plans for the image encoder's blocks, for one batch of height x width tokens."""
        ...

    def fusion(self, keys: Tensor, height: int, width: int) -> FusionPlan | None:
        """The fusion encoder's plan, None for dense.

        keys: [B, N, d_model], the keys of the first self-attention without position.
        """
        ...
