"""Colours for classes without one: derived from the name, bright, and easy to tell apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]

# Colours are chosen among those of a coarse lattice that show on a photo: neither dark, nor pale,
# nor grey. The lattice has 16 levels per channel, white's included.
_LEVELS = 16
_LIGHTNESS = (0.5, 0.92)
_MIN_CHROMA = 0.1
# Over a photo, the photo's own light and shade hide a difference in lightness, so it counts half.
_LIGHTNESS_WEIGHT = 0.5
# Distances that two colours may have, the widest first. At 0.02 a trained eye sees a difference
# between fields side by side; below the last, colours are merely different.
_DISTANCES = tuple(0.3 * 0.92**step for step in range(28))


def automatic_colors(names: Sequence[str], taken: Iterable[Color] = ()) -> tuple[Color, ...]:
    """One RGB colour (0-255) per name, distinct from each other and from ``taken``.

    A colour depends on its name, and on other names only if their colours would look alike. The
    order of the names does not matter.
    """
    occupied = _Occupied(taken)
    chosen: dict[int, Color] = {}
    for index in sorted(range(len(names)), key=lambda index: names[index]):
        chosen[index] = occupied.take(names[index])
    return tuple(chosen[index] for index in range(len(names)))


def overlay_distances(colors: Sequence[Color]) -> NDArray[np.float64]:
    """How different each pair of colours [N] looks over a photo, in units of OKLab: [N, N]."""
    places = _places(colors)
    return np.asarray(np.linalg.norm(places[:, None] - places[None], axis=-1))


def oklab(colors: Sequence[Color] | NDArray[np.uint8]) -> NDArray[np.float64]:
    """RGB 0-255 [N, 3] as OKLab [N, 3], in which distances are differences that people see."""
    rgb = np.asarray(colors, np.float64).reshape(-1, 3) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    lab: NDArray[np.float64] = np.cbrt(linear @ _TO_CONES.T) @ _TO_LAB.T
    return lab


# Ottosson, "A perceptual color space for image processing", 2020.
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def _places(colors: Sequence[Color] | NDArray[np.uint8]) -> NDArray[np.float64]:
    """Points [N, 3] whose distances say how different colours look over a photo."""
    return oklab(colors) * (_LIGHTNESS_WEIGHT, 1.0, 1.0)


def _visible() -> NDArray[np.uint8]:
    """The colours of the lattice that show on a photo, RGB [N, 3]."""
    steps = np.linspace(0, 255, _LEVELS).round().astype(np.uint8)
    rgb = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = oklab(rgb)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    low, high = _LIGHTNESS
    shows = (lab[:, 0] >= low) & (lab[:, 0] <= high) & (chroma >= _MIN_CHROMA)
    return rgb[shows]


class _Occupied:
    """The colours in use, and how far each candidate is from the nearest of them."""

    def __init__(self, colors: Iterable[Color]) -> None:
        self._rgb = _visible()  # [N, 3]
        self._places = _places(self._rgb)  # [N, 3]
        self._nearest = np.full(len(self._rgb), np.inf)  # distance, [N]
        self._used: set[Color] = set()
        for color in colors:
            self._add(color)

    def _add(self, color: Color) -> None:
        self._used.add(color)
        if self._nearest.max() < _DISTANCES[-1]:
            return
        distance = np.linalg.norm(self._places - _places([color]), axis=1)
        np.minimum(self._nearest, distance, out=self._nearest)

    def take(self, name: str) -> Color:
        """Choose a colour for ``name`` and occupy it."""
        color = self._apart(name) or self._unused(name)
        self._add(color)
        return color

    def _apart(self, name: str) -> Color | None:
        """The first colour in the name's own order that is as far from all others as can be."""
        widest = self._nearest.max()
        distance = next((step for step in _DISTANCES if step <= widest), None)
        if distance is None:
            return None
        order = _own_order(name, len(self._rgb))
        first = order[np.argmax(self._nearest[order] >= distance)]
        red, green, blue = self._rgb[first].tolist()
        return red, green, blue

    def _unused(self, name: str) -> Color:
        """A colour that no class has; reached with hundreds of classes."""
        code = int.from_bytes(_digest(name)[:3], "big")
        while True:
            color = (code >> 16 & 255, code >> 8 & 255, code & 255)
            if color not in self._used:
                return color
            code += 1


def _own_order(name: str, count: int) -> NDArray[np.int64]:
    """The numbers below ``count`` in an order that depends on ``name``."""
    digest = _digest(name)
    keys = np.frombuffer(hashlib.shake_128(digest).digest(2 * count), ">u2")
    return np.argsort(keys, kind="stable")


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()
