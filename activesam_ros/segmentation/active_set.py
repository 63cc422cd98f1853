"""Which queries are worth decoding (methods.md section 2, preview)."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor


def select(presence: Tensor, *, quantile_alpha: float, max_active: int) -> tuple[int, ...]:
    """Ascending indices of the queries to keep; never empty.

    presence: float32 [K]. Keeps scores at or above the (1 - quantile_alpha) quantile (linear
    interpolation) and of those at most the ``max_active`` highest.
    """
    threshold = torch.quantile(presence, 1 - quantile_alpha)
    kept = (presence >= threshold).nonzero()[:, 0]
    if len(kept) == 0:  # presence that is not a number compares with nothing
        kept = presence.nan_to_num(-1.0).argmax()[None]
    if len(kept) > max_active:
        order = presence[kept].sort(descending=True, stable=True).indices[:max_active]
        kept = kept[order]
    return tuple(sorted(kept.tolist()))


def with_pinned(selected: Collection[int], pinned: Collection[int]) -> tuple[int, ...]:
    """The selected and the pinned queries, ascending; pinned ones are never pruned."""
    return tuple(sorted({*selected, *pinned}))
