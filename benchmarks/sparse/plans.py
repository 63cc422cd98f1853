"""The plans that SparseSAM is compared with: token merging (ToMe) and random tokens.

ToMe follows Bolya et al., "Token Merging: Your ViT But Faster" (ICLR 2023), section 3: bipartite
soft matching on keys averaged over heads, size-weighted averages, and proportional attention,
softmax(q k / sqrt(d) + log size). A merged token gets the result of its group, since every token of
the grid is needed. One matching halves the tokens at most; a lower density takes a second one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.plan import DENSE, BlockPlan, FusionPlan, ImagePlan
from activesam_ros.sparsity.plan import Densities, OrderOf, SparsePlan, by_content, evenly

SWITCHES = ("encoder_attention", "encoder_mlp", "fusion", "fusion_mlp")


def at_random(keys: Tensor, _curve: Tensor, _kept: int) -> Tensor:
    """A new random order for every head and call."""
    return torch.rand(keys.shape[:-1], device=keys.device).argsort(dim=-1)


ORDERS: dict[str, OrderOf] = {"content": by_content, "static": evenly, "random": at_random}
TOME = "tome"
WAYS = (*ORDERS, TOME)


def plan_of(config: Sam3Config, switch: str, density: float, way: str) -> ImagePlan:
    """The plan with one of SWITCHES at a density by one of WAYS, from the first block allowed."""
    densities = dataclasses.replace(Densities(), **{switch: density})
    first = min(config.global_attention_blocks) + 1
    if way == TOME:
        return MergingPlan(config, densities, first)
    return SparsePlan(config, densities, first, ORDERS[way])


@dataclass(frozen=True)
class TokenGroups:
    """Groups of tokens.

    of_token: int64 [B, N], the group of each token. sizes: [B, n], tokens in each group.
    """

    of_token: Tensor
    sizes: Tensor

    def mean(self, x: Tensor) -> Tensor:
        """x [B, ..., N, d] averaged in each group -> [B, ..., n, d]."""
        shape = (*x.shape[:-2], self.sizes.shape[1], x.shape[-1])
        total = x.new_zeros(shape).scatter_add(-2, self._index(x), x)
        return total / self.sizes.view(len(x), *[1] * (x.ndim - 3), -1, 1).to(x.dtype)

    def spread(self, x: Tensor) -> Tensor:
        """Give each token the row of its group: x [B, ..., n, d] -> [B, ..., N, d]."""
        return x.gather(-2, self._index(x))

    def repeated(self, times: int) -> TokenGroups:
        """The groups of each image, repeated for ``times`` prompts."""
        return TokenGroups(
            self.of_token.repeat_interleave(times, 0), self.sizes.repeat_interleave(times, 0)
        )

    def _index(self, x: Tensor) -> Tensor:
        index = self.of_token.reshape(len(self.of_token), *[1] * (x.ndim - 3), -1, 1)
        return index.expand(*x.shape[:-2], -1, x.shape[-1])


def merged(keys: Tensor, density: float) -> TokenGroups:
    """Groups of tokens with similar keys [B, N, d], round(density * N) of them."""
    batch, tokens, _ = keys.shape
    wanted = max(round(density * tokens), 1)
    groups = torch.arange(tokens, device=keys.device).expand(batch, -1)
    sizes = torch.ones(batch, tokens, device=keys.device)
    while sizes.shape[1] > wanted:
        now = TokenGroups(groups, sizes)
        to = _matching(F.normalize(now.mean(keys), dim=-1), sizes.shape[1] - wanted)
        groups = to.gather(1, groups)
        count = int(to.max()) + 1
        sizes = sizes.new_zeros(batch, count).scatter_add(1, to, sizes)
    return TokenGroups(groups, sizes)


def _matching(directions: Tensor, surplus: int) -> Tensor:
    """Bipartite soft matching of tokens [B, n, d] -> the group of each token, int64 [B, n].

    Each even token is matched with an odd one. The ``surplus`` most similar pairs merge, or all if
    there are fewer.
    """
    batch, tokens, _ = directions.shape
    similarity, partner = (directions[:, ::2] @ directions[:, 1::2].mT).max(dim=-1)
    order = similarity.argsort(dim=-1, descending=True)
    merging = order[:, : min(surplus, order.shape[1])]
    gone = torch.zeros(batch, tokens, dtype=torch.bool, device=directions.device)
    gone.scatter_(1, 2 * merging, True)
    numbers = (~gone).cumsum(dim=1) - 1
    target = numbers.gather(1, 2 * partner.gather(1, merging) + 1)
    return numbers.scatter(1, 2 * merging, target)


@dataclass(frozen=True)
class MergingPlan:
    """ToMe wherever SparsePlan is sparse, with the same densities and keys."""

    config: Sam3Config
    densities: Densities
    first_block: int

    def trunk(self, height: int, width: int) -> Sequence[BlockPlan]:
        """Merge for the attention of late blocks, and for the MLPs of late window blocks."""
        if not self.densities.sparse_encoder:
            return (DENSE,) * self.config.vision_layers
        ranked: list[Tensor] = []
        return tuple(self._block(index, ranked) for index in range(self.config.vision_layers))

    def _block(self, index: int, ranked: list[Tensor]) -> BlockPlan:
        is_global = index in self.config.global_attention_blocks
        density = self.densities.encoder_attention if index >= self.first_block else 1.0

        def attend(query: Tensor, key: Tensor, value: Tensor, content: Tensor) -> Tensor:
            if is_global:
                ranked.append(content.mean(dim=1))
            if density == 1:
                return F.scaled_dot_product_attention(query, key, value)
            return _merged_attention(query, key, value, merged(content.mean(dim=1), density))

        def feed(x: Tensor, update: Callable[[Tensor], Tensor]) -> Tensor:
            groups = merged(ranked[-1], self.densities.encoder_mlp)
            return x + groups.spread(update(groups.mean(x)))

        late = index >= self.first_block and index > min(self.config.global_attention_blocks)
        feeds = late and not is_global and self.densities.encoder_mlp < 1
        return BlockPlan(attend, feed if feeds else None)

    def fusion(self, keys: Tensor, height: int, width: int) -> FusionPlan | None:
        """One matching per image, for all prompts and layers."""
        if not self.densities.sparse_fusion:
            return None
        attention = merged(keys, self.densities.fusion)
        mlp = merged(keys, self.densities.fusion_mlp)

        def attend(query: Tensor, key: Tensor, value: Tensor, _content: Tensor) -> Tensor:
            groups = attention.repeated(len(query) // len(keys))
            return _merged_attention(query, key, value, groups)

        def feed(x: Tensor, update: Callable[[Tensor], Tensor]) -> Tensor:
            groups = mlp.repeated(len(x) // len(keys))
            return x + groups.spread(update(groups.mean(x)))

        layer = BlockPlan(
            attend if self.densities.fusion < 1 else None,
            feed if self.densities.fusion_mlp < 1 else None,
        )
        grid = torch.arange(height * width, device=keys.device).expand(len(keys), -1)
        layers = (layer,) * (self.config.encoder_layers - 1)
        return FusionPlan(grid, grid, (*layers, BlockPlan(layer.attend)))


def _merged_attention(query: Tensor, key: Tensor, value: Tensor, groups: TokenGroups) -> Tensor:
    bias = groups.sizes.log().to(query.dtype)[:, None, None]
    attended = F.scaled_dot_product_attention(
        groups.mean(query), groups.mean(key), groups.mean(value), attn_mask=bias
    )
    return groups.spread(attended)
