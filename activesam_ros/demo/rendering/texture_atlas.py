"""The texture atlas of a drive: small repeating cells with mip levels, made from its seed."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.demo.rendering.texture_cells import PAINTERS
from activesam_ros.demo.rendering.textures import Cell, CellPainter

ATLAS_WIDTH = 2048
LEVELS = 6
SMALL, LARGE = 128, 256
_LARGE_CELLS = frozenset(range(Cell.FACADE_HOUSE, Cell.HALL + 1)) | {Cell.BUS_SIDE, Cell.TRAIN_SIDE}


@dataclass(frozen=True)
class Atlas:
    """image: uint8 [H, 2048, 4]; origin: [cells, levels, 2] x, y; size: [cells, levels] pixels."""

    image: NDArray[np.uint8]
    origin: NDArray[np.float32]
    size: NDArray[np.float32]


def build_atlas(rng: np.random.Generator) -> Atlas:
    """Paint every cell and pack all mip levels, each with a border that repeats it."""
    tiles: list[tuple[int, int, NDArray[np.uint8]]] = []
    for cell, paint in PAINTERS.items():
        painter = CellPainter(rng, LARGE if cell in _LARGE_CELLS else SMALL)
        paint(painter)
        pixels = painter.pixels()
        for level in range(LEVELS):
            tiles.append((cell, level, np.pad(pixels, ((2, 2), (2, 2), (0, 0)), mode="wrap")))
            half = pixels.shape[0] // 2
            pixels = np.asarray(cv2.resize(pixels, (half, half), interpolation=cv2.INTER_AREA))
    return _pack(tiles)


def _pack(tiles: list[tuple[int, int, NDArray[np.uint8]]]) -> Atlas:
    origin = np.zeros((len(PAINTERS), LEVELS, 2), np.float32)
    size = np.zeros((len(PAINTERS), LEVELS), np.float32)
    x = y = shelf = 0
    places = []
    for cell, level, tile in sorted(tiles, key=lambda entry: -entry[2].shape[0]):
        side = tile.shape[0]
        if x + side > ATLAS_WIDTH:
            x, y, shelf = 0, y + shelf, 0
        shelf = max(shelf, side)
        places.append((x, y, tile))
        # texel centres: u = 0 lies half a pixel before the first one
        origin[cell, level] = (x + 1.5, y + 1.5)
        size[cell, level] = side - 4
        x += side
    image = np.zeros((y + shelf, ATLAS_WIDTH, 4), np.uint8)
    for left, top, tile in places:
        image[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return Atlas(image, origin, size)
