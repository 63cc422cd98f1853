"""Colours for classes that bring none: from the class's name, distinct, bright enough to read."""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Iterable, Sequence

Color = tuple[int, int, int]

# Lattice spacings per channel, wide first: two colours on one lattice differ by at least its
# spacing in some channel. The last one always has room.
_SPACINGS = (48, 32, 24, 16, 8, 4, 1)
_CANDIDATES = 24


def automatic_colors(names: Sequence[str], taken: Iterable[Color] = ()) -> tuple[Color, ...]:
    """One RGB colour (0-255) per name, distinct from each other and from ``taken``.

    A colour depends on its name; other names matter only where two would look alike, and the order
    of the names never does.
    """
    occupied = _Occupied(taken)
    chosen: dict[int, Color] = {}
    for index in sorted(range(len(names)), key=lambda index: names[index]):
        chosen[index] = occupied.take(names[index])
    return tuple(chosen[index] for index in range(len(names)))


class _Occupied:
    """The lattice cells in use, at every spacing."""

    def __init__(self, colors: Iterable[Color]) -> None:
        self._cells: set[tuple[int, Color]] = set()
        self._widest = 0  # place of the widest lattice that is not as good as full
        for color in colors:
            self._add(color)

    def _add(self, color: Color) -> None:
        self._cells.update((spacing, _cell(color, spacing)) for spacing in _SPACINGS)

    def take(self, name: str) -> Color:
        while self._widest < len(_SPACINGS):
            spacing = _SPACINGS[self._widest]
            for attempt in range(_CANDIDATES):
                cell = _cell(_candidate(name, attempt), spacing)
                if (spacing, cell) not in self._cells:
                    red, green, blue = (min(level * spacing, 255) for level in cell)
                    color = (red, green, blue)
                    # Clipping at 255 can land on a colour of a finer lattice.
                    if (1, color) not in self._cells:
                        self._add(color)
                        return color
            self._widest += 1
        return self._take_any(_candidate(name, 0))

    def _take_any(self, start: Color) -> Color:
        code = (start[0] << 16) + (start[1] << 8) + start[2]
        while True:
            color = (code >> 16, code >> 8 & 255, code & 255)
            if (1, color) not in self._cells:
                self._add(color)
                return color
            code = (code + 1) % 2**24


def _candidate(name: str, attempt: int) -> Color:
    digest = hashlib.blake2b(f"{attempt} {name}".encode(), digest_size=4).digest()
    hue = int.from_bytes(digest[:2], "big") / 65536
    saturation = 0.5 + 0.5 * digest[2] / 255
    value = 0.65 + 0.35 * digest[3] / 255
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _cell(color: Color, spacing: int) -> Color:
    red, green, blue = (round(level / spacing) for level in color)
    return red, green, blue
