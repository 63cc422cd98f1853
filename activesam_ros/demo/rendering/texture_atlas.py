"""The textures of a drive: an atlas of repeating cells with mip levels, and the clouds."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.demo.rendering.textures import PAINTERS, CellPainter, noise
from activesam_ros.demo.world.mesh import Texture

ATLAS_WIDTH_PX = 2048
LEVELS = 6
SMALL_PX, LARGE_PX = 128, 256
BORDER_PX = 2
CLOUD_SIZE_PX = 256
_LARGE_CELLS = {
    *range(Texture.FACADE_HOUSE, Texture.HALL + 1),
    Texture.BUS_SIDE,
    Texture.TRAIN_SIDE,
}


@dataclass(frozen=True)
class Atlas:
    """image: uint8 [H, 2048, 4]; origin: [T, levels, 2] x, y; size: [T, levels]; in pixels."""

    image: NDArray[np.uint8]
    origin: NDArray[np.float32]
    size: NDArray[np.float32]


@dataclass(frozen=True)
class DriveTextures:
    """The textures of one seed. clouds: uint8 [258, 258], density with a border that repeats it."""

    atlas: Atlas
    clouds: NDArray[np.uint8]

    @classmethod
    def of_seed(cls, seed: int) -> DriveTextures:
        """Paint the textures of the drive with this seed."""
        clouds = noise(np.random.default_rng([seed, 10]), CLOUD_SIZE_PX, 1.45)
        # One standard deviation is a third of the distance from the middle to either end.
        stored = np.clip(clouds * 42.5 + 127.5, 0, 255).astype(np.uint8)
        return cls(build_atlas(np.random.default_rng([seed, 9])), np.pad(stored, 1, mode="wrap"))


def build_atlas(rng: np.random.Generator) -> Atlas:
    """Paint every cell and pack all its mip levels, each with a border that repeats it."""
    tiles: list[tuple[int, int, NDArray[np.uint8]]] = []
    border = (BORDER_PX, BORDER_PX)
    for texture, paint in PAINTERS.items():
        painter = CellPainter(rng, LARGE_PX if texture in _LARGE_CELLS else SMALL_PX)
        paint(painter)
        pixels = painter.pixels()
        for level in range(LEVELS):
            tiles.append((texture, level, np.pad(pixels, (border, border, (0, 0)), mode="wrap")))
            half = pixels.shape[0] // 2
            pixels = np.asarray(cv2.resize(pixels, (half, half), interpolation=cv2.INTER_AREA))
    return _pack(tiles)


def _pack(tiles: list[tuple[int, int, NDArray[np.uint8]]]) -> Atlas:
    origin = np.zeros((len(PAINTERS), LEVELS, 2), np.float32)
    size = np.zeros((len(PAINTERS), LEVELS), np.float32)
    x = y = shelf = 0
    places = []
    for texture, level, tile in sorted(tiles, key=lambda entry: -entry[2].shape[0]):
        side = tile.shape[0]
        if x + side > ATLAS_WIDTH_PX:
            x, y, shelf = 0, y + shelf, 0
        shelf = max(shelf, side)
        places.append((x, y, tile))
        # u = 0 lies half a pixel before the centre of the first texel
        origin[texture, level] = (x + BORDER_PX - 0.5, y + BORDER_PX - 0.5)
        size[texture, level] = side - 2 * BORDER_PX
        x += side
    image = np.zeros((y + shelf, ATLAS_WIDTH_PX, 4), np.uint8)
    for left, top, tile in places:
        image[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return Atlas(image, origin, size)
