"""Texture cells and the tool that paints one.

A cell's RGB is a factor around 1 (stored as 0-255 for 0-1.25) on a face's tint; the fourth
channel says which parts give off light at night.
"""

from __future__ import annotations

import enum

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

STORED_ONE = 204.0  # the stored value of factor 1: a cell may brighten by a quarter


class Cell(enum.IntEnum):
    """Every texture there is."""

    PLAIN = 0
    ASPHALT = 1
    OLD_ASPHALT = 2
    COBBLES = 3
    PAVERS = 4
    SLABS = 5
    GRASS = 6
    SOIL = 7
    GRAVEL = 8
    PAINT = 9
    CONCRETE = 10
    PLASTER = 11
    BRICK = 12
    STONE = 13
    WOOD = 14
    TILES = 15
    LEAVES = 16
    NEEDLES = 17
    HEDGE = 18
    BARK = 19
    CLOTH = 20
    STRIPES = 21
    CHECKS = 22
    METAL = 23
    GRAFFITI = 24
    FACADE_HOUSE = 25
    FACADE_BRICK = 26
    FACADE_OFFICE = 27
    FACADE_OLD = 28
    FACADE_GLASS = 29
    SHOP_A = 30
    SHOP_B = 31
    HALL = 32
    SIGN_LIMIT = 33
    SIGN_WARNING = 34
    SIGN_STOP = 35
    SIGN_PARKING = 36
    SIGN_BOARD = 37
    SIGN_NO_ENTRY = 38
    CARGO_A = 39
    CARGO_B = 40
    BUS_SIDE = 41
    TRAIN_SIDE = 42
    SKYLINE = 43
    NET = 44


def noise(rng: np.random.Generator, size: int, slope: float) -> Plane:
    """Repeating noise [size, size] of deviation 1; amplitude falls as frequency ** -slope."""
    spectrum = np.fft.rfft2(rng.standard_normal((size, size), np.float32))
    fy = np.fft.fftfreq(size)[:, None] * size
    fx = np.fft.rfftfreq(size)[None, :] * size
    radius = np.hypot(fx, fy)
    radius[0, 0] = 1.0
    spectrum *= radius**-slope
    spectrum[0, 0] = 0.0
    plane = np.fft.irfft2(spectrum, s=(size, size)).astype(np.float32)
    return plane / np.float32(plane.std() + 1e-6)


class CellPainter:
    """Draws one cell: RGB factors [size, size, 3] and emission [size, size]."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.rng = rng
        self.size = size
        self.color = np.ones((size, size, 3), np.float32)
        self.emission = np.zeros((size, size), np.float32)

    def grain(self, amount: float, slope: float, tinted: float = 0.0) -> None:
        """Noise in brightness, and a little in hue."""
        self.color *= (1.0 + amount * noise(self.rng, self.size, slope))[..., None]
        if tinted:
            for channel in range(3):
                self.color[..., channel] *= 1.0 + tinted * noise(self.rng, self.size, 1.0)

    def blotches(self, amount: float, threshold: float) -> None:
        """Patches of another brightness."""
        patch = noise(self.rng, self.size, 1.6) > threshold
        soft = cv2.GaussianBlur(patch.astype(np.float32), (0, 0), 1.2)
        self.color *= (1.0 + amount * soft)[..., None]

    def bricks(self, rows: int, columns: int, joint: float, spread: float, shift: bool) -> None:
        """Rows of blocks, each of its own brightness, with joints of brightness ``joint``."""
        y, x = np.mgrid[: self.size, : self.size].astype(np.float32) / self.size
        row = np.floor(y * rows)
        along = x * columns + (0.5 * (row % 2) if shift else 0.0)
        column = np.floor(along) % columns
        levels = self.rng.normal(1.0, spread, (rows, columns)).astype(np.float32)
        self.color *= levels[row.astype(int), column.astype(int)][..., None]
        thick = 1.6 / self.size
        gap = (y * rows % 1.0 < thick * rows) | (along % 1.0 < thick * columns)
        self.color[gap] *= joint

    def box(self, x0: float, y0: float, x1: float, y1: float, color: tuple[float, ...]) -> None:
        """A filled rectangle; corners in parts of the cell."""
        edges = [round(value * self.size) for value in (x0, y0, x1, y1)]
        self.color[edges[1] : edges[3], edges[0] : edges[2]] = color

    def glow(self, x0: float, y0: float, x1: float, y1: float, amount: float) -> None:
        """The rectangle gives off light at night."""
        edges = [round(value * self.size) for value in (x0, y0, x1, y1)]
        self.emission[edges[1] : edges[3], edges[0] : edges[2]] = amount

    def pixels(self) -> NDArray[np.uint8]:
        """uint8 [size, size, 4]."""
        stored = np.empty((self.size, self.size, 4), np.float32)
        stored[..., :3] = self.color * STORED_ONE
        stored[..., 3] = self.emission * 255.0
        return np.clip(stored, 0.0, 255.0).astype(np.uint8)
