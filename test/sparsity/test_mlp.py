"""The MLP of some tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from activesam_ros.sparsity.mlp import best_tokens, feed_first, feed_tokens, token_count


def doubled(x: Tensor) -> Tensor:
    return 2 * x + 1


@pytest.mark.parametrize(
    ("density", "tokens", "count"), [(0.4, 5184, 2074), (0.3, 5184, 1555), (0.4, 36, 14)]
)
def test_how_many(density: float, tokens: int, count: int) -> None:
    assert token_count(density, tokens) == count


def test_the_lowest_mean_rank_over_heads_wins() -> None:
    ranks = torch.tensor([[[0, 1, 2, 3], [3, 1, 0, 2]], [[3, 2, 1, 0], [3, 2, 1, 0]]])
    assert best_tokens(ranks, 2).tolist() == [[1, 2], [2, 3]]  # means 1.5 1 1 2.5 and 3 2 1 0


@given(tokens=st.integers(1, 20), share=st.floats(0, 1), seed=st.integers(0, 9))
def test_only_chosen_tokens_change(tokens: int, share: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, tokens, 3, generator=generator)
    ranks = torch.rand(2, 4, tokens, generator=generator).argsort(dim=-1)
    chosen = best_tokens(ranks, round(share * tokens))
    fed = feed_tokens(x, chosen, doubled)
    expected = x.clone()
    for image in range(2):
        for token in chosen[image].tolist():
            expected[image, token] += doubled(x[image, token])
    assert torch.equal(fed, expected)


def test_feeding_the_first_is_feeding_those_tokens() -> None:
    x = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0))
    first = torch.arange(4).expand(2, -1)
    assert torch.equal(feed_first(4, x, doubled), feed_tokens(x, first, doubled))
