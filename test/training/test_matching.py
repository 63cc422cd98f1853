from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.matching import assign


@given(st.integers(1, 5), st.integers(0, 3), st.integers(0, 2**32 - 1), st.booleans())
def test_no_assignment_is_cheaper(rows: int, spare: int, seed: int, with_ties: bool) -> None:
    columns = rows + spare
    cost = np.random.default_rng(seed).normal(size=(rows, columns))
    if with_ties:
        cost = cost.round()
    found = assign(cost)
    assert len(set(found.tolist())) == rows
    cheapest = min(
        sum(cost[row, column] for row, column in enumerate(chosen))
        for chosen in itertools.permutations(range(columns), rows)
    )
    assert cost[np.arange(rows), found].sum() == pytest.approx(cheapest)


def test_greedy_choice_is_given_up_for_a_cheaper_whole() -> None:
    assert assign(np.array([[1.0, 2.0], [1.0, 9.0]])).tolist() == [1, 0]


def test_more_rows_than_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="3 rows cannot have a column each out of 2"):
        assign(np.zeros((3, 2)))
