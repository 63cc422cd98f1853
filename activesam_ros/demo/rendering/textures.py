"""The texture cells of a drive: the tool that paints one, and what is painted on each.

The RGB of a cell multiplies the tint of a face; factors from 0 to 1.25 are stored as 0 to 255. The
fourth channel holds the light that the texture emits at night.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.demo.world.mesh import Texture

Plane = NDArray[np.float32]

STORED_ONE = 204.0  # the stored value of factor 1: a cell may brighten by a quarter


def noise(rng: np.random.Generator, size: int, slope: float) -> Plane:
    """Periodic noise [size, size] of deviation 1 whose amplitude falls as frequency ** -slope."""
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
        """Add noise in brightness, and if ``tinted`` in hue."""
        self.color *= (1.0 + amount * noise(self.rng, self.size, slope))[..., None]
        if tinted:
            for channel in range(3):
                self.color[..., channel] *= 1.0 + tinted * noise(self.rng, self.size, 1.0)

    def blotches(self, amount: float, threshold: float) -> None:
        """Add patches of another brightness."""
        patch = noise(self.rng, self.size, 1.6) > threshold
        soft = cv2.GaussianBlur(patch.astype(np.float32), (0, 0), 1.2)
        self.color *= (1.0 + amount * soft)[..., None]

    def bricks(self, rows: int, columns: int, joint: float, spread: float, shift: bool) -> None:
        """Lay rows of blocks that differ in brightness, with joints of brightness ``joint``."""
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
        """Fill a rectangle; the corners are fractions of the cell."""
        edges = [round(value * self.size) for value in (x0, y0, x1, y1)]
        self.color[edges[1] : edges[3], edges[0] : edges[2]] = color

    def glow(self, x0: float, y0: float, x1: float, y1: float, amount: float) -> None:
        """Let the rectangle emit light at night."""
        edges = [round(value * self.size) for value in (x0, y0, x1, y1)]
        self.emission[edges[1] : edges[3], edges[0] : edges[2]] = amount

    def pixels(self) -> NDArray[np.uint8]:
        """uint8 [size, size, 4]."""
        stored = np.empty((self.size, self.size, 4), np.float32)
        stored[..., :3] = self.color * STORED_ONE
        stored[..., 3] = self.emission * 255.0
        return np.clip(stored, 0.0, 255.0).astype(np.uint8)


Paint = Callable[[CellPainter], None]


def _speckled(amount: float, slope: float, tinted: float = 0.0, blotch: float = 0.0) -> Paint:
    def paint(cell: CellPainter) -> None:
        cell.grain(amount, slope, tinted)
        if blotch:
            cell.blotches(blotch, 1.0)
            cell.blotches(-blotch, 1.2)

    return paint


def _blocks(rows: int, columns: int, joint: float, spread: float, shift: bool = True) -> Paint:
    def paint(cell: CellPainter) -> None:
        cell.grain(0.06, 0.6)
        cell.bricks(rows, columns, joint, spread, shift)
        cell.grain(0.05, 1.4)

    return paint


def _asphalt(cell: CellPainter) -> None:
    cell.grain(0.07, 0.25)
    cell.grain(0.04, 1.5)
    cell.blotches(-0.06, 1.1)


def _old_asphalt(cell: CellPainter) -> None:
    _asphalt(cell)
    crack = np.abs(noise(cell.rng, cell.size, 1.3)) < 0.03
    cell.color[crack] *= 0.62
    x0, y0 = cell.rng.uniform(0.05, 0.5, 2)
    cell.color[int(y0 * cell.size) : int((y0 + 0.3) * cell.size), int(x0 * cell.size) :][
        :, : int(0.35 * cell.size)
    ] *= 0.84


def _grass(cell: CellPainter) -> None:
    cell.grain(0.16, 0.3, 0.07)
    cell.grain(0.10, 1.3)
    dry = noise(cell.rng, cell.size, 1.2) > 1.3
    cell.color[dry] *= (1.25, 1.08, 0.85)


def _paint(cell: CellPainter) -> None:
    cell.grain(0.05, 0.6)
    worn = noise(cell.rng, cell.size, 0.8) > 1.7
    cell.color[worn] *= 0.62


def _wood(cell: CellPainter) -> None:
    planks = 8
    _y, x = np.mgrid[: cell.size, : cell.size]
    plank = x * planks // cell.size
    cell.color *= cell.rng.normal(1.0, 0.10, planks).astype(np.float32)[plank][..., None]
    streak = cv2.GaussianBlur(
        cell.rng.standard_normal((cell.size, cell.size)).astype(np.float32), (0, 0), 0.8, sigmaY=9.0
    )
    cell.color *= (1.0 + 0.30 * streak / streak.std() * 0.3)[..., None]
    cell.color[x % (cell.size // planks) < 2] *= 0.5


def _leaves(cell: CellPainter) -> None:
    size = cell.size
    cell.color *= 0.62
    for _ in range(700):
        x, y = cell.rng.integers(0, size, 2)
        level = cell.rng.uniform(0.55, 1.2)
        hue = cell.rng.uniform(0.9, 1.1)
        axes = (int(cell.rng.integers(2, 6)), int(cell.rng.integers(1, 4)))
        color = (level * hue, level, level * cell.rng.uniform(0.7, 1.0))
        angle = float(cell.rng.uniform(0.0, 180.0))
        cv2.ellipse(cell.color, (int(x), int(y)), axes, angle, 0.0, 360.0, color, -1)
    cell.grain(0.10, 1.2)


def _stripes(cell: CellPainter) -> None:
    cell.grain(0.06, 0.7)
    rows = np.arange(cell.size) * 8 // cell.size % 2 == 0
    cell.color[rows] *= cell.rng.uniform(0.45, 0.75)


def _checks(cell: CellPainter) -> None:
    cell.grain(0.06, 0.7)
    band = np.arange(cell.size) * 6 // cell.size % 2 == 0
    factor = cell.rng.uniform(0.55, 0.8)
    cell.color[band] *= factor
    cell.color[:, band] *= factor


def _graffiti(cell: CellPainter) -> None:
    cell.grain(0.05, 1.2)
    cell.bricks(2, 1, 0.7, 0.04, False)
    for _ in range(7):
        color = tuple(float(level) for level in cell.rng.uniform(0.3, 1.25, 3))
        points = cell.rng.uniform(0.05, 0.95, (6, 2)) * [cell.size, 0.5 * cell.size]
        points[:, 1] += 0.4 * cell.size
        cv2.polylines(cell.color, [points.astype(np.int32)], False, color, 4)


def _window(cell: CellPainter, x0: float, y0: float, x1: float, y1: float) -> None:
    """A window with frame, sill, panes and curtains, sometimes lit at night."""
    rng = cell.rng
    frame = float(rng.choice([1.2, 0.45, 0.9]))
    cell.box(x0 - 0.012, y0 - 0.012, x1 + 0.012, y1 + 0.016, (frame, frame, frame))
    dark = float(rng.uniform(0.16, 0.38))
    cell.box(x0, y0, x1, y1, (dark, dark * 1.05, dark * 1.2))
    # The upper part mirrors the sky.
    cell.box(x0, y0, x1, y0 + (y1 - y0) * float(rng.uniform(0.2, 0.7)), (dark * 1.7,) * 3)
    if rng.random() < 0.4:
        cloth = float(rng.uniform(0.6, 1.1))
        cell.box(x0, y0, x0 + (x1 - x0) * 0.22, y1, (cloth, cloth * 0.97, cloth * 0.9))
        cell.box(x1 - (x1 - x0) * 0.22, y0, x1, y1, (cloth, cloth * 0.97, cloth * 0.9))
    middle = (x0 + x1) / 2
    cell.box(middle - 0.006, y0, middle + 0.006, y1, (frame,) * 3)
    cell.box(x0 - 0.02, y1 + 0.012, x1 + 0.02, y1 + 0.03, (0.7, 0.7, 0.7))
    if rng.random() < 0.45:
        cell.glow(x0, y0, x1, y1, float(rng.uniform(0.5, 1.0)))


def _facade(columns: int, rows: int, width: float, height: float, base: Paint) -> Paint:
    def paint(cell: CellPainter) -> None:
        base(cell)
        for row in range(rows):
            cell.box(0.0, row / rows, 1.0, row / rows + 0.012, (0.82, 0.82, 0.82))
            for column in range(columns):
                x = (column + 0.5) / columns
                y = (row + 0.5) / rows
                half_w, half_h = width / columns / 2, height / rows / 2
                _window(cell, x - half_w, y - half_h, x + half_w, y + half_h)

    return paint


def _glass(cell: CellPainter) -> None:
    """Curtain wall: panes of glass between thin bars."""
    columns, rows = 4, 3
    for row in range(rows):
        for column in range(columns):
            x0, y0 = column / columns, row / rows
            level = float(cell.rng.uniform(0.35, 0.75))
            cell.box(x0, y0, x0 + 1 / columns, y0 + 1 / rows, (level * 0.85, level, level * 1.15))
            if cell.rng.random() < 0.5:
                cell.glow(x0, y0, x0 + 1 / columns, y0 + 0.8 / rows, 0.8)
            cell.box(x0, y0 + 0.75 / rows, x0 + 1 / columns, y0 + 1 / rows, (0.5, 0.5, 0.52))
            cell.box(x0, y0, x0 + 0.012, y0 + 1 / rows, (0.8, 0.8, 0.82))
        cell.box(0.0, row / rows, 1.0, row / rows + 0.012, (0.8, 0.8, 0.82))


def _shop(cell: CellPainter) -> None:
    """Ground floor: shop windows under a sign band, a door."""
    cell.grain(0.05, 1.0)
    sign = tuple(float(level) for level in cell.rng.uniform(0.3, 1.2, 3))
    cell.box(0.03, 0.06, 0.97, 0.22, sign)
    ink = 1.2 if sum(sign) < 2.2 else 0.2
    x = 0.10
    while x < 0.85:
        width = float(cell.rng.uniform(0.02, 0.06))
        cell.box(x, 0.10, x + width, 0.18, (ink, ink, ink))
        x += width + 0.02
    cell.glow(0.03, 0.06, 0.97, 0.22, 0.7)
    for x0, x1 in ((0.06, 0.40), (0.62, 0.94)):
        cell.box(x0 - 0.015, 0.28, x1 + 0.015, 0.86, (0.5, 0.5, 0.5))
        cell.box(x0, 0.30, x1, 0.84, (0.28, 0.30, 0.33))
        for _ in range(6):
            left = float(cell.rng.uniform(x0, x1 - 0.06))
            goods = tuple(float(level) for level in cell.rng.uniform(0.2, 1.1, 3))
            cell.box(left, float(cell.rng.uniform(0.5, 0.7)), left + 0.06, 0.84, goods)
        cell.glow(x0, 0.30, x1, 0.84, 0.9)
    cell.box(0.45, 0.28, 0.57, 0.98, (0.35, 0.28, 0.24))
    cell.box(0.47, 0.32, 0.55, 0.70, (0.25, 0.28, 0.33))


def _hall(cell: CellPainter) -> None:
    """Corrugated sheet with a strip of windows."""
    x = np.arange(cell.size)
    cell.color *= (1.0 + 0.10 * np.sin(x * (2 * np.pi * 16 / cell.size)))[None, :, None]
    cell.grain(0.04, 1.4)
    cell.box(0.0, 0.12, 1.0, 0.24, (0.35, 0.4, 0.45))
    for column in range(8):
        cell.box(column / 8, 0.12, column / 8 + 0.012, 0.24, (0.8, 0.8, 0.8))
    cell.box(0.3, 0.55, 0.62, 1.0, (0.62, 0.6, 0.58))


def _text_lines(
    cell: CellPainter, left: float, right: float, top: float, lines: int, ink: float
) -> None:
    for line in range(lines):
        x = left
        y = top + line * 0.2
        while x < right:
            width = float(cell.rng.uniform(0.03, 0.10))
            cell.box(x, y, min(x + width, right), y + 0.09, (ink, ink, ink))
            x += width + 0.025


def _sign_limit(cell: CellPainter) -> None:
    middle, size = cell.size // 2, cell.size
    cell.color[:] = (1.05, 0.12, 0.12)
    cv2.circle(cell.color, (middle, middle), int(0.36 * size), (1.2, 1.2, 1.2), -1)
    text = str(int(cell.rng.choice([30, 40, 50, 60, 70, 80])))
    spot = (int(0.20 * size), int(0.65 * size))
    cv2.putText(cell.color, text, spot, cv2.FONT_HERSHEY_SIMPLEX, size / 64, (0.1, 0.1, 0.1), 8)


def _sign_warning(cell: CellPainter) -> None:
    size = cell.size
    cell.color[:] = (1.05, 0.14, 0.12)
    inner = np.array([[0.5, 0.26], [0.80, 0.86], [0.20, 0.86]]) * size
    cv2.fillPoly(cell.color, [inner.astype(np.int32)], (1.2, 1.2, 1.1))
    cell.box(0.46, 0.48, 0.54, 0.68, (0.1, 0.1, 0.1))
    cell.box(0.46, 0.73, 0.54, 0.80, (0.1, 0.1, 0.1))


def _sign_stop(cell: CellPainter) -> None:
    size = cell.size
    cell.color[:] = (0.95, 0.1, 0.12)
    spot = (int(0.10 * size), int(0.62 * size))
    cv2.putText(cell.color, "STOP", spot, cv2.FONT_HERSHEY_SIMPLEX, size / 105, (1.2,) * 3, 5)


def _sign_parking(cell: CellPainter) -> None:
    size = cell.size
    cell.color[:] = (0.1, 0.25, 0.85)
    cell.box(0.0, 0.0, 1.0, 0.05, (1.2, 1.2, 1.2))
    cell.box(0.0, 0.95, 1.0, 1.0, (1.2, 1.2, 1.2))
    spot = (int(0.28 * size), int(0.78 * size))
    cv2.putText(cell.color, "P", spot, cv2.FONT_HERSHEY_SIMPLEX, size / 40, (1.2,) * 3, 9)


def _sign_board(cell: CellPainter) -> None:
    green = cell.rng.random() < 0.5
    cell.color[:] = (0.05, 0.45, 0.25) if green else (0.08, 0.25, 0.70)
    for edge in ((0.02, 0.02, 0.98, 0.05), (0.02, 0.95, 0.98, 0.98)):
        cell.box(*edge, (1.2, 1.2, 1.2))
    _text_lines(cell, 0.08, 0.62, 0.14, 4, 1.2)
    cell.box(0.78, 0.25, 0.84, 0.85, (1.2, 1.2, 1.2))
    arrow = np.array([[0.69, 0.36], [0.81, 0.12], [0.93, 0.36]]) * cell.size
    cv2.fillPoly(cell.color, [arrow.astype(np.int32)], (1.2, 1.2, 1.2))


def _sign_no_entry(cell: CellPainter) -> None:
    cell.color[:] = (0.98, 0.1, 0.1)
    cell.box(0.15, 0.42, 0.85, 0.58, (1.2, 1.2, 1.2))


def _cargo(cell: CellPainter) -> None:
    """The side of a lorry: panels and the name of a company."""
    cell.grain(0.03, 1.3)
    color = tuple(float(level) for level in cell.rng.uniform(0.15, 1.1, 3))
    if cell.rng.random() < 0.5:
        cell.box(0.0, float(cell.rng.uniform(0.55, 0.75)), 1.0, 0.85, color)
    _text_lines(cell, 0.15, 0.85, 0.30, 1, 0.25)
    for column in range(6):
        cell.color[:, int(column / 6 * cell.size)] *= 0.7


def _coach(windows: int, top: float, bottom: float) -> Paint:
    """The side of a bus or train: a band of windows, a stripe, doors."""

    def paint(cell: CellPainter) -> None:
        cell.grain(0.02, 1.3)
        cell.box(0.0, top, 1.0, bottom, (0.16, 0.18, 0.22))
        cell.glow(0.0, top + 0.02, 1.0, bottom, 0.75)
        for window in range(windows):
            x = window / windows
            cell.box(x, top, x + 0.012, bottom, (0.5, 0.5, 0.5))
            if cell.rng.random() < 0.5:
                level = float(cell.rng.uniform(0.25, 0.5))
                cell.box(x + 0.3 / windows, top + 0.12, x + 0.6 / windows, bottom, (level,) * 3)
        stripe = tuple(float(level) for level in cell.rng.uniform(0.2, 1.2, 3))
        cell.box(0.0, 0.72, 1.0, 0.80, stripe)
        for x0 in (0.20, 0.68):
            cell.box(x0, 0.12, x0 + 0.12, 0.94, (0.55, 0.55, 0.57))
            cell.box(x0 + 0.015, 0.17, x0 + 0.105, 0.72, (0.15, 0.17, 0.2))
            cell.box(x0 + 0.056, 0.12, x0 + 0.064, 0.94, (0.4, 0.4, 0.4))

    return paint


def _skyline(cell: CellPainter) -> None:
    for row in range(8):
        for column in range(8):
            x, y = (column + 0.25) / 8, (row + 0.25) / 8
            level = float(cell.rng.uniform(0.55, 0.85))
            cell.box(x, y, x + 0.07, y + 0.06, (level, level, level))
            if cell.rng.random() < 0.3:
                cell.glow(x, y, x + 0.07, y + 0.06, 0.8)


PAINTERS: dict[Texture, Paint] = {
    Texture.PLAIN: _speckled(0.02, 0.8),
    Texture.ASPHALT: _asphalt,
    Texture.OLD_ASPHALT: _old_asphalt,
    Texture.COBBLES: _blocks(16, 16, 0.6, 0.10),
    Texture.PAVERS: _blocks(8, 6, 0.72, 0.07),
    Texture.SLABS: _blocks(4, 4, 0.70, 0.04, shift=False),
    Texture.GRASS: _grass,
    Texture.SOIL: _speckled(0.12, 0.9, 0.04, 0.15),
    Texture.GRAVEL: _speckled(0.26, 0.15, 0.03),
    Texture.PAINT: _paint,
    Texture.CONCRETE: _speckled(0.06, 1.3, 0.01, 0.06),
    Texture.PLASTER: _speckled(0.05, 1.2, 0.01, 0.04),
    Texture.BRICK: _blocks(20, 8, 1.15, 0.11),
    Texture.STONE: _blocks(7, 5, 0.55, 0.14),
    Texture.WOOD: _wood,
    Texture.TILES: _blocks(14, 12, 0.6, 0.09),
    Texture.LEAVES: _leaves,
    Texture.NEEDLES: _speckled(0.30, 0.35, 0.05),
    Texture.HEDGE: _leaves,
    Texture.BARK: _wood,
    Texture.CLOTH: _speckled(0.10, 1.0),
    Texture.STRIPES: _stripes,
    Texture.CHECKS: _checks,
    Texture.METAL: _speckled(0.05, 1.1, 0.01, 0.08),
    Texture.GRAFFITI: _graffiti,
    Texture.FACADE_HOUSE: _facade(2, 2, 0.42, 0.52, _speckled(0.04, 1.2, 0.01, 0.05)),
    Texture.FACADE_BRICK: _facade(3, 2, 0.50, 0.55, _blocks(48, 18, 1.1, 0.09)),
    Texture.FACADE_OFFICE: _facade(3, 2, 0.80, 0.55, _speckled(0.03, 1.2)),
    Texture.FACADE_OLD: _facade(3, 2, 0.44, 0.66, _speckled(0.06, 1.3, 0.01, 0.06)),
    Texture.FACADE_GLASS: _glass,
    Texture.SHOP_A: _shop,
    Texture.SHOP_B: _shop,
    Texture.HALL: _hall,
    Texture.SIGN_LIMIT: _sign_limit,
    Texture.SIGN_WARNING: _sign_warning,
    Texture.SIGN_STOP: _sign_stop,
    Texture.SIGN_PARKING: _sign_parking,
    Texture.SIGN_BOARD: _sign_board,
    Texture.SIGN_NO_ENTRY: _sign_no_entry,
    Texture.CARGO_A: _cargo,
    Texture.CARGO_B: _cargo,
    Texture.BUS_SIDE: _coach(6, 0.12, 0.52),
    Texture.TRAIN_SIDE: _coach(7, 0.22, 0.52),
    Texture.SKYLINE: _skyline,
    Texture.NET: _speckled(0.10, 0.4),
}
