"""Which pixels are background (methods.md section 2, calibration, and section 3)."""

from __future__ import annotations

from torch import Tensor


def margin_aware(best: Tensor, second: Tensor, threshold: float, exponent: float) -> Tensor:
    """ActiveSAM's calibration: bool [H, W] where best * sqrt(best - second) < t ** exponent."""
    bound: float = threshold**exponent
    return best * (best - second).clamp(min=0).sqrt() < bound


def below_threshold(best: Tensor, threshold: float) -> Tensor:
    """The baselines' rule: bool [H, W] where the best class score is under the threshold."""
    return best < threshold
