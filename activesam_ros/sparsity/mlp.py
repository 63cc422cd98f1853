"""The residual-consistency MLP: some tokens go through it, the others pass it by (section 4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

# From tokens [..., width] to what is added to them.
Update: TypeAlias = Callable[[Tensor], Tensor]


def token_count(density: float, tokens: int) -> int:
    """How many of the tokens go through the MLP."""
    return round(density * tokens)


def best_tokens(ranks: Tensor, count: int) -> Tensor:
    """The ``count`` tokens of the lowest mean rank, int64 [B, count] ascending.

    ranks: [B, heads, N], 0 the best.
    """
    mean = ranks.float().mean(dim=1)
    return mean.argsort(dim=-1, stable=True)[:, :count].sort(dim=-1).values


def feed_tokens(x: Tensor, tokens: Tensor, update: Update) -> Tensor:
    """x [B, N, width] with the update of the given tokens [B, count] added to them alone."""
    index = tokens[..., None].expand(-1, -1, x.shape[-1])
    return x.scatter_add(1, index, update(x.gather(1, index)))


def feed_first(count: int, x: Tensor, update: Update) -> Tensor:
    """x [B, N, width] with the update of the first ``count`` tokens added to them alone."""
    best, others = x[:, :count], x[:, count:]
    return torch.cat((best + update(best), others), dim=1)
