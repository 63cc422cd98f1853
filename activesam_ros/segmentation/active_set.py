"""Step 2: which queries to preview and decode in one image (ActiveSAM). Over time: streaming/."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

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


@dataclass(frozen=True, slots=True)
class ActiveSet:
    """The active set of one image.

    reasons: of every query to decode, ascending. preview: presence of every query of the
    vocabulary, None where it was not previewed. chooser: made the choice and is told of the
    outcome, None where nothing is pruned.
    """

    reasons: Mapping[int, Reason]
    preview: tuple[float | None, ...]
    chooser: Chooser | None

    @classmethod
    def unpruned(cls, queries: int) -> ActiveSet:
        """All ``queries`` of the vocabulary."""
        return cls(dict.fromkeys(range(queries), Reason.UNPRUNED), (None,) * queries, None)

    @classmethod
    def chosen(
        cls, chooser: Chooser, previewed: Sequence[int], presence: Tensor, queries: int
    ) -> ActiveSet:
        """What ``chooser`` takes, given the ``presence`` [previewed] of the previewed queries.

        queries: how many the vocabulary has.
        """
        known = dict(zip(previewed, presence.tolist(), strict=True))
        reasons = chooser.choose_decode(presence)
        return cls(reasons, tuple(map(known.get, range(queries))), chooser)

    @property
    def queries(self) -> tuple[int, ...]:
        """The queries to decode, ascending."""
        return tuple(self.reasons)


class Selection(NamedTuple):
    """The rule by which a preview of the whole vocabulary keeps queries.

    by_presence: ActiveSAM 2's rule (admit), else ActiveSAM's (select). settings: their limits.
    """

    by_presence: bool
    settings: Settings

    def __call__(self, presence: Tensor) -> tuple[int, ...]:
        """Ascending indices of the queries to keep, of float32 [K]; never empty."""
        settings = self.settings
        if self.by_presence:
            return admit(presence, tau=settings.tau, max_active=settings.max_active)
        return select(
            presence, quantile_alpha=settings.quantile_alpha, max_active=settings.max_active
        )


class PreviewAll:
    """The methods' own choice: each image alone, from a preview of the whole vocabulary."""

    def __init__(self, selection: Selection, queries: int, pinned: Collection[int]) -> None:
        self._selection = selection
        self._queries = queries
        self._pinned = pinned

    def choose_preview(self, image: NDArray[np.uint8]) -> tuple[int, ...]:
        return tuple(range(self._queries))

    def choose_decode(self, presence: Tensor) -> Mapping[int, Reason]:
        selected = self._selection(presence)
        reasons = dict.fromkeys(with_pinned(selected, self._pinned), Reason.PINNED)
        return reasons | dict.fromkeys(selected, Reason.PREVIEWED)  # PREVIEWED replaces PINNED

    def finish(self, presence: Mapping[int, float]) -> None:
        pass


class Given:
    """Decodes given queries without a preview, such as those that another frame's way chose."""

    def __init__(self, queries: Collection[int]) -> None:
        """``queries``: ascending, at least one."""
        self._reasons = dict.fromkeys(queries, Reason.CARRIED)

    def choose_preview(self, image: NDArray[np.uint8]) -> tuple[int, ...]:
        return ()

    def choose_decode(self, presence: Tensor) -> Mapping[int, Reason]:
        return self._reasons

    def finish(self, presence: Mapping[int, float]) -> None:
        pass


def select(presence: Tensor, *, quantile_alpha: float, max_active: int) -> tuple[int, ...]:
    """ActiveSAM: ascending indices of the queries to keep; never empty.

    presence: float32 [K]. Keeps scores at or above the (1 - quantile_alpha) quantile (linear
    interpolation), and of those at most the ``max_active`` highest; 0 is no limit.
    """
    threshold = torch.quantile(presence, 1 - quantile_alpha)
    return _highest(presence, presence >= threshold, max_active)


def admit(presence: Tensor, *, tau: float, max_active: int) -> tuple[int, ...]:
    """ActiveSAM 2: ascending indices of the queries to admit; never empty.

    presence: float32 [K]. Admits those of at least ``tau``, or the highest one if there are none,
    and of those at most the ``max_active`` highest; 0 is no limit.
    """
    return _highest(presence, presence >= tau, max_active)


def _highest(presence: Tensor, keeps: Tensor, most: int) -> tuple[int, ...]:
    """Ascending indices where bool [K] ``keeps``, at most ``most`` of the highest; never empty."""
    kept = keeps.nonzero()[:, 0]
    if len(kept) == 0:  # also with NaN, with which every comparison is false
        kept = presence.nan_to_num(-1.0).argmax()[None]
    if 0 < most < len(kept):
        order = presence[kept].sort(descending=True, stable=True).indices[:most]
        kept = kept[order]
    return tuple(sorted(kept.tolist()))


def with_pinned(selected: Collection[int], pinned: Collection[int]) -> tuple[int, ...]:
    """The selected and the pinned queries, ascending; pinned ones are never pruned."""
    return tuple(sorted({*selected, *pinned}))
