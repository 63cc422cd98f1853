"""Embeddings of the neighbour and hypernym tokens that extend a prompt, before their projection.

ActiveSAM, contextual prompt expansion, steps 2 to 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Queries whose similarities to all K queries are computed at once.
_ROWS = 4096


def pooled_embeddings(embeddings: Tensor, padding: Tensor) -> Tensor:
    """Mean over the tokens that are not padding.

    embeddings: [K, L, W], token embeddings without positions; W is the text width. padding: bool
    [K, L], True = padding. Returns [K, W].
    """
    valid = (~padding).to(embeddings.dtype).unsqueeze(-1)  # [K, L, 1]
    return (embeddings * valid).sum(dim=1) / valid.sum(dim=1).clamp_min(1)


def nearest_queries(pooled: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` nearest other queries of each query by cosine similarity, nearest first.

    pooled: [K, W]. Returns similarities and int64 indices, [K, min(count, K - 1)] each.
    """
    found = min(count, len(pooled) - 1)
    unit = pooled / pooled.norm(dim=-1, keepdim=True).clamp_min(1e-8)  # [K, W]
    nearest = []
    for start in range(0, len(pooled), _ROWS):
        similarity = unit[start : start + _ROWS] @ unit.T  # [rows, K]
        rows = torch.arange(len(similarity), device=pooled.device)
        similarity[rows, start + rows] = -torch.inf  # not its own neighbour
        nearest.append(similarity.topk(found, dim=1))
    similarities, indices = zip(*nearest, strict=True)
    return torch.cat(similarities), torch.cat(indices)


def neighbor_embeddings(pooled: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The embeddings of each query's nearest other queries, weighted by similarity.

    pooled: [K, W]. Returns embeddings [K, count, W], each times its weight in the softmax over the
    similarities of the query's neighbours, and padding bool [K, count]. With fewer than ``count``
    other queries the rest is zero and padding.
    """
    similarities, indices = nearest_queries(pooled, count)
    weights = similarities.softmax(dim=1).unsqueeze(-1)  # [K, found, 1]
    missing = count - indices.shape[1]
    embeddings = F.pad(pooled[indices] * weights, (0, 0, 0, missing))  # [K, count, W]
    padding = torch.arange(count, device=pooled.device) >= indices.shape[1]  # [count]
    return embeddings, padding.expand(len(pooled), count)


def hypernym_embeddings(
    names: Sequence[Sequence[str]], count: int, pool: Callable[[Sequence[str]], Tensor]
) -> tuple[Tensor, Tensor]:
    """The pooled embeddings of each query's hypernyms.

    names: at most ``count`` hypernyms for each of K queries. pool: N texts -> their pooled
    embeddings [N, W]. Returns embeddings [K, count, W] and padding bool [K, count]; a missing
    hypernym is zero and padding.
    """
    unique = dict.fromkeys(name for row in names for name in row)
    position = {name: index for index, name in enumerate(unique)}
    pooled = pool(tuple(position))  # [N, W]
    # The last row, of zeros, stands for missing hypernyms.
    table = F.pad(pooled, (0, 0, 0, 1))  # [N + 1, W]
    missing = len(position)
    index = torch.tensor(
        [[position[name] for name in row] + [missing] * (count - len(row)) for row in names],
        dtype=torch.int64,
        device=pooled.device,
    ).reshape(len(names), count)  # [K, count]
    return table[index], index == missing
