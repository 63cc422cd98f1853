"""Fusion of image tokens with a prompt, and the geometry encoder's CLS token."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch.nn.functional as F
from torch import Tensor, nn

from activesam_ros.sam3.attention import MultiheadAttention
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.plan import DENSE, Attend, Feed, FusionPlan


class Context(NamedTuple):
    """Keys and values of a cross-attention, [B, heads, M, c] each."""

    key: Tensor
    value: Tensor


class Prepared(NamedTuple):
    """The part of the first fusion layer that does not depend on the prompt.

    tokens: [B, N, d] after the first self-attention; query: [B, heads, N, c], their queries for the
    first layer's cross-attention.
    """

    tokens: Tensor
    query: Tensor

    def arranged(self, order: Tensor) -> Prepared:
        """A copy with the tokens of each image in this order, int64 [B, N]."""
        heads = self.query.shape[1]
        query = arranged(self.query.flatten(0, 1), per_pair(order, heads))  # [B * heads, N, c]
        return Prepared(arranged(self.tokens, order), query.view_as(self.query))


class FusionLayer(nn.Module):
    """Pre-norm layer: self-attention, cross-attention to the context, ReLU MLP.

    Each part is a separate method, since the first layer's self-attention and its queries for the
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

    def attend_self(
        self, x: Tensor, position: Tensor | None, attend: Attend | None = None
    ) -> Tensor:
        """x [B, N, width]; position [N, width] is added to queries and keys, not to values.

        ``attend`` may replace the dense attention.
        """
        value = self.norm1(x)  # [B, N, width]
        located = value if position is None else value + position
        if attend is None:
            attended: Tensor = self.self_attn(located, located, value)
            return x + attended
        attention = self.self_attn
        key = attention.project_key(located)  # [B, heads, N, c]
        heads = attend(attention.project_query(located), key, attention.project_value(value), key)
        return x + attention.project_output(heads)

    def content_keys(self, x: Tensor) -> Tensor:
        """Keys of the self-attention without position: x [B, N, width] -> [B, N, width]."""
        return self.self_attn.project_key(self.norm1(x)).transpose(1, 2).flatten(2)

    def read_context(self, key: Tensor, value: Tensor) -> Context:
        """Project key and value [B, M, width] for :meth:`attend_context`."""
        attention = self.cross_attn_image
        return Context(attention.project_key(key), attention.project_value(value))

    def query_context(self, x: Tensor) -> Tensor:
        """Queries of the cross-attention: x [B, N, width] -> [B, heads, N, c]."""
        return self.cross_attn_image.project_query(self.norm2(x))

    def attend_context(
        self,
        x: Tensor,
        query: Tensor,
        context: Context,
        mask: Tensor | None,
        feed: Feed | None = None,
    ) -> Tensor:
        """Cross-attention and MLP of x [B, N, width] -> [K, N, width].

        query: from :meth:`query_context`; mask: bool [K, 1, 1, M], True = attend. B is K, or 1 for
        one image of all K prompts. ``feed`` may choose the tokens that go through the MLP.
        """
        pairs = context.key.shape[0]
        query = query.expand(pairs, -1, -1, -1)  # [K, heads, N, c]
        attended = self.cross_attn_image.attend(query, context.key, context.value, mask)
        x = x + attended
        return x + self._fed(x) if feed is None else feed(x, self._fed)

    def _fed(self, x: Tensor) -> Tensor:
        fed: Tensor = self.linear2(F.relu_(self.linear1(self.norm3(x))))
        return fed


class FusionEncoder(nn.Module):
    """Image tokens attend to each other and to one prompt; run once per prompt."""

    def __init__(self, config: Sam3Config) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            FusionLayer(width=config.d_model, heads=config.attention_heads, hidden=config.ffn_dim)
            for _ in range(config.encoder_layers)
        )

    def prepare(self, tokens: Tensor, position: Tensor) -> Prepared:
        """Compute the prompt-independent part, once per image; tokens [B, N, d]."""
        first, *_ = _typed(self.layers)
        tokens = first.attend_self(tokens, position)
        return Prepared(tokens, first.query_context(tokens))

    def content_keys(self, tokens: Tensor) -> Tensor:
        """Keys of the first self-attention without position [B, N, d], to rank tokens by."""
        first, *_ = _typed(self.layers)
        return first.content_keys(tokens)

    def forward(
        self,
        prepared: Prepared,
        position: Tensor,
        prompt: Tensor,
        valid: Tensor,
        plan: FusionPlan | None = None,
    ) -> Tensor:
        """Finish the fusion for each of K pairs of image and prompt.

        prepared: from :meth:`prepare`, one for each pair or one image for all pairs, in the plan's
        order of tokens; position: [N, d]; prompt: [K, T, d]; valid: bool [K, T]. Returns the memory
        [K, N, d] in grid order.
        """
        mask = valid[:, None, None]  # [K, 1, 1, T]
        x, query = prepared
        layers = _typed(self.layers)
        plans = (DENSE,) * len(layers) if plan is None else plan.layers
        if plan is not None:
            position = position[plan.order]  # [B, N, d]
            if len(position) > 1:
                position = per_pair(position, len(x) // len(position))
        for index, (layer, part) in enumerate(zip(layers, plans, strict=True)):
            if index > 0:
                x = layer.attend_self(x, position, part.attend)
                query = layer.query_context(x)
            context = layer.read_context(prompt, prompt)
            x = layer.attend_context(x, query, context, mask, part.feed)
        if plan is None:
            return x
        return arranged(x, per_pair(plan.places, len(x) // len(plan.places)))


class GeometryEncoder(nn.Module):
    """Encodes box and point prompts; for text prompts alone, one CLS token that reads the image.

    The official encoder's box and point projections are not built, since prompts here are text.
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
        """Keys and values for each layer's CLS token, once per image: tokens [B, N, d]."""
        return tuple(layer.read_context(tokens + position, tokens) for layer in _typed(self.encode))

    def forward(self, readings: tuple[Context, ...], prompts: int) -> Tensor:
        """CLS tokens [B * prompts, 1, d] from the :meth:`read_image` of B images.

        The tokens of one image differ by rounding only. One for each prompt costs little and rounds
        as the reference does, which matters where a decoder amplifies rounding.
        """
        images = readings[0].key.shape[0]
        weight = self.cls_embed.weight
        # [B * prompts, 1, d]
        x = self.norm(self.final_proj(weight.expand(images * prompts, -1)))[:, None]
        for layer, reading in zip(_typed(self.encode), readings, strict=True):
            x = layer.attend_self(x, None)
            key, value = (per_pair(part, prompts) for part in reading)  # [B * prompts, heads, N, c]
            x = layer.attend_context(x, layer.query_context(x), Context(key, value), None)
        normed: Tensor = self.encode_norm(x)
        return normed


def _typed(layers: nn.ModuleList) -> list[FusionLayer]:
    return cast("list[FusionLayer]", list(layers))


def arranged(x: Tensor, order: Tensor) -> Tensor:
    """Tokens of x [B, N, d] in the order int64 [B, N] of each row."""
    return x.gather(1, order[..., None].expand_as(x))


def per_pair(x: Tensor, prompts: int) -> Tensor:
    """Repeat each image: [B, ...] -> [B * prompts, ...], images outermost; a view for B = 1."""
    return x[:, None].expand(-1, prompts, *x.shape[1:]).flatten(0, 1)
