"""The rules of the active set hold for any presence scores."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.segmentation.active_set import select, with_pinned

scores = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=80)


@given(scores, st.floats(0, 1), st.integers(1, 50))
def test_quantile_and_limit(values: list[float], alpha: float, limit: int) -> None:
    presence = torch.tensor(values)
    kept = select(presence, quantile_alpha=alpha, max_active=limit)
    assert kept == tuple(sorted(set(kept)))
    assert 1 <= len(kept) <= limit
    threshold = np.quantile(np.array(values, np.float32), np.float32(1 - alpha))
    assert all(values[query] >= threshold - 1e-5 for query in kept)
    above = [query for query, value in enumerate(values) if value >= threshold + 1e-5]
    if len(above) <= limit and len(kept) < limit:
        assert set(above) <= set(kept)
    lowest = min(values[query] for query in kept)
    left_out = [value for query, value in enumerate(values) if query not in kept]
    assert all(value <= lowest + 1e-5 for value in left_out)


def test_published_example() -> None:
    presence = torch.linspace(0, 1, 60)
    assert select(presence, quantile_alpha=0.2, max_active=40) == tuple(range(48, 60))
    assert select(presence, quantile_alpha=1.0, max_active=40) == tuple(range(20, 60))


def test_never_empty_even_where_nothing_is_a_number() -> None:
    presence = torch.tensor([float("nan")] * 3)
    assert select(presence, quantile_alpha=0.2, max_active=2) == (0,)


@given(st.sets(st.integers(0, 99)), st.sets(st.integers(0, 99)))
def test_pinned_are_always_there(selected: set[int], pinned: set[int]) -> None:
    active = with_pinned(selected, pinned)
    assert set(active) == selected | pinned
    assert list(active) == sorted(active)
