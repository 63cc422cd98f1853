"""A GPU kernel merges score maps where it works."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from activesam_ros.sam3.acceleration.fallback import DisagreementError, Fallback
from activesam_ros.segmentation.layers import Layers, Running
from activesam_ros.segmentation.tiles import Axis

# (running, classes int32 [P], layers, rows, columns): merges in place without waiting.
Merge: TypeAlias = Callable[[Running, Tensor, Layers, Axis, Axis], None]

# How far scores may be apart by another order of rounding, and the share of pixels whose best class
# may differ, being as good.
LARGEST_ERROR = 1e-3
LARGEST_SHARE = 0.01


class ScoreMerge:
    """Merges score maps by a kernel where that works, else map by map.

    The kernel is loaded when first wanted. Its first result of each kind is compared with what
    merging map by map gives, and then the latter is kept.
    """

    def __init__(self, kernel: Merge | None = None, *, compares: bool = True) -> None:
        """kernel: takes the place of the Triton kernel, on any device."""
        self._given = kernel
        self._compares = compares
        self._fallback = Fallback(
            "The kernel that merges score maps cannot be had (%s); they are merged map by map "
            "instead, which is slower. It needs Triton and a C compiler."
        )

    def fits(self, device: torch.device) -> bool:
        """Whether the kernel merges maps on ``device``; loads it."""
        if device.type != "cuda" and self._given is None:
            return False
        return self._fallback.run(lambda: self._kernel() is not None, lambda: False)

    def __call__(
        self,
        running: Running,
        classes: Tensor,
        layers: Layers,
        axes: tuple[Axis, Axis],
        by_map: Callable[[], None],
    ) -> None:
        """Merge layers of the classes int32 [P] in place.

        axes: of rows and columns. by_map: merges the same map by map, which synchronises; doing so
        again changes nothing. Raises torch.OutOfMemoryError where the kernel does.
        """
        if not self.fits(layers.maps.device):
            by_map()
            return
        kind = layers.maps.dtype, len(running.second) > 0
        compares = self._compares and self._fallback.needs_check(kind)
        merged = running.copy() if compares else running

        def compare(_: None) -> None:
            by_map()
            if not _alike(merged, running):
                raise DisagreementError("it gives something else than map by map")

        self._fallback.run(
            lambda: self._kernel()(merged, classes, layers, *axes),
            by_map,
            compare if compares else None,
            kind,
        )

    def _kernel(self) -> Merge:
        if self._given is not None:
            return self._given
        # Triton is optional.
        from activesam_ros.segmentation.score_kernel import launch

        return launch


def _alike(found: Running, expected: Running) -> bool:
    """Within rounding, inside the image; what is no number is so in both."""
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
