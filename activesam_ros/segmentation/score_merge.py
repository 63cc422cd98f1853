"""Whether and how a GPU kernel merges score maps."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from activesam_ros.errors import ActiveSamError, in_short
from activesam_ros.segmentation.layers import Layers, Running
from activesam_ros.segmentation.tiles import Axis

_LOG = logging.getLogger(__name__)

# (running, classes int32 [P], layers, rows, columns): merges in place without waiting.
Merge: TypeAlias = Callable[[Running, Tensor, Layers, Axis, Axis], None]

# How far scores may be apart by another order of rounding, and the share of pixels whose best class
# may differ, being as good.
LARGEST_ERROR = 1e-3
LARGEST_SHARE = 0.01


class ScoreMerge:
    """The kernel, loaded when first asked for.

    Its first result is compared with what merging map by map gives. Where it differs, and where the
    kernel cannot be had or fails, maps are merged one by one from then on; that is logged once,
    since it is slower.
    """

    def __init__(self, kernel: Merge | None = None, *, compares: bool = True) -> None:
        """kernel: in place of the Triton kernel, on any device."""
        self._given = kernel is not None
        self._kernel = kernel
        self._compares = compares
        self._compared: set[tuple[torch.dtype, bool]] = set()
        self._failed = False

    def fits(self, device: torch.device) -> bool:
        """Whether maps on ``device`` are for the kernel."""
        if self._failed or (device.type != "cuda" and not self._given):
            return False
        return self._kernel is not None or self._load()

    def __call__(
        self,
        running: Running,
        classes: Tensor,
        layers: Layers,
        axes: tuple[Axis, Axis],
        by_map: Callable[[], None],
    ) -> None:
        """Merge layers of the classes int32 [P] in place.

        axes: of rows and columns. by_map: does the same map by map, which waits for the device.
        Raises torch.OutOfMemoryError where the kernel does.
        """
        if not self.fits(layers.maps.device):
            by_map()
            return
        assert self._kernel is not None
        kind = layers.maps.dtype, len(running.second) > 0
        compares = self._compares and kind not in self._compared
        before = running.copy() if compares else None
        try:
            self._kernel(running, classes, layers, *axes)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - compilers fail in many ways
            self._give_up(error)
            by_map()
            return
        if before is not None:
            found = running.copy()
            running.become(before)
            by_map()
            self._compared.add(kind)
            if not _alike(found, running):
                self._give_up(ActiveSamError("it gives something else than map by map"))

    def _load(self) -> bool:
        try:
            from activesam_ros.segmentation.score_kernel import launch
        except Exception as error:  # noqa: BLE001 - as above
            self._give_up(error)
            return False
        self._kernel = launch
        return True

    def _give_up(self, error: Exception) -> None:
        self._failed = True
        _LOG.warning(
            "The kernel that merges score maps cannot be had (%s); they are merged map by map "
            "instead, which is slower. It needs Triton and a C compiler.",
            in_short(error),
        )


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
