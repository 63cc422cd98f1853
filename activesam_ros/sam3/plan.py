"""What a caller may put in place of dense computation; the network carries it, others make it.

A field that is None is the dense code itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from torch import Tensor

# (query, key, value, key before rotary position), [B, heads, N, d] each -> [B, heads, N, d].
Attend: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
# (tokens [B, N, width], update): the tokens with what update(tokens [B, n, width]) gives for those
# that are chosen added to them.
Feed: TypeAlias = Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]


@dataclass(frozen=True)
class BlockPlan:
    """One transformer block's attention and MLP."""

    attend: Attend | None = None
    feed: Feed | None = None


DENSE = BlockPlan()


@dataclass(frozen=True)
class FusionPlan:
    """How the fusion encoder treats one batch of images, the same for every prompt.

    order: int64 [B, N], which image token comes at each place, and places its inverse; layers: one
    plan a layer, for tokens in that order. The first layer's self-attention sees no prompt and runs
    once per image: it stays dense and its ``attend`` is not used.
    """

    order: Tensor
    places: Tensor
    layers: Sequence[BlockPlan]

    def image(self, index: int) -> FusionPlan:
        """The plan of one of the images alone."""
        one = slice(index, index + 1)
        return FusionPlan(self.order[one], self.places[one], self.layers)


class ImagePlan(Protocol):
    """Plans for the images that are encoded next; an object may serve any number of frames."""

    def trunk(self, height: int, width: int) -> Sequence[BlockPlan]:
        """One plan for each block of the image encoder, for one batch of height x width tokens."""
        ...

    def fusion(self, keys: Tensor, height: int, width: int) -> FusionPlan | None:
        """The fusion encoder's plan, None for dense.

        keys: [B, N, d_model], what the first layer's self-attention makes of the tokens' contents.
        """
        ...
