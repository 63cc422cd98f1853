"""Building blocks of several stages: attention, small MLPs, sine positions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def at_least_float32(x: Tensor) -> Tensor:
    """x in float32, float64 unchanged: for steps that need more precision than bfloat16 has."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class MultiheadAttention(nn.Module):
    """Multi-head attention with one stacked input projection, batch first.

    Queries, keys and values have separate projection methods, so that a stage can project once what
    several calls share.
    """

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def project_query(self, x: Tensor) -> Tensor:
        """[B, N, width] -> [B, heads, N, width / heads]."""
        return self._project(x, 0)

    def project_key(self, x: Tensor) -> Tensor:
        """[B, N, width] -> [B, heads, N, width / heads]."""
        return self._project(x, 1)

    def project_value(self, x: Tensor) -> Tensor:
        """[B, N, width] -> [B, heads, N, width / heads]."""
        return self._project(x, 2)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Attention of projected heads -> [B, N, width].

        mask: broadcastable to [B, heads, N, M]; bool (True = attend) or an additive bias.
        """
        return self.project_output(
            F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        )

    def project_output(self, x: Tensor) -> Tensor:
        """Attended heads [B, heads, N, width / heads] -> [B, N, width]."""
        projected: Tensor = self.out_proj(x.transpose(1, 2).flatten(2))
        return projected

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """query [B, N, width], key and value [B, M, width] -> [B, N, width]; mask as in attend."""
        return self.attend(
            self.project_query(query), self.project_key(key), self.project_value(value), mask
        )

    def exactly(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """As forward, without a fused kernel; mask bool, True = attend.

        It rounds as the reference does, which a fused kernel does not. For short sequences.
        """
        query = self.project_query(query)  # [B, heads, N, c]
        key, value = self.project_key(key), self.project_value(value)  # [B, heads, M, c]
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)  # [B, heads, N, M]
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return self.project_output(scores.softmax(dim=-1) @ value)

    def _project(self, x: Tensor, part: int) -> Tensor:
        width = x.shape[-1]
        rows = slice(part * width, (part + 1) * width)
        x = F.linear(x, self.in_proj_weight[rows], self.in_proj_bias[rows])  # [B, N, width]
        heads: Tensor = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, N, c]
        return heads


class Mlp(nn.Module):
    """Linear layers with ReLU between them; ``widths`` runs from input to output."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(before, after) for before, after in itertools.pairwise(widths)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[..., widths[0]] -> [..., widths[-1]]."""
        *hidden, last = self.layers
        for layer in hidden:
            x = F.relu(layer(x))
        output: Tensor = last(x)
        return output


def sine_features(position: Tensor, features: int) -> Tensor:
    """Sine and cosine features of scalar positions.

    position: [...] in units of the image side, float32 or float64 -> [..., features] in the same
    dtype. Even channels are sines, odd ones cosines of the same frequency (temperature 10000).
    """
    channel = torch.arange(features, dtype=position.dtype, device=position.device)  # [features]
    frequency = 10000.0 ** (2 * torch.div(channel, 2, rounding_mode="floor") / features)
    angle = (position * (2 * math.pi))[..., None] / frequency  # [..., features]
    return torch.stack((angle[..., 0::2].sin(), angle[..., 1::2].cos()), dim=-1).flatten(-2)


def sine_position_grid(
    height: int, width: int, d_model: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Sine positions of image tokens -> [height * width, d_model], y in the first half.

    Computed in float32 or better, returned in ``dtype``.
    """
    precise = torch.promote_types(dtype, torch.float32)

    def axis(length: int) -> Tensor:
        steps = torch.arange(1, length + 1, dtype=precise, device=device)  # [length]
        return sine_features(steps / (length + 1e-6), d_model // 2)

    rows = axis(height)[:, None].expand(height, width, -1)  # [height, width, d_model / 2]
    columns = axis(width)[None].expand(height, width, -1)  # [height, width, d_model / 2]
    return torch.cat((rows, columns), dim=-1).flatten(0, 1).to(dtype)
