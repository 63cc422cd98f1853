"""What extends a prompt beyond its own words: neighbours and hypernyms, before the resizer
(ActiveSAM, contextual prompt expansion, steps 2 to 4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Similarities of this many queries to all others are formed at once.
_ROWS = 4096


def pooled_embeddings(embeddings: Tensor, padding: Tensor) -> Tensor:
    """Mean over the tokens that are not padding.

    embeddings: [K, L, text_width], rows of the token table as they enter the text transformer,
    without position; padding: bool [K, L], True = padding. Returns [K, text_width].
    """
    valid = (~padding).to(embeddings.dtype).unsqueeze(-1)
    return (embeddings * valid).sum(dim=1) / valid.sum(dim=1).clamp_min(1)


def nearest_queries(pooled: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` nearest other queries of each query by cosine similarity, nearest first.

    pooled: [K, text_width]. Returns similarities and int64 indices, [K, min(count, K - 1)] each.
    """
    found = min(count, len(pooled) - 1)
    unit = pooled / pooled.norm(dim=-1, keepdim=True).clamp_min(1e-8)
    nearest = []
    for start in range(0, len(pooled), _ROWS):
        similarity = unit[start : start + _ROWS] @ unit.T
        rows = torch.arange(len(similarity), device=pooled.device)
        similarity[rows, start + rows] = -torch.inf  # a query is no neighbour of itself
        nearest.append(similarity.topk(found, dim=1))
    similarities, indices = zip(*nearest, strict=True)
    return torch.cat(similarities), torch.cat(indices)


def neighbor_embeddings(pooled: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The pooled embeddings of each query's nearest other queries.

    pooled [K, text_width] -> pooled embeddings of the neighbours [K, count, text_width], each times
    its weight in the softmax over the neighbours' similarities, and padding bool [K, count]. With
    fewer than ``count`` other queries the rest is padding, and zero.
    """
    similarities, indices = nearest_queries(pooled, count)
    weights = similarities.softmax(dim=1).unsqueeze(-1)
    missing = count - indices.shape[1]
    embeddings = F.pad(pooled[indices] * weights, (0, 0, 0, missing))
    padding = torch.arange(count, device=pooled.device) >= indices.shape[1]
    return embeddings, padding.expand(len(pooled), count)


def hypernym_embeddings(
    names: Sequence[Sequence[str]], count: int, pool: Callable[[Sequence[str]], Tensor]
) -> tuple[Tensor, Tensor]:
    """The pooled embeddings of each query's hypernyms.

    names: for each of K queries at most ``count`` hypernym names; pool: N texts to their pooled
    embeddings [N, text_width]. Returns [K, count, text_width] and padding bool [K, count]; missing
    hypernyms are padding, and zero.
    """
    unique = dict.fromkeys(name for row in names for name in row)
    position = {name: index for index, name in enumerate(unique)}
    pooled = pool(tuple(position))
    # One row more, of zeros, stands for the missing ones.
    table = F.pad(pooled, (0, 0, 0, 1))
    missing = len(position)
    index = torch.tensor(
        [[position[name] for name in row] + [missing] * (count - len(row)) for row in names],
        dtype=torch.int64,
        device=pooled.device,
    ).reshape(len(names), count)
    return table[index], index == missing
