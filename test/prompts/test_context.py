"""Neighbour and hypernym embeddings, against the formulas written out in numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from activesam_ros.prompts.context import (
    hypernym_embeddings,
    neighbor_embeddings,
    pooled_embeddings,
)


def expected_neighbors(pooled: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """[K, count, width], one query and one neighbour after the other."""
    result = np.zeros((len(pooled), count, pooled.shape[1]))
    for query, own in enumerate(pooled):
        cosine = [
            -np.inf
            if other == query
            else own @ theirs / (np.linalg.norm(own) * np.linalg.norm(theirs))
            for other, theirs in enumerate(pooled)
        ]
        nearest = sorted(range(len(pooled)), key=lambda other: -cosine[other])[:count]
        powers = np.exp([cosine[other] for other in nearest])
        for slot, (other, power) in enumerate(zip(nearest, powers, strict=True)):
            result[query, slot] = pooled[other] * power / powers.sum()
    return result


def test_the_mean_leaves_padding_out() -> None:
    embeddings = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [100.0, 100.0]], [[5.0, 6.0]] * 3])
    padding = torch.tensor([[False, False, True], [False, True, True]])
    assert pooled_embeddings(embeddings, padding).tolist() == [[2.0, 3.0], [5.0, 6.0]]


@given(st.integers(3, 12), st.integers(1, 2), st.integers(0, 1000))
def test_neighbors_follow_the_formula(queries: int, count: int, seed: int) -> None:
    pooled = np.random.default_rng(seed).normal(size=(queries, 8))
    tokens, padding = neighbor_embeddings(torch.from_numpy(pooled), count)
    np.testing.assert_allclose(tokens.numpy(), expected_neighbors(pooled, count), atol=1e-12)
    assert not padding.any()
    assert padding.shape == (queries, count)


def test_many_queries_are_done_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    pooled = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 8)))
    whole, _ = neighbor_embeddings(pooled, 2)
    monkeypatch.setattr("activesam_ros.prompts.context._ROWS", 7)
    blocks, _ = neighbor_embeddings(pooled, 2)
    torch.testing.assert_close(blocks, whole)


def test_fewer_queries_than_neighbors_leave_padding() -> None:
    pooled = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    tokens, padding = neighbor_embeddings(pooled, 3)
    assert padding.tolist() == [[False, True, True]] * 2
    assert tokens[:, 0].tolist() == [[0.0, 2.0], [1.0, 0.0]]
    assert not tokens[:, 1:].any()


def test_a_query_alone_has_no_neighbors() -> None:
    tokens, padding = neighbor_embeddings(torch.ones(1, 4), 2)
    assert not tokens.any()
    assert padding.tolist() == [[True, True]]


def test_no_neighbors_are_an_empty_axis() -> None:
    tokens, padding = neighbor_embeddings(torch.ones(3, 4), 0)
    assert tokens.shape == (3, 0, 4)
    assert padding.shape == (3, 0)


def test_a_zero_embedding_makes_no_nan() -> None:
    tokens, _ = neighbor_embeddings(torch.zeros(3, 4), 2)
    assert torch.isfinite(tokens).all()


def pool_lengths(texts: Sequence[str]) -> torch.Tensor:
    return torch.tensor([[float(len(text)), 1.0] for text in texts]).reshape(len(texts), 2)


def test_missing_hypernyms_are_padding_and_zero() -> None:
    names = [("way", "path"), (), ("plant",), ("path",)]
    tokens, padding = hypernym_embeddings(names, 2, pool_lengths)
    assert tokens.tolist() == [
        [[3.0, 1.0], [4.0, 1.0]],
        [[0.0, 0.0], [0.0, 0.0]],
        [[5.0, 1.0], [0.0, 0.0]],
        [[4.0, 1.0], [0.0, 0.0]],
    ]
    assert padding.tolist() == [[False, False], [True, True], [False, True], [False, True]]


@pytest.mark.parametrize("count", [0, 2])
def test_no_hypernyms_at_all_are_padding(count: int) -> None:
    tokens, padding = hypernym_embeddings([(), (), ()], count, pool_lengths)
    assert tokens.shape == (3, count, 2)
    assert not tokens.any()
    assert padding.shape == (3, count)
    assert padding.all()
