"""Colours for classes without one: derived from the name, distinct, and bright."""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Iterable, Sequence

Color = tuple[int, int, int]

# Colours lie on a lattice with one of these spacings per channel, so that two of them differ by at
# least the spacing in some channel. The widest lattice with a free cell is used.
_SPACINGS = (48, 32, 24, 16, 8, 4, 1)
# Colours tried for one name on one lattice.
_CANDIDATES = 24


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


class _Occupied:
    """The cells in use on the lattice of each spacing."""

    def __init__(self, colors: Iterable[Color]) -> None:
        self._cells: set[tuple[int, Color]] = set()
        self._widest = 0  # index of the widest lattice that is not yet nearly full
        for color in colors:
            self._add(color)

    def _add(self, color: Color) -> None:
        self._cells.update((spacing, _cell(color, spacing)) for spacing in _SPACINGS)

    def take(self, name: str) -> Color:
        """Choose a colour for ``name`` and occupy it."""
        while self._widest < len(_SPACINGS):
            spacing = _SPACINGS[self._widest]
            for attempt in range(_CANDIDATES):
                cell = _cell(_candidate(name, attempt), spacing)
                if (spacing, cell) not in self._cells:
                    red, green, blue = (min(level * spacing, 255) for level in cell)
                    color = (red, green, blue)
                    # Clipped at 255, the colour may be one of a finer lattice that is in use.
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
