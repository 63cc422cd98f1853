"""Stripe-Sort: an order of tokens in which sparse attention has one fixed pattern.

Four neighbours on the Z curve form a group. Groups are ranked, then striped: the first token of
every group, then the second of every group, and so on (SparseSAM). So the first tokens
of the order cover every region, and regions that rank high most.
"""

from __future__ import annotations

import torch
from torch import Tensor

GROUP = 4
_SMALLEST_SPREAD = 1e-6


def group_scores(keys: Tensor) -> Tensor:
    """Score of each group of four tokens, float32 [..., groups]; high where a group stands out.

    keys: [..., N, d] along the curve, before rotary position. Where N is not a multiple of four the
    last group is smaller. The score is z(standard deviation of the group's keys, averaged over
    channels) + z(minus the mean cosine similarity of the group's mean key to the other groups').
    """
    keys = keys.float()
    whole = keys.shape[-2] // GROUP * GROUP
    # [..., groups, 4, d]
    parts = [keys[..., :whole, :].unflatten(-2, (-1, GROUP))] if whole else []
    if whole < keys.shape[-2]:
        parts.append(keys[..., None, whole:, :])
    means = torch.cat([part.mean(dim=-2) for part in parts], dim=-2)  # [..., groups, d]
    spreads = torch.cat([_spread(part) for part in parts], dim=-1)  # [..., groups]
    return _standardized(spreads) + _standardized(-_mean_similarity(means))


def _spread(groups: Tensor) -> Tensor:
    """Standard deviation of groups [..., tokens, d] over their tokens, averaged over channels.

    It is written out, since Tensor.std over so few values takes many times as long.
    """
    centred = groups - groups.mean(dim=-2, keepdim=True)
    return centred.square_().mean(dim=-2).sqrt_().mean(dim=-1)


def _mean_similarity(means: Tensor) -> Tensor:
    """Mean cosine similarity of each vector [..., G, d] to the others -> [..., G]."""
    directions = torch.nn.functional.normalize(means, dim=-1)  # [..., G, d]
    # The sum over all others is a product with one vector, so no [G, G] is formed.
    total = directions.sum(dim=-2, keepdim=True)  # [..., 1, d]
    own = directions.square().sum(dim=-1)  # [..., G]
    summed = (directions * total).sum(dim=-1) - own
    return summed / max(means.shape[-2] - 1, 1)


def _standardized(values: Tensor) -> Tensor:
    """Shift and scale to zero mean and unit deviation along the last dimension."""
    centred = values - values.mean(dim=-1, keepdim=True)
    deviation = centred.square().mean(dim=-1, keepdim=True).sqrt()
    return centred / deviation.clamp(min=_SMALLEST_SPREAD)


def stripe(groups: Tensor, tokens: int) -> Tensor:
    """Places on the curve in stripe order, int64 [..., tokens].

    groups: int64 [..., ceil(tokens / 4)], the best first.
    """
    slots = torch.arange(GROUP, device=groups.device)
    places = (slots[:, None] + GROUP * groups[..., None, :]).flatten(-2)
    if tokens % GROUP == 0:
        return places
    # The last group of the curve is short.
    return places[places < tokens].view(*groups.shape[:-1], tokens)


def content_order(keys: Tensor, curve: Tensor) -> Tensor:
    """Token order by the scores of keys: the grid's token at each place, int64 [..., N].

    keys: [..., N, d] in grid order, before rotary position; curve: [N] from z_order.
    """
    return scored_order(group_scores(keys.index_select(-2, curve)), curve)


def scored_order(scores: Tensor, curve: Tensor) -> Tensor:
    """Token order by group scores [..., groups], the highest first, int64 [..., N]."""
    groups = scores.argsort(dim=-1, descending=True, stable=True)
    return curve[stripe(groups, len(curve))]


def static_order(curve: Tensor, kept: int) -> Tensor:
    """Token order that is the same for every image, int64 [N].

    The first ``kept`` tokens are whole stripes, and the groups at a uniform stride along the curve
    of the stripe that does not fit.
    """
    count = -(-len(curve) // GROUP)
    share = kept % count
    index = torch.arange(count, device=curve.device)
    if share:
        chosen = torch.zeros_like(index).index_fill(0, index[:share] * count // share, 1)
        index = chosen.argsort(descending=True, stable=True)
    return curve[stripe(index, len(curve))]


def ranks(order: Tensor) -> Tensor:
    """The place of each token in an order [..., N]: the inverse permutation, int64 [..., N]."""
    places = torch.arange(order.shape[-1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(-1, order, places)
