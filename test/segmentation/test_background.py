"""The two background rules, number by number."""

from __future__ import annotations

import torch

from activesam_ros.segmentation.background import below_threshold, margin_aware


def test_margin_aware_calibration() -> None:
    best = torch.tensor([0.9, 0.9, 0.3, 0.2])
    second = torch.tensor([0.1, 0.8999, 0.0, 0.25])
    # 0.9 * sqrt(0.8) = 0.805; 0.9 * 0.01 = 0.009; 0.3 * sqrt(0.3) = 0.164; below zero counts as 0
    empty = margin_aware(best, second, threshold=0.4, exponent=1.25)  # 0.4 ** 1.25 = 0.318
    assert empty.tolist() == [False, True, True, True]


def test_plain_threshold() -> None:
    assert below_threshold(torch.tensor([0.39, 0.4]), 0.4).tolist() == [True, False]
