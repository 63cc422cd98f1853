from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.losses import competition, dice, focal, generalized_iou, map_entropy

EVERYWHERE = torch.ones(1, 1, 2)


def test_focal_of_an_undecided_logit() -> None:
    loss = focal(torch.zeros(2), torch.tensor([1.0, 0.0]), alpha=0.25, gamma=2.0)
    # (1 - p_t)^2 = 1/4, -log p_t = log 2
    torch.testing.assert_close(loss, torch.tensor([0.25, 0.75]) * 0.25 * math.log(2))


def test_focal_without_focus_is_the_entropy() -> None:
    logits, targets = torch.tensor([-2.0, 0.5, 3.0]), torch.tensor([1.0, 0.0, 1.0])
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, targets, reduction="none"
    )
    torch.testing.assert_close(focal(logits, targets, alpha=0.5, gamma=0.0), entropy / 2)


def test_map_entropy_counts_valid_cells_alone() -> None:
    logits, targets = torch.tensor([[[0.0, 50.0]]]), torch.tensor([[[0.25, 0.0]]])
    assert map_entropy(logits, targets, EVERYWHERE).item() == pytest.approx(
        (math.log(2) + 50) / 2, rel=1e-5
    )
    valid = torch.tensor([[[1.0, 0.0]]])
    assert map_entropy(logits, targets, valid).item() == pytest.approx(math.log(2), rel=1e-5)


def test_dice_by_hand() -> None:
    logits, targets = torch.tensor([[[0.0, 0.0]]]), torch.tensor([[[1.0, 0.0]]])
    # shared 2 * 0.5, total 1 + 1, each plus the smoothing 1
    assert dice(logits, targets, EVERYWHERE).item() == pytest.approx(1 - 2 / 3)
    perfect = dice(torch.tensor([[[50.0, -50.0]]]), targets, EVERYWHERE)
    assert perfect.item() == pytest.approx(0, abs=1e-6)


def test_dice_of_an_empty_mask_is_finite() -> None:
    nothing = dice(torch.full((1, 2, 2), -50.0), torch.zeros(1, 2, 2), torch.ones(1, 2, 2))
    assert nothing.item() == pytest.approx(0, abs=1e-6)


def test_generalized_iou_by_hand() -> None:
    left = torch.tensor([0.25, 0.5, 0.5, 1.0])
    right = torch.tensor([0.75, 0.5, 0.5, 1.0])
    assert generalized_iou(left, left).item() == pytest.approx(1)
    assert generalized_iou(left, right).item() == pytest.approx(0, abs=1e-6)
    # A quarter of the hull is empty between two boxes of three eighths each.
    apart = generalized_iou(
        torch.tensor([0.1875, 0.5, 0.375, 1.0]), torch.tensor([0.8125, 0.5, 0.375, 1.0])
    )
    assert apart.item() == pytest.approx(-0.25)
    inside = generalized_iou(torch.tensor([0.5, 0.5, 0.5, 0.5]), torch.tensor([0.5, 0.5, 1.0, 1.0]))
    assert inside.item() == pytest.approx(0.25)


@given(st.lists(st.floats(0, 1, width=32), min_size=8, max_size=8))
def test_generalized_iou_is_symmetric_and_bounded(numbers: list[float]) -> None:
    first, second = torch.tensor(numbers).view(2, 4)
    value = generalized_iou(first, second).item()
    assert value == pytest.approx(generalized_iou(second, first).item(), abs=1e-5)
    assert -1 - 1e-5 <= value <= 1 + 1e-5


def test_maps_that_tell_nothing_apart_compete_at_log_k() -> None:
    shares = torch.eye(3)[:, :, None]  # three cells in a column, one for each class
    loss = competition(torch.zeros(3, 3, 1), shares, rarest=0.01)
    assert loss.item() == pytest.approx(math.log(3))


def test_the_highest_map_should_be_the_right_one() -> None:
    shares = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    right = competition(10 * shares, shares, rarest=0.01)
    wrong = competition(-10 * shares, shares, rarest=0.01)
    assert right < 1e-3
    assert wrong.item() == pytest.approx(10, abs=1e-3)


def test_a_rare_class_weighs_more_than_its_cells() -> None:
    shares = torch.zeros(2, 1, 10)
    shares[0, 0, :9], shares[1, 0, 9] = 1.0, 1.0
    misses_rare = competition(torch.tensor([5.0, 0.0])[:, None, None].expand(2, 1, 10), shares, 0.0)
    # 1 cell in 10, weighed by sqrt(10) against 9 cells weighed by sqrt(10 / 9)
    share = math.sqrt(10) / (math.sqrt(10) + 9 * math.sqrt(10 / 9))
    assert misses_rare.item() == pytest.approx(5 * share, abs=0.01)


def test_cells_of_no_class_do_not_compete() -> None:
    assert competition(torch.randn(2, 2, 2), torch.zeros(2, 2, 2), rarest=0.1).item() == 0
