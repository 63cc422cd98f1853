"""The two background rules, number by number."""

from __future__ import annotations

import torch
from hypothesis import example, given
from hypothesis import strategies as st

from activesam_ros.segmentation.background import Background, below_threshold, margin_aware

scores = st.floats(0, 1, width=32)


def test_margin_aware_calibration() -> None:
    best = torch.tensor([0.9, 0.9, 0.3, 0.2])
    second = torch.tensor([0.1, 0.8999, 0.0, 0.25])
    # 0.9 * sqrt(0.8) = 0.805; 0.9 * 0.01 = 0.009; 0.3 * sqrt(0.3) = 0.164; below zero counts as 0
    empty = margin_aware(best, second, threshold=0.4, exponent=1.25)  # 0.4 ** 1.25 = 0.318
    assert empty.tolist() == [False, True, True, True]


def test_plain_threshold() -> None:
    assert below_threshold(torch.tensor([0.39, 0.4]), 0.4).tolist() == [True, False]


@example(best=0.1, second=0.0, threshold=0.4, exponent=1.25, share=0.999)
@given(
    best=scores,
    second=scores,
    threshold=st.floats(0.05, 0.95),
    exponent=st.sampled_from((None, 1.0, 1.25, 2.0)),
    share=st.floats(0, 0.999),
)
def test_a_class_below_what_is_settled_changes_nothing(
    best: float, second: float, threshold: float, exponent: float | None, share: float
) -> None:
    rule = Background(threshold, exponent)
    first, other = torch.tensor(max(best, second)), torch.tensor(min(best, second))
    before = rule.empty(first, other)
    assert before is not None
    settled = rule.settled_below(first, other)
    score = settled * share
    assert score <= first
    assert rule.empty(first, other.maximum(score)) == before
    score = rule.labels_settled_below(first, other) * share
    higher, runner_up = first.maximum(score), first.minimum(score).maximum(other)
    assert rule.empty(higher, runner_up) == before
    assert before or higher == first
