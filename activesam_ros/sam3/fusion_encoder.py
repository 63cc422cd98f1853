"""Fusion of image tokens with a prompt, and the geometry encoder's CLS token."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch.nn.functional as F
from torch import Tensor, nn

from activesam_ros.sam3.attention import MultiheadAttention
from activesam_ros.sam3.config import Sam3Config


class Context(NamedTuple):
    """Keys and values that a layer's cross-attention reads, [B, heads, M, d / heads] each."""

    key: Tensor
    value: Tensor


class FusionLayer(nn.Module):
    """Pre-norm layer: self-attention, cross-attention to the context, ReLU MLP.

    The halves are methods of their own, since the first layer's self-attention does not see the
    prompt.
    """

    def __init__(self, *, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(width=width, heads=heads)
        self.cross_attn_image = MultiheadAttention(width=width, heads=heads)
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def attend_self(self, x: Tensor, position: Tensor | None) -> Tensor:
        """x [B, N, width]; position [N, width] is added to queries and keys, not to values."""
        value = self.norm1(x)
        located = value if position is None else value + position
        attended: Tensor = self.self_attn(located, located, value)
        return x + attended

    def read_context(self, key: Tensor, value: Tensor) -> Context:
        """Project key and value [B, M, width] for :meth:`attend_context`."""
        attention = self.cross_attn_image
        return Context(attention.project_key(key), attention.project_value(value))

    def attend_context(self, x: Tensor, context: Context, mask: Tensor | None) -> Tensor:
        """x [B, N, width]; mask bool [B, 1, 1, M], True = attend."""
        attention = self.cross_attn_image
        query = attention.project_query(self.norm2(x))
        x = x + attention.attend(query, context.key, context.value, mask)
        fed: Tensor = self.linear2(F.relu(self.linear1(self.norm3(x))))
        return x + fed


class FusionEncoder(nn.Module):
    """Image tokens attend to each other and to one prompt; run once per prompt."""

    def __init__(self, config: Sam3Config) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            FusionLayer(width=config.d_model, heads=config.attention_heads, hidden=config.ffn_dim)
            for _ in range(config.encoder_layers)
        )

    def prepare(self, tokens: Tensor, position: Tensor) -> Tensor:
        """The prompt-independent start, once per image: tokens [B, N, d] -> [B, N, d]."""
        first, *_ = _typed(self.layers)
        return first.attend_self(tokens, position)

    def forward(self, prepared: Tensor, position: Tensor, prompt: Tensor, valid: Tensor) -> Tensor:
        """Finish the fusion for each prompt.

        prepared: [B, N, d] from :meth:`prepare`; position: [N, d]; prompt: [B, T, d]; valid: bool
        [B, T]. Returns the memory [B, N, d].
        """
        mask = valid[:, None, None]
        x = prepared
        for index, layer in enumerate(_typed(self.layers)):
            if index > 0:
                x = layer.attend_self(x, position)
            x = layer.attend_context(x, layer.read_context(prompt, prompt), mask)
        return x


class GeometryEncoder(nn.Module):
    """What box and point prompts become; without any, one CLS token that reads the image.

    The official encoder's box and point projections are not built: this package asks in words.
    """

    def __init__(self, config: Sam3Config) -> None:
        super().__init__()
        width = config.d_model
        self.cls_embed = nn.Embedding(1, width)
        self.final_proj = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.encode = nn.ModuleList(
            FusionLayer(width=width, heads=config.attention_heads, hidden=config.ffn_dim)
            for _ in range(config.geometry_layers)
        )
        self.encode_norm = nn.LayerNorm(width)

    def read_image(self, tokens: Tensor, position: Tensor) -> tuple[Context, ...]:
        """What each layer's CLS token attends to, once per image: tokens [B, N, d]."""
        return tuple(layer.read_context(tokens + position, tokens) for layer in _typed(self.encode))

    def forward(self, readings: tuple[Context, ...], prompts: int) -> Tensor:
        """CLS tokens [B * prompts, 1, d] from :meth:`read_image` of B images.

        All of an image's tokens are equal but for rounding. One for each prompt costs little and
        rounds as the reference does, which matters where a decoder amplifies rounding.
        """
        images = readings[0].key.shape[0]
        weight = self.cls_embed.weight
        x = self.norm(self.final_proj(weight.expand(images * prompts, -1)))[:, None]
        for layer, reading in zip(_typed(self.encode), readings, strict=True):
            x = layer.attend_self(x, None)
            key, value = (per_pair(part, prompts) for part in reading)
            x = layer.attend_context(x, Context(key, value), None)
        normed: Tensor = self.encode_norm(x)
        return normed


def _typed(layers: nn.ModuleList) -> list[FusionLayer]:
    return cast("list[FusionLayer]", list(layers))


def per_pair(x: Tensor, prompts: int) -> Tensor:
    """[B, ...] -> [B * prompts, ...], images outermost; a view for one image."""
    return x[:, None].expand(-1, prompts, *x.shape[1:]).flatten(0, 1)
