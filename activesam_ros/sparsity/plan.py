"""From settings to the sparse attention and MLP of each block (SparseSAM)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from activesam_ros.errors import SettingsError
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.plan import DENSE, BlockPlan, FusionPlan, ImagePlan
from activesam_ros.settings import Settings
from activesam_ros.sparsity.attention import PatternAttention, SparsePattern, take
from activesam_ros.sparsity.token_order import content_order, ranks, static_order
from activesam_ros.sparsity.z_order import Curves

# From tokens [..., width] to their update, which is added to them.
Update: TypeAlias = Callable[[Tensor], Tensor]
# (keys [B, heads, N, d] in grid order, the curve [N], how many come first) -> order [B, heads, N].
OrderOf: TypeAlias = Callable[[Tensor, Tensor, int], Tensor]


def by_content(keys: Tensor, curve: Tensor, _kept: int) -> Tensor:
    """A stripe order for each head, ranked by its keys."""
    return content_order(keys, curve)


def evenly(keys: Tensor, curve: Tensor, kept: int) -> Tensor:
    """One order for all images and heads; its first ``kept`` tokens are evenly spread."""
    return static_order(curve, kept).expand(keys.shape[:-1])


ORDERS: dict[str, OrderOf] = {"content": by_content, "static": evenly}


@dataclass(frozen=True)
class Densities:
    """Shares of the keys (attention) and of the tokens (MLPs) that are computed; 1 is dense."""

    encoder_attention: float = 1.0
    encoder_mlp: float = 1.0
    fusion: float = 1.0
    fusion_mlp: float = 1.0

    @property
    def sparse_encoder(self) -> bool:
        return self.encoder_attention < 1 or self.encoder_mlp < 1

    @property
    def sparse_fusion(self) -> bool:
        return self.fusion < 1 or self.fusion_mlp < 1


def image_plan(
    settings: Settings,
    config: Sam3Config,
    attention: Callable[[], PatternAttention] = PatternAttention,
) -> ImagePlan | None:
    """The plan that the settings ask for, None for a dense network.

    attention: returns the loaded network's block-sparse attention, whose compiled kernels outlive
    the settings; called for a sparse plan only.
    Raises SettingsError when encoder_sparse_from_block leaves no block to be sparse.
    """
    densities = Densities(
        encoder_attention=settings.encoder_attention_density,
        encoder_mlp=settings.encoder_mlp_density,
        fusion=settings.fusion_density,
        fusion_mlp=settings.fusion_mlp_density,
    )
    if not densities.sparse_encoder and not densities.sparse_fusion:
        return None
    first = settings.encoder_sparse_from_block
    if first < 0:
        first = min(config.global_attention_blocks) + 1
    if densities.sparse_encoder and first >= config.vision_layers:
        raise SettingsError(
            f"encoder_sparse_from_block={settings.encoder_sparse_from_block} leaves none of the "
            f"network's {config.vision_layers} blocks sparse; give 0 to {config.vision_layers - 1},"
            " or encoder densities of 1."
        )
    order_of = ORDERS[settings.stripe_order]
    return SparsePlan(config, densities, first, order_of, attention())


@dataclass
class _LastGlobal:
    """ranks: those of the tokens in the most recent global block, [B, heads, N]."""

    ranks: Tensor | None = None


@dataclass(frozen=True)
class SparsePlan:
    """Sparse attention and MLPs for the image encoder and the fusion encoder.

    Encoder blocks before ``first_block`` stay dense. Global blocks rank the tokens for the MLPs of
    later window blocks; their own MLPs, and those of window blocks before them, stay dense.
    """

    config: Sam3Config
    densities: Densities
    first_block: int
    order_of: OrderOf
    attention: PatternAttention = field(default_factory=PatternAttention)
    curves: Curves = field(default_factory=Curves)

    def trunk(self, height: int, width: int) -> Sequence[BlockPlan]:
        """See ImagePlan.trunk."""
        if not self.densities.sparse_encoder:
            return (DENSE,) * self.config.vision_layers
        last = _LastGlobal()
        return tuple(
            self._global_block(index, height, width, last)
            if index in self.config.global_attention_blocks
            else self._window_block(index, last)
            for index in range(self.config.vision_layers)
        )

    def _window_block(self, index: int, last: _LastGlobal) -> BlockPlan:
        if index < self.first_block:
            return DENSE
        side = self.config.window_size
        attends = self.densities.encoder_attention < 1
        feeds = self.densities.encoder_mlp < 1 and index > min(self.config.global_attention_blocks)
        return BlockPlan(
            partial(self._attend, (side, side)) if attends else None,
            partial(self._feed, last) if feeds else None,
        )

    def _global_block(self, index: int, height: int, width: int, last: _LastGlobal) -> BlockPlan:
        attends = self.densities.encoder_attention < 1 and index >= self.first_block
        attend = partial(self._attend, (height, width)) if attends else None
        if self.densities.encoder_mlp == 1:
            return BlockPlan(attend)

        def ranking(query: Tensor, key: Tensor, value: Tensor, content: Tensor) -> Tensor:
            curve = self.curves.of(height, width, content.device)
            fed = token_count(self.densities.encoder_mlp, height * width)
            last.ranks = ranks(self.order_of(content, curve, fed))
            if attend is None:
                return F.scaled_dot_product_attention(query, key, value)
            return attend(query, key, value, content)

        return BlockPlan(ranking)

    def _attend(
        self, grid: tuple[int, int], query: Tensor, key: Tensor, value: Tensor, content: Tensor
    ) -> Tensor:
        pattern = SparsePattern.of(grid[0] * grid[1], self.densities.encoder_attention)
        # [B, heads, N]
        order = self.order_of(content, self.curves.of(*grid, content.device), pattern.bar)
        attended = self.attention(take(query, order), take(key, order), take(value, order), pattern)
        return take(attended, ranks(order))

    def _feed(self, last: _LastGlobal, x: Tensor, update: Update) -> Tensor:
        assert last.ranks is not None, "a global block runs first"
        tokens = best_tokens(last.ranks, token_count(self.densities.encoder_mlp, x.shape[1]))
        return feed_tokens(x, tokens, update)

    def fusion(self, keys: Tensor, height: int, width: int) -> FusionPlan | None:
        """See ImagePlan.fusion. Tokens have one order, by the keys [B, N, d] of all heads together.

        The first tokens in that order go through the MLP; in the last layer all tokens do.
        """
        if not self.densities.sparse_fusion:
            return None
        tokens = height * width
        pattern = SparsePattern.of(tokens, self.densities.fusion)
        fed = token_count(self.densities.fusion_mlp, tokens)
        # A static order spreads evenly for the attention, or for the MLP if that alone is sparse.
        first = pattern.bar if self.densities.fusion < 1 else fed
        # [B, 1, N]
        order = self.order_of(keys[:, None], self.curves.of(height, width, keys.device), first)

        def attend(query: Tensor, key: Tensor, value: Tensor, _content: Tensor) -> Tensor:
            attended: Tensor = self.attention(query, key, value, pattern)
            return attended

        last = BlockPlan(attend if self.densities.fusion < 1 else None)
        layer = BlockPlan(last.attend, partial(feed_first, fed) if fed < tokens else None)
        layers = (layer,) * (self.config.encoder_layers - 1)
        return FusionPlan(order[:, 0], ranks(order[:, 0]), (*layers, last))


def token_count(density: float, tokens: int) -> int:
    """The number of tokens that go through the MLP."""
    return round(density * tokens)


def best_tokens(ranks: Tensor, count: int) -> Tensor:
    """The ``count`` tokens of the lowest mean rank, int64 [B, count] ascending.

    ranks: [B, heads, N], 0 the best.
    """
    mean = ranks.float().mean(dim=1)  # [B, N]
    return mean.argsort(dim=-1, stable=True)[:, :count].sort(dim=-1).values


def feed_tokens(x: Tensor, tokens: Tensor, update: Update) -> Tensor:
    """x [B, N, width], the update added to the given tokens int64 [B, count] alone."""
    index = tokens[..., None].expand(-1, -1, x.shape[-1])  # [B, count, width]
    return x.scatter_add(1, index, update(x.gather(1, index)))


def feed_first(count: int, x: Tensor, update: Update) -> Tensor:
    """x [B, N, width], the update added to the first ``count`` tokens alone."""
    best, others = x[:, :count], x[:, count:]
    return torch.cat((best + update(best), others), dim=1)
