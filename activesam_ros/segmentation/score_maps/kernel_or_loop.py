"""Merge score maps with a GPU kernel, or map by map where the kernel does not work."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from activesam_ros.sam3.acceleration.fallback import DisagreementError, Fallback
from activesam_ros.segmentation.score_maps.tiles import Axis
from activesam_ros.segmentation.score_maps.weighted_maps import BestTwo, WeightedMaps

# (so far, classes int32 [P], maps, rows, columns): merges in place, asynchronously.
Merge: TypeAlias = Callable[[BestTwo, Tensor, WeightedMaps, Axis, Axis], None]

# Scores may differ by so much, as the kernel rounds in another order; ties between classes may then
# be decided otherwise at this share of the pixels.
LARGEST_ERROR = 1e-3
LARGEST_SHARE = 0.01


class ScoreMerge:
    """Merges score maps with a kernel where that works, else map by map.

    The kernel is loaded at its first use. Its first result of each kind is compared with that of
    merging map by map, which is then the one that is kept.
    """

    def __init__(self, kernel: Merge | None = None, *, compares: bool = True) -> None:
        """kernel: takes the place of the Triton kernel, on any device."""
        self._given = kernel
        self._compares = compares
        self._fallback = Fallback(
            "The kernel that merges score maps does not work (%s); they are merged map by map "
            "instead, which is slower. The kernel needs Triton and a C compiler."
        )

    def fits(self, device: torch.device) -> bool:
        """Whether the kernel merges maps on ``device``; loads the kernel."""
        if device.type != "cuda" and self._given is None:
            return False
        return self._fallback.run(lambda: self._kernel() is not None, lambda: False)

    def __call__(
        self,
        so_far: BestTwo,
        classes: Tensor,
        maps: WeightedMaps,
        axes: tuple[Axis, Axis],
        by_map: Callable[[], None],
    ) -> None:
        """Merge the maps of P queries, of the classes int32 [P], into ``so_far`` in place.

        axes: of rows and of columns. by_map: merges the same maps one by one, which synchronises;
        it may be called after the kernel, as merging twice changes nothing. Raises
        torch.OutOfMemoryError where the kernel does.
        """
        if not self.fits(maps.maps.device):
            by_map()
            return
        kind = maps.maps.dtype, len(so_far.second) > 0
        compares = self._compares and self._fallback.needs_check(kind)
        merged = so_far.copy() if compares else so_far

        def compare(_: None) -> None:
            by_map()
            if not _alike(merged, so_far):
                raise DisagreementError("its result differs from that of merging map by map")

        self._fallback.run(
            lambda: self._kernel()(merged, classes, maps, *axes),
            by_map,
            compare if compares else None,
            kind,
        )

    def _kernel(self) -> Merge:
        if self._given is not None:
            return self._given
        # Triton is optional.
        from activesam_ros.segmentation.score_maps.merge_kernel import launch

        return launch


def _alike(found: BestTwo, expected: BestTwo) -> bool:
    """Whether both are equal inside the image, within rounding; NaN equals NaN."""
    inside = expected.best != torch.inf
    scores = [(found.best, expected.best)]
    if len(expected.second):
        scores.append((found.second, expected.second))
    return (
        all(
            torch.allclose(ours[inside], theirs[inside], rtol=0, atol=LARGEST_ERROR, equal_nan=True)
            for ours, theirs in scores
        )
        and float((found.index != expected.index).float().mean()) <= LARGEST_SHARE
    )
