"""Step 5: which pixels are background (ActiveSAM, SegEarth-OV3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Scores this close to a limit may fall on either side of it by rounding.
ROUNDING = 1e-6


def margin_aware(best: Tensor, second: Tensor, threshold: float, exponent: float) -> Tensor:
    """ActiveSAM's calibration: bool [H, W] where best * sqrt(best - second) < t ** exponent."""
    bound: float = threshold**exponent
    return (best - second).clamp_(min=0).sqrt_().mul_(best) < bound


def below_threshold(best: Tensor, threshold: float) -> Tensor:
    """The baselines' rule: bool [H, W] where the best class score is below the threshold."""
    return best < threshold


@dataclass(frozen=True)
class Background:
    """The background rule of a method; exponent: None for the baselines' rule."""

    threshold: float
    exponent: float | None

    @property
    def needs_second(self) -> bool:
        """Whether the rule reads the second best class score."""
        return self.threshold > 0 and self.exponent is not None

    def empty(self, best: Tensor, second: Tensor) -> Tensor | None:
        """bool [H, W], True = background; None where the rule is off."""
        if self.threshold <= 0:
            return None
        if self.exponent is None:
            return below_threshold(best, self.threshold)
        return margin_aware(best, second, self.threshold, self.exponent)

    def settled_below(self, best: Tensor, second: Tensor, *, recurring: bool = False) -> Tensor:
        """[H, W]: a further class that scores less changes neither ``best`` nor the label.

        It may also be left out of ``second`` without changing the effect of later classes. With b
        and s the best two scores and T = t ** exponent: where b * sqrt(b - s) >= T holds now, it
        still holds while s <= b - (T / b) ** 2.

        recurring: the best class itself may score more later. Whether a background pixel then
        becomes that class depends on ``second``.
        """
        if not self.needs_second:
            return best
        settled, empty = self._settled(best, second)
        return torch.where(empty, second, settled) if recurring else settled

    def labels_settled_below(self, best: Tensor, second: Tensor) -> Tensor:
        """As settled_below, for the label alone and if no later class scores more at any pixel.

        A background pixel stays background while nothing scores the threshold, or, as
        b * sqrt(b - s) <= b ** 1.5, while nothing scores T ** (2 / 3).
        """
        if self.threshold <= 0:
            return best
        if self.exponent is None:
            return best.clamp(min=self.threshold)
        never = self.threshold ** (self.exponent * 2 / 3) - ROUNDING
        settled, empty = self._settled(best, second)
        return torch.where(empty, settled.clamp(min=never), settled)

    def _settled(self, best: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """settled_below of the margin-aware rule [H, W], and bool [H, W], True = background."""
        assert self.exponent is not None
        limit = self.threshold**self.exponent
        empty = margin_aware(best, second, self.threshold, self.exponent)
        bearable = torch.maximum(best - (limit / best).square() - ROUNDING, second)
        return torch.where(empty, best, torch.minimum(bearable, best)), empty
