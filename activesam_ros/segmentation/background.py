"""Step 5: which pixels are background (ActiveSAM, SegEarth-OV3), and their label."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from activesam_ros.errors import SettingsError
from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass
from activesam_ros.settings import MAX_LABEL_ID, Settings

MAX_CLASSES_UINT8 = 255
MAX_ID_UINT8 = 255

# Scores this close to a limit may fall on either side of it by rounding.
ROUNDING = 1e-6


def margin_aware(best: Tensor, second: Tensor, threshold: float, exponent: float) -> Tensor:
    """ActiveSAM's calibration: bool [H, W] where best * sqrt(best - second) < t ** exponent."""
    bound: float = threshold**exponent
    return (best - second).clamp_(min=0).sqrt_().mul_(best) < bound


def has_small_ids(vocabulary: Vocabulary) -> bool:
    """Whether label maps are uint8: the number of classes and every id allow it."""
    ids = [entry.id for entry in vocabulary.classes]
    return len(ids) <= MAX_CLASSES_UINT8 and max(ids) <= MAX_ID_UINT8


def background_class(vocabulary: Vocabulary, settings: Settings) -> VocabularyClass | None:
    """The class that means background: that of the setting, else the one of that name, or None.

    Raises VocabularyError when the setting names no class.
    """
    if settings.background_class:
        return vocabulary.class_named(settings.background_class)
    return vocabulary.background


def background_label(vocabulary: Vocabulary, settings: Settings) -> int:
    """The label of background pixels: an id that no class has, or that of the background_class.

    Without a background_threshold an id that a class has counts as auto: older parameter files set
    0. Raises SettingsError for such an id with a threshold; VocabularyError as background_class.
    """
    taken = {entry.id: entry for entry in vocabulary.classes}
    named = background_class(vocabulary, settings)
    chosen = settings.background_id
    if not isinstance(chosen, str):
        if chosen not in taken or (named is not None and chosen == named.id):
            return chosen
        if settings.background_threshold > 0:
            raise SettingsError(
                f"background_id={chosen} is the id of the class {taken[chosen].name!r}, so "
                "background could not be told from it; give background_id=auto or an id that no "
                f"class has, or background_class={taken[chosen].name!r} if it means background."
            )
    if named is not None:
        return named.id
    free: tuple[int, ...] = (0, MAX_LABEL_ID + 1)
    if has_small_ids(vocabulary):
        free = (0, *range(MAX_ID_UINT8, 0, -1))
    return next(id for id in free if id not in taken)


def scores_nothing(best: Tensor) -> Tensor:
    """bool [H, W] where no class scores, so that no class may win: background by every rule."""
    return best <= 0


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

    def empty(self, best: Tensor, second: Tensor) -> Tensor:
        """bool [H, W], True = background; where the rule is off, only what nothing scores."""
        if self.threshold <= 0:
            return scores_nothing(best)
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
