"""Decode an image with a GPU kernel, or band by band where the kernel does not work."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from activesam_ros.sam3.acceleration.fallback import DisagreementError, Fallback
from activesam_ros.segmentation.exclusive_decoding.bands import decode_concepts
from activesam_ros.segmentation.exclusive_decoding.class_maps import ClassMaps
from activesam_ros.segmentation.exclusive_decoding.decoder import ConceptDecoder
from activesam_ros.segmentation.fuse import whole_axes
from activesam_ros.segmentation.score_maps.kernel_or_loop import LARGEST_ERROR, LARGEST_SHARE
from activesam_ros.segmentation.score_maps.tiles import Axis

# (decoder, maps, rows, columns) -> index int32 [H, W], best float32 [H, W]: asynchronously.
Launch: TypeAlias = Callable[[ConceptDecoder, ClassMaps, Axis, Axis], tuple[Tensor, Tensor]]


class ConceptKernel:
    """Decodes images with a kernel where that works, else band by band.

    The kernel is loaded at its first use. Its first result of each kind is compared with that of
    the bands.
    """

    def __init__(self, kernel: Launch | None = None, *, compares: bool = True) -> None:
        """kernel: takes the place of the Triton kernel, on any device."""
        self._given = kernel
        self._compares = compares
        self._fallback = Fallback(
            "The kernel of exclusive concept decoding does not work (%s); images are decoded band "
            "by band instead, which is slower. The kernel needs Triton and a C compiler."
        )

    def fits(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Whether the kernel decodes scores of ``dtype`` on ``device``; loads the kernel."""
        if dtype != torch.float32 or (device.type != "cuda" and self._given is None):
            return False
        return self._fallback.run(lambda: self._kernel() is not None, lambda: False)

    def __call__(
        self, decoder: ConceptDecoder, maps: ClassMaps, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """The class of each pixel, int32 [H, W], and its best score, float32 [H, W].

        Asynchronous but for the first time of a kind and where the kernel does not work. Raises
        torch.OutOfMemoryError where the kernel does.
        """

        def by_bands() -> tuple[Tensor, Tensor]:
            return decode_concepts(decoder, maps.evidence(), size)

        def compare(found: tuple[Tensor, Tensor]) -> None:
            if not _alike(found, by_bands()):
                raise DisagreementError("its result differs from that of the bands")

        kind = maps.maps.dtype, decoder.background is not None, len(decoder.classes).bit_length()
        return self._fallback.run(
            lambda: self._kernel()(decoder, maps, *whole_axes(maps.maps, size)),
            by_bands,
            compare if self._compares else None,
            kind,
        )

    def _kernel(self) -> Launch:
        if self._given is not None:
            return self._given
        # Triton is optional.
        from activesam_ros.segmentation.exclusive_decoding.kernel import launch

        return launch


def _alike(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> bool:
    """Whether classes and best scores are equal but for rounding; NaN equals NaN."""
    other = (found[0] != expected[0]) & expected[1].isfinite()  # [H, W]
    return (
        torch.allclose(found[1], expected[1], rtol=0, atol=LARGEST_ERROR, equal_nan=True)
        and float(other.float().mean()) <= LARGEST_SHARE
    )
