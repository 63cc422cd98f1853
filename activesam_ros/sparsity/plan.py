"""From settings to what each block of the network does (methods.md section 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import torch.nn.functional as F
from torch import Tensor

from activesam_ros.errors import SettingsError
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.plan import DENSE, BlockPlan, FusionPlan, ImagePlan
from activesam_ros.settings import Settings
from activesam_ros.sparsity.attention import BarPattern, PatternAttention, take
from activesam_ros.sparsity.mlp import Update, best_tokens, feed_first, feed_tokens, token_count
from activesam_ros.sparsity.stripe_sort import content_order, ranks, static_order
from activesam_ros.sparsity.z_order import Curves

# (keys [B, heads, N, d] in grid order, the curve [N], how many come first) -> order [B, heads, N].
OrderOf: TypeAlias = Callable[[Tensor, Tensor, int], Tensor]


def by_content(keys: Tensor, curve: Tensor, _kept: int) -> Tensor:
    """Each head's own stripe order."""
    return content_order(keys, curve)


def evenly(keys: Tensor, curve: Tensor, kept: int) -> Tensor:
    """The same order for every image and head, whose first ``kept`` tokens are evenly spread."""
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
    """What the settings ask for on a network of these dimensions, None for dense throughout.

    attention: gives the loaded network's, so that what is known of its kernels outlives the
    settings; not called for a dense network.
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
    """Ranks of the tokens in the last global block so far, [B, heads, N]."""

    ranks: Tensor | None = None


@dataclass(frozen=True)
class SparsePlan:
    """Sparse attention and MLPs for the image encoder and the fusion encoder.

    Encoder blocks before ``first_block`` stay dense; so do the MLPs of global blocks, and of window
    blocks before the first global one: tokens are ranked there.
    """

    config: Sam3Config
    densities: Densities
    first_block: int
    order_of: OrderOf
    attention: PatternAttention = field(default_factory=PatternAttention)
    curves: Curves = field(default_factory=Curves)

    def trunk(self, height: int, width: int) -> Sequence[BlockPlan]:
        """One plan for each block of the image encoder, for one batch."""
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
        pattern = BarPattern.of(grid[0] * grid[1], self.densities.encoder_attention)
        order = self.order_of(content, self.curves.of(*grid, content.device), pattern.bar)
        attended = self.attention(take(query, order), take(key, order), take(value, order), pattern)
        return take(attended, ranks(order))

    def _feed(self, last: _LastGlobal, x: Tensor, update: Update) -> Tensor:
        assert last.ranks is not None, "a global block comes before"
        tokens = best_tokens(last.ranks, token_count(self.densities.encoder_mlp, x.shape[1]))
        return feed_tokens(x, tokens, update)

    def fusion(self, keys: Tensor, height: int, width: int) -> FusionPlan | None:
        """The fusion encoder's plan; its one order is that of all heads' keys [B, N, d] together.

        In that order the MLP's tokens are simply the first. The last layer feeds them all.
        """
        if not self.densities.sparse_fusion:
            return None
        tokens = height * width
        pattern = BarPattern.of(tokens, self.densities.fusion)
        fed = token_count(self.densities.fusion_mlp, tokens)
        # A static order is even for the attention, or for the MLP where that alone is sparse.
        first = pattern.bar if self.densities.fusion < 1 else fed
        order = self.order_of(keys[:, None], self.curves.of(height, width, keys.device), first)

        def attend(query: Tensor, key: Tensor, value: Tensor, _content: Tensor) -> Tensor:
            attended: Tensor = self.attention(query, key, value, pattern)
            return attended

        last = BlockPlan(attend if self.densities.fusion < 1 else None)
        layer = BlockPlan(last.attend, partial(feed_first, fed) if fed < tokens else None)
        layers = (layer,) * (self.config.encoder_layers - 1)
        return FusionPlan(order[:, 0], ranks(order[:, 0]), (*layers, last))
