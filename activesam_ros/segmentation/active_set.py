"""Which queries are worth decoding (methods.md section 2, preview)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import torch
from torch import Tensor

from activesam_ros.segmentation.result import Reason
from activesam_ros.settings import Settings


class Chooser(Protocol):
    """Chooses the active set of one frame; asked in the order of its methods, each once."""

    def look(self, pixels: Callable[[], Tensor]) -> tuple[int, ...]:
        """Queries to preview, ascending; pixels: makes the image [1, 3, S, S] in -1..1."""
        ...

    def choose(self, presence: Tensor) -> Mapping[int, Reason]:
        """Queries to decode, ascending and at least one, each with why.

        presence: float32 on the CPU, the preview's for the queries of :meth:`look`.
        """
        ...

    def settle(self, presence: Mapping[int, float]) -> None:
        """Take note of the presence of every query that was decoded, once the frame is done."""
        ...


class PreviewAll:
    """ActiveSAM's own choice: every image by itself, from a preview of the whole vocabulary."""

    def __init__(self, settings: Settings, queries: int, pinned: Collection[int]) -> None:
        self._settings = settings
        self._queries = queries
        self._pinned = pinned

    def look(self, pixels: Callable[[], Tensor]) -> tuple[int, ...]:
        return tuple(range(self._queries))

    def choose(self, presence: Tensor) -> Mapping[int, Reason]:
        selected = select(
            presence,
            quantile_alpha=self._settings.quantile_alpha,
            max_active=self._settings.max_active,
        )
        reasons = dict.fromkeys(with_pinned(selected, self._pinned), Reason.PINNED)
        return reasons | dict.fromkeys(selected, Reason.PREVIEWED)  # which outranks a pin

    def settle(self, presence: Mapping[int, float]) -> None:
        pass


def select(presence: Tensor, *, quantile_alpha: float, max_active: int) -> tuple[int, ...]:
    """Ascending indices of the queries to keep; never empty.

    presence: float32 [K]. Keeps scores at or above the (1 - quantile_alpha) quantile (linear
    interpolation) and of those at most the ``max_active`` highest.
    """
    threshold = torch.quantile(presence, 1 - quantile_alpha)
    kept = (presence >= threshold).nonzero()[:, 0]
    if len(kept) == 0:  # presence that is not a number compares with nothing
        kept = presence.nan_to_num(-1.0).argmax()[None]
    if len(kept) > max_active:
        order = presence[kept].sort(descending=True, stable=True).indices[:max_active]
        kept = kept[order]
    return tuple(sorted(kept.tolist()))


def with_pinned(selected: Collection[int], pinned: Collection[int]) -> tuple[int, ...]:
    """The selected and the pinned queries, ascending; pinned ones are never pruned."""
    return tuple(sorted({*selected, *pinned}))
