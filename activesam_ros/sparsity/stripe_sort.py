"""Stripe-Sort: an order of tokens in which sparse attention is one fixed pattern.

Four neighbours on the Z curve form a group. Groups are ranked, then striped: first every group's
first token, then every group's second, and so on (methods.md section 4). So any share of the first
tokens holds something of every region, and more of the regions that rank high.
"""

from __future__ import annotations

import torch
from torch import Tensor

GROUP = 4
_SMALLEST_SPREAD = 1e-6


def group_scores(keys: Tensor) -> Tensor:
    """How much each group of four tokens stands out, float32 [..., groups].

    keys: [..., N, d] along the curve, before rotary position; where N is no multiple of four the
    last group has the rest. The score is z(standard deviation of the group's keys, averaged over
    channels) + z(minus the mean cosine similarity of the group's mean key to the other groups').
    """
    keys = keys.float()
    whole = keys.shape[-2] // GROUP * GROUP
    parts = [keys[..., :whole, :].unflatten(-2, (-1, GROUP))] if whole else []
    if whole < keys.shape[-2]:
        parts.append(keys[..., None, whole:, :])
    means = torch.cat([part.mean(dim=-2) for part in parts], dim=-2)
    spreads = torch.cat([_spread(part) for part in parts], dim=-1)
    return _standardized(spreads) + _standardized(-_mean_similarity(means))


def _spread(groups: Tensor) -> Tensor:
    """Standard deviation of groups [..., tokens, d] over their tokens, averaged over channels.

    By its definition: Tensor.std over so few takes many times as long.
    """
    centred = groups - groups.mean(dim=-2, keepdim=True)
    return centred.square_().mean(dim=-2).sqrt_().mean(dim=-1)


def _mean_similarity(means: Tensor) -> Tensor:
    """Mean cosine similarity of each vector [..., G, d] to the others [..., G]."""
    directions = torch.nn.functional.normalize(means, dim=-1)
    # The sum over all others is a product with one vector: no [G, G] is formed.
    total = directions.sum(dim=-2, keepdim=True)
    own = directions.square().sum(dim=-1)
    summed = (directions * total).sum(dim=-1) - own
    return summed / max(means.shape[-2] - 1, 1)


def _standardized(values: Tensor) -> Tensor:
    """Zero mean and unit deviation along the last dimension."""
    centred = values - values.mean(dim=-1, keepdim=True)
    deviation = centred.square().mean(dim=-1, keepdim=True).sqrt()
    return centred / deviation.clamp(min=_SMALLEST_SPREAD)


def stripe(groups: Tensor, tokens: int) -> Tensor:
    """Stripe ranked groups: places on the curve, int64 [..., tokens].

    groups: int64 [..., ceil(tokens / 4)], the best first.
    """
    slots = torch.arange(GROUP, device=groups.device)
    places = (slots[:, None] + GROUP * groups[..., None, :]).flatten(-2)
    if tokens % GROUP == 0:
        return places
    # The last group of the curve is short.
    return places[places < tokens].view(*groups.shape[:-1], tokens)


def content_order(keys: Tensor, curve: Tensor) -> Tensor:
    """Token order by what the keys say: which token of the grid comes at each place.

    keys: [..., N, d] in grid order, before rotary position; curve: [N] from z_order. Returns int64
    [..., N].
    """
    return scored_order(group_scores(keys.index_select(-2, curve)), curve)


def scored_order(scores: Tensor, curve: Tensor) -> Tensor:
    """Token order by group scores [..., groups], the highest first, int64 [..., N]."""
    groups = scores.argsort(dim=-1, descending=True, stable=True)
    return curve[stripe(groups, len(curve))]


def static_order(curve: Tensor, kept: int) -> Tensor:
    """Token order that no image changes, int64 [N].

    The first ``kept`` tokens are whole stripes and, of the stripe that does not fit, the groups at
    uniform stride along the curve.
    """
    count = -(-len(curve) // GROUP)
    share = kept % count
    index = torch.arange(count, device=curve.device)
    if share:
        chosen = torch.zeros_like(index).index_fill(0, index[:share] * count // share, 1)
        index = chosen.argsort(descending=True, stable=True)
    return curve[stripe(index, len(curve))]


def ranks(order: Tensor) -> Tensor:
    """The place of each token in an order [..., N], int64 [..., N]: the inverse permutation."""
    places = torch.arange(order.shape[-1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(-1, order, places)
