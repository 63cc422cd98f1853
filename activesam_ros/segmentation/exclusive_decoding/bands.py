"""Exclusive concept decoding of a whole image in plain PyTorch, band by band.

It needs the scores of all active classes at a pixel. So that memory does not grow with classes x
pixels, a band is one or a few rows of tiles. On a CPU a map is enlarged only in those tiles where
it can be the highest of its class; the result is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from activesam_ros.segmentation.exclusive_decoding.decoder import ConceptDecoder
from activesam_ros.segmentation.fuse import Evidence, whole_axes
from activesam_ros.segmentation.score_maps.tiles import (
    TILE,
    Axis,
    enlarged,
    extent,
    highest,
    lowest,
    pixels_of,
)

# Most scores of a band, where one row of tiles has no more: what fits the cache of a core.
BAND_VALUES = 1 << 18
# Most scores that are compared with signatures at once.
DECODED_VALUES = 1 << 17
# The same on other devices, which want large tensors: 4 million floats are 16 MB.
LARGE_VALUES = 1 << 22
# The sigmoid of a bound may round otherwise than the sigmoid of a pixel.
ROUNDING = 1e-6


def decode_concepts(
    decoder: ConceptDecoder,
    evidence: Sequence[tuple[int, Evidence]],
    size: tuple[int, int],
    scores: NDArray[np.float16] | None = None,
) -> tuple[Tensor, Tensor]:
    """The class of each pixel, int32 [H, W], and the best score of any class, [H, W]; synchronises.

    evidence: of the decoded queries, each with the place of its class among the decoder's classes.
    scores: zeros [classes, H, W] that receive every class's score map, None if not wanted.
    """
    device = decoder.device
    labels = torch.empty(size, dtype=torch.int32, device=device)
    best = torch.empty(size, dtype=decoder.dtype, device=device)
    index = decoder.classes.tolist()
    on_cpu = device.type == "cpu"
    step = (DECODED_VALUES if on_cpu else LARGE_VALUES) // max(len(index), 1) or 1
    for rows, band in _bands(decoder, evidence, size):
        if scores is not None:
            scores[np.asarray(index, np.int64), rows] = band.half().cpu().numpy()
        torch.amax(band, dim=0, out=best[rows])
        flat, found = band.flatten(1), labels[rows].view(-1)  # [n, band * W], [band * W]
        for first in range(0, len(found), step):
            some = slice(first, first + step)
            found[some] = decoder.labels(flat[:, some])
    return labels, best


def _bands(
    decoder: ConceptDecoder, evidence: Sequence[tuple[int, Evidence]], size: tuple[int, int]
) -> Iterator[tuple[slice, Tensor]]:
    """The score maps of the n classes in each band: its rows, and [n, band, W].

    The tensor is overwritten when the next band is asked for.
    """
    height, width = size
    device, dtype = decoder.device, decoder.dtype
    classes = len(decoder.classes)
    found = [(place, one) for place, one in evidence if len(one.maps)]
    axes = whole_axes(found[0][1].maps, size) if found else None
    maps = [] if axes is None else list(_open_maps(found, *axes))
    most = BAND_VALUES if device.type == "cpu" else LARGE_VALUES
    step = TILE * max(1, most // (TILE * width * max(classes, 1)))
    memory = torch.empty(classes, min(step, height), width, dtype=dtype, device=device)
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        band = memory[:, : rows.stop - rows.start].zero_()  # [n, band, W]
        tiles = slice(top // TILE, (top + step) // TILE)
        for one in maps:
            assert axes is not None
            one.raise_scores(band[one.place], tiles, rows, *axes)
        yield rows, band


@dataclass(frozen=True)
class _OpenMap:
    """A map [Hm, Wm] of logits of the class at ``place``, with its weight [].

    open: bool [tile rows, tile columns], where it can be the highest of its class.
    """

    place: int
    logits: Tensor
    weight: Tensor
    open: NDArray[np.bool_]

    def raise_scores(
        self, scores: Tensor, tiles: slice, rows: slice, down: Axis, across: Axis
    ) -> None:
        """Raise the scores [band, W] of the class in the band of these tile rows, in place."""
        is_open = self.open[tiles]
        if not is_open.any():
            return
        part = extent(is_open, axis=1)
        part = slice(tiles.start + part.start, tiles.start + part.stop)
        height = pixels_of(part, len(down))
        width = pixels_of(extent(is_open, axis=0), len(across))
        found = enlarged(self.logits, down, across, height, width).sigmoid_().mul_(self.weight)
        before = scores[height.start - rows.start : height.stop - rows.start, width]
        torch.maximum(before, found, out=before)


def _open_maps(
    evidence: Sequence[tuple[int, Evidence]], rows: Axis, columns: Axis
) -> Iterator[_OpenMap]:
    """The maps of all queries, at least one each, that can be the highest of their class."""
    shape = -(-len(rows) // TILE), -(-len(columns) // TILE)
    by_class: dict[int, list[Evidence]] = {}
    for place, one in evidence:
        by_class.setdefault(place, []).append(one)
    for place, several in by_class.items():
        everywhere = [np.ones((len(one.maps), *shape), np.bool_) for one in several]
        is_open = (
            _open_tiles(several, rows, columns)
            if several[0].maps.device.type == "cpu"
            else everywhere
        )
        for one, where in zip(several, is_open, strict=True):
            for logits, weight, tiles in zip(one.maps, one.weights, where, strict=True):
                if tiles.any():
                    yield _OpenMap(place, logits, weight, tiles)


def _open_tiles(evidence: Sequence[Evidence], rows: Axis, columns: Axis) -> list[NDArray[np.bool_]]:
    """Where each map can be the highest of its class: bool [n, tile rows, tile columns] each.

    evidence: of all queries of the class.
    """
    upper, lower = [], []
    for maps, weights in evidence:
        weight = weights[:, None, None]  # [n, 1, 1]
        upper.append(highest(maps, rows, columns).sigmoid() * weight * (1 + ROUNDING))
        lower.append(lowest(maps, rows, columns).sigmoid() * weight * (1 - ROUNDING))
    certain = torch.cat(lower).amax(dim=0)  # [tile rows, tile columns]
    # "Not <", so that NaN is open; ">=" would leave it out.
    return [(bound < certain).logical_not_().numpy() for bound in upper]
