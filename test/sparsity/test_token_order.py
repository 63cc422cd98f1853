"""Scores, stripes and orders, against the definition written out token by token."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from activesam_ros.sparsity.token_order import (
    content_order,
    group_scores,
    ranks,
    static_order,
    stripe,
)
from activesam_ros.sparsity.z_order import z_order

CPU = torch.device("cpu")


def random_keys(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def expected_scores(keys: NDArray[np.float64]) -> NDArray[np.float64]:
    """The definition, group by group: keys [N, d] along the curve."""
    groups = [keys[start : start + 4] for start in range(0, len(keys), 4)]
    means = [group.mean(axis=0) for group in groups]
    spreads = np.array([group.std(axis=0).mean() for group in groups])
    apart = np.array(
        [
            -np.mean(
                [
                    mean @ other / np.linalg.norm(mean) / np.linalg.norm(other)
                    for j, other in enumerate(means)
                    if j != i
                ]
            )
            for i, mean in enumerate(means)
        ]
    )
    total = np.zeros(len(groups))
    for part in (spreads, apart):
        total += (part - part.mean()) / part.std()
    return total


@pytest.mark.parametrize("tokens", [12, 9, 30, 31, 144])
def test_scores_are_spread_and_distance(tokens: int) -> None:
    keys = random_keys(2, 3, tokens, 8)
    scores = group_scores(keys)
    assert scores.shape == (2, 3, -(-tokens // 4))
    for batch in range(2):
        for head in range(3):
            expected = expected_scores(keys[batch, head].double().numpy())
            np.testing.assert_allclose(scores[batch, head].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("tokens", [1, 3, 4, 5])
def test_keys_that_are_all_the_same_score_the_same(tokens: int) -> None:
    scores = group_scores(torch.ones(1, 1, tokens, 8))
    assert scores.isfinite().all()
    assert scores.abs().max() < 1e-3


@given(tokens=st.integers(1, 90), seed=st.integers(0, 99))
def test_stripes_take_the_groups_in_turn(tokens: int, seed: int) -> None:
    count = math.ceil(tokens / 4)
    groups = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    expected = [
        4 * int(group) + slot
        for slot in range(4)
        for group in groups
        if 4 * int(group) + slot < tokens
    ]
    assert stripe(groups, tokens).tolist() == expected
    assert stripe(groups.expand(2, 3, -1), tokens)[1, 2].tolist() == expected


@given(height=st.integers(1, 12), width=st.integers(1, 12), seed=st.integers(0, 9))
def test_an_order_holds_every_token_once(height: int, width: int, seed: int) -> None:
    curve = z_order(height, width, CPU)
    order = content_order(random_keys(2, 3, height * width, 4, seed=seed), curve)
    assert order.shape == (2, 3, height * width)
    assert torch.equal(order.sort().values, torch.arange(height * width).expand_as(order))
    assert torch.equal(
        order.gather(-1, ranks(order)), torch.arange(order.shape[-1]).expand_as(order)
    )


def test_what_stands_out_comes_first() -> None:
    keys = torch.ones(1, 1, 64, 4) + 0.01 * random_keys(1, 1, 64, 4)
    curve = z_order(8, 8, CPU)
    odd = curve[20:24]  # one quad that is unlike the rest, and varied
    keys[0, 0, odd] = random_keys(4, 4, seed=1) - 2
    order = content_order(keys, curve)[0, 0]
    assert order[0] == odd[0]
    assert order[[0, 16, 32, 48]].tolist() == odd.tolist()  # one stripe holds 16 groups


@given(tokens=st.integers(4, 200), share=st.floats(0.05, 0.95))
def test_a_static_order_is_evenly_spread(tokens: int, share: float) -> None:
    curve = torch.arange(tokens)
    kept = max(round(share * tokens), 1)
    order = static_order(curve, kept)
    assert torch.equal(order.sort().values, curve)
    count = math.ceil(tokens / 4)
    if kept < count:  # within the first stripe: gaps differ by one group at most
        gaps = (order[:kept].sort().values // 4).diff()
        assert kept < 2 or int(gaps.max() - gaps.min()) <= 1
    else:
        assert set(order[:count].tolist()) == set(range(0, tokens, 4))
