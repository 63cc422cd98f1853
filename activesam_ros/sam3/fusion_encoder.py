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


class Prepared(NamedTuple):
    """The fusion encoder's prompt-independent start.

    tokens: [B, N, d] after the first self-attention; query: [B, heads, N, d / heads], what they
    ask the prompt in the first layer.
    """

    tokens: Tensor
    query: Tensor


class FusionLayer(nn.Module):
    """Pre-norm layer: self-attention, cross-attention to the context, ReLU MLP.

    The parts are methods of their own, since the first layer's self-attention and what it asks the
    context do not depend on the prompt.
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

    def ask_context(self, x: Tensor) -> Tensor:
        """The queries of the cross-attention: x [B, N, width] -> [B, heads, N, width / heads]."""
        return self.cross_attn_image.project_query(self.norm2(x))

    def attend_context(
        self, x: Tensor, query: Tensor, context: Context, mask: Tensor | None
    ) -> Tensor:
        """x [B, N, width]; query from :meth:`ask_context`; mask bool [B, 1, 1, M], True = attend.

        x and query of one image serve any number of prompts.
        """
        pairs = context.key.shape[0]
        query = query.expand(pairs, -1, -1, -1)
        attended = self.cross_attn_image.attend(query, context.key, context.value, mask)
        x = x + attended
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

    def prepare(self, tokens: Tensor, position: Tensor) -> Prepared:
        """The prompt-independent start, once per image: tokens [B, N, d]."""
        first, *_ = _typed(self.layers)
        tokens = first.attend_self(tokens, position)
        return Prepared(tokens, first.ask_context(tokens))

    def forward(
        self, prepared: Prepared, position: Tensor, prompt: Tensor, valid: Tensor
    ) -> Tensor:
        """Finish the fusion for each of K pairs of image and prompt.

        prepared: from :meth:`prepare`, of each pair's image or of the one image of all pairs;
        position: [N, d]; prompt: [K, T, d]; valid: bool [K, T]. Returns the memory [K, N, d].
        """
        mask = valid[:, None, None]
        x, query = prepared
        for index, layer in enumerate(_typed(self.layers)):
            if index > 0:
                x = layer.attend_self(x, position)
                query = layer.ask_context(x)
            x = layer.attend_context(x, query, layer.read_context(prompt, prompt), mask)
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
            x = layer.attend_context(x, layer.ask_context(x), Context(key, value), None)
        normed: Tensor = self.encode_norm(x)
        return normed


def _typed(layers: nn.ModuleList) -> list[FusionLayer]:
    return cast("list[FusionLayer]", list(layers))


def per_pair(x: Tensor, prompts: int) -> Tensor:
    """[B, ...] -> [B * prompts, ...], images outermost; a view for one image."""
    return x[:, None].expand(-1, prompts, *x.shape[1:]).flatten(0, 1)
