"""Slices of constant size in which no query waits longer than the interval."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.streaming.scheduler import after_looks, next_looks, slice_size


@given(
    queries=st.integers(1, 60),
    interval=st.integers(1, 12),
    pinned_share=st.sampled_from((0.0, 0.1, 0.9)),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_query_is_seen_within_the_interval_at_constant_cost(
    queries: int, interval: int, pinned_share: float, seed: int
) -> None:
    """Whatever is decoded meanwhile, and with pinned queries, which are decoded always."""
    rng = random.Random(seed)
    pinned = {query for query in range(queries) if rng.random() < pinned_share}
    size = slice_size(queries - len(pinned), interval)
    order: tuple[int, ...] = tuple(range(queries))
    last_seen = dict.fromkeys(range(queries), -1)
    for frame in range(3 * interval):
        decoded = pinned | set(rng.sample(range(queries), rng.randint(0, min(queries, 6))))
        looks = next_looks(order, decoded, size)
        assert len(looks) == min(size, queries - len(decoded))
        assert list(looks) == sorted(set(looks) - decoded)
        for query in {*looks, *decoded}:
            last_seen[query] = frame
        assert all(frame - seen < interval for seen in last_seen.values()) or frame < interval - 1
        order = after_looks(order, {*looks, *decoded})
        assert sorted(order) == list(range(queries))


def test_the_longest_unseen_come_first() -> None:
    order = after_looks(range(6), {1, 3})
    assert order == (0, 2, 4, 5, 1, 3)
    assert next_looks(order, {2}, 3) == (0, 4, 5)
    assert next_looks(order, {0, 2, 4, 5}, 3) == (1, 3)
    assert next_looks(order, set(order), 3) == ()


def test_slices_add_up_to_the_vocabulary() -> None:
    assert [slice_size(queries, 8) for queries in (1000, 150, 8, 1, 0)] == [125, 19, 1, 1, 0]
    assert slice_size(150, 1) == 150
