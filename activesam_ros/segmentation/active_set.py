"""Step 2: which queries to preview and decode in one image (ActiveSAM). Over time: streaming/."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from activesam_ros.segmentation.result import Reason
from activesam_ros.settings import Settings


class Chooser(Protocol):
    """Chooses the queries of one frame.

    The methods are called at most once, in this order; none is called where nothing is pruned, and
    ``finish`` only if the frame succeeds.
    """

    def choose_preview(self, image: NDArray[np.uint8]) -> tuple[int, ...]:
        """Queries to preview, ascending; image: uint8 RGB [H, W, 3]."""
        ...

    def choose_decode(self, presence: Tensor) -> Mapping[int, Reason]:
        """Queries to decode, ascending and at least one, each with the reason.

        presence: float32 on the CPU, one for each query of :meth:`choose_preview`.
        """
        ...

    def finish(self, presence: Mapping[int, float]) -> None:
        """The frame is done; ``presence`` is that of every decoded query."""
        ...


class PreviewAll:
    """ActiveSAM's own choice: each image alone, from a preview of the whole vocabulary."""

    def __init__(self, settings: Settings, queries: int, pinned: Collection[int]) -> None:
        self._settings = settings
        self._queries = queries
        self._pinned = pinned

    def choose_preview(self, image: NDArray[np.uint8]) -> tuple[int, ...]:
        return tuple(range(self._queries))

    def choose_decode(self, presence: Tensor) -> Mapping[int, Reason]:
        selected = select(
            presence,
            quantile_alpha=self._settings.quantile_alpha,
            max_active=self._settings.max_active,
        )
        reasons = dict.fromkeys(with_pinned(selected, self._pinned), Reason.PINNED)
        return reasons | dict.fromkeys(selected, Reason.PREVIEWED)  # PREVIEWED replaces PINNED

    def finish(self, presence: Mapping[int, float]) -> None:
        pass


def select(presence: Tensor, *, quantile_alpha: float, max_active: int) -> tuple[int, ...]:
    """Ascending indices of the queries to keep; never empty.

    presence: float32 [K]. Keeps scores at or above the (1 - quantile_alpha) quantile (linear
    interpolation), and of those at most the ``max_active`` highest.
    """
    threshold = torch.quantile(presence, 1 - quantile_alpha)
    kept = (presence >= threshold).nonzero()[:, 0]
    if len(kept) == 0:  # every comparison with NaN is false
        kept = presence.nan_to_num(-1.0).argmax()[None]
    if len(kept) > max_active:
        order = presence[kept].sort(descending=True, stable=True).indices[:max_active]
        kept = kept[order]
    return tuple(sorted(kept.tolist()))


def with_pinned(selected: Collection[int], pinned: Collection[int]) -> tuple[int, ...]:
    """The selected and the pinned queries, ascending; pinned ones are never pruned."""
    return tuple(sorted({*selected, *pinned}))
