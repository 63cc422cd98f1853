"""Cars, trucks, buses and trains as meshes. Frame: x forward, y left, z up, centred, metres."""

from __future__ import annotations

import dataclasses
import itertools
import math
from functools import partial

import numpy as np

from activesam_ros.demo.world.classes import ClassId
from activesam_ros.demo.world.mesh import (
    Appearance,
    Mesh,
    MeshBuilder,
    Point,
    Texture,
    Tint,
    upright,
)

# White, black, greys, silver, blues, reds, green, beige, yellow, brown.
CAR_PAINTS: tuple[Tint, ...] = (
    (0.88, 0.88, 0.88),
    (0.10, 0.10, 0.11),
    (0.35, 0.36, 0.38),
    (0.62, 0.64, 0.66),
    (0.24, 0.25, 0.27),
    (0.10, 0.20, 0.45),
    (0.30, 0.42, 0.58),
    (0.58, 0.10, 0.10),
    (0.42, 0.12, 0.12),
    (0.16, 0.32, 0.24),
    (0.66, 0.60, 0.48),
    (0.80, 0.65, 0.18),
    (0.34, 0.28, 0.22),
)
DARK: Tint = (0.07, 0.07, 0.075)
GLASS: Tint = (0.15, 0.18, 0.22)
RIM: Tint = (0.50, 0.51, 0.53)
HEADLIGHT: Tint = (0.95, 0.95, 0.90)
TAILLIGHT: Tint = (0.70, 0.06, 0.05)
PLATE: Tint = (0.90, 0.90, 0.85)
BODY_STAGE, DETAIL_STAGE, WHEEL_STAGE, HUB_STAGE = 0, 1, 2, 3


@dataclasses.dataclass(frozen=True)
class _VehicleKit:
    """The appearances of the parts of one vehicle, all with the same label."""

    paint: Appearance
    dark: Appearance
    glass: Appearance
    rim: Appearance
    head: Appearance
    tail: Appearance
    plate: Appearance
    trim: Appearance


def _vehicle_kit(label: ClassId, paint: Tint, lamps: bool = True) -> _VehicleKit:
    def plain(tint: Tint, glow: float = 0.0, slope: float = 0.0) -> Appearance:
        return Appearance(Texture.PLAIN, tint, label, glow=glow, slope=slope)

    return _VehicleKit(
        paint=plain(paint, slope=-0.25),
        dark=plain(DARK),
        glass=plain(GLASS, slope=-0.9),
        rim=plain(RIM),
        head=plain(HEADLIGHT, glow=1.6 if lamps else 0.0),
        tail=plain(TAILLIGHT, glow=1.2 if lamps else 0.0),
        plate=plain(PLATE),
        trim=plain((0.16, 0.16, 0.17)),
    )


def random_paint(rng: np.random.Generator) -> Tint:
    red, green, blue = CAR_PAINTS[rng.integers(len(CAR_PAINTS))]
    jitter = rng.uniform(0.9, 1.1, 3)
    return red * jitter[0], green * jitter[1], blue * jitter[2]


def _across(
    build: MeshBuilder,
    upper: Point,
    lower: Point,
    look: Appearance,
    inside: Point,
    stage: int = BODY_STAGE,
) -> None:
    """A face across the vehicle; each edge joins the given point with its mirror image."""
    (x0, y0, z0), (x1, y1, z1) = upper, lower
    corners: list[Point] = [(x0, y0, z0), (x0, -y0, z0), (x1, -y1, z1), (x1, y1, z1)]
    build.polygon(corners, look, inside, stage)


def _add_wheel(build: MeshBuilder, kit: _VehicleKit, x: float, y: float, radius: float) -> None:
    """A wheel seen from its outer side, at ``y`` left or right."""
    for scale, look, stage in ((1.0, kit.dark, WHEEL_STAGE), (0.58, kit.rim, HUB_STAGE)):
        angles = np.arange(8) * (math.pi / 4) + math.pi / 8
        ring: list[Point] = [
            (x + scale * radius * math.cos(a), y, radius + scale * radius * math.sin(a))
            for a in angles
        ]
        build.polygon(ring, look, inside=(x, 0.0, radius), stage=stage)


def car(rng: np.random.Generator, lamps: bool = True) -> Mesh:
    """A saloon, hatchback, estate car, off-roader or van with random proportions and paint."""
    style = int(rng.integers(5))
    # Metres.
    length, width, height, bonnet, boot, belt = (
        (4.6, 1.82, 1.44, 1.20, 0.75, 0.90),
        (4.0, 1.76, 1.48, 0.95, 0.10, 0.92),
        (4.7, 1.84, 1.48, 1.20, 0.06, 0.90),
        (4.5, 1.90, 1.72, 1.10, 0.05, 1.02),
        (4.9, 1.92, 1.95, 0.70, 0.04, 1.10),
    )[style]
    scale = rng.uniform(0.95, 1.06)
    length *= scale
    kit = _vehicle_kit(ClassId.CAR, random_paint(rng), lamps)
    build = MeshBuilder()
    build.group((0.0, 0.0, height / 2), (length, width, height * 0.85))
    rear, front = -length / 2, length / 2
    half = width / 2
    floor, nose = 0.24, belt - 0.20
    middle = (0.0, 0.0, belt / 2 + 0.1)
    for side in (-1.0, 1.0):
        y = side * half
        profile: list[Point] = [
            (rear + 0.05, y, belt),
            (front - bonnet, y, belt),
            (front - 0.12, y, nose),
            (front, y, 0.45),
            (front - 0.08, y, floor),
            (rear + 0.08, y, floor),
            (rear, y, 0.45),
        ]
        build.polygon(profile, kit.paint, middle)
        skirt = upright((rear + 0.1, y), (front - 0.1, y), floor, 0.40)
        build.polygon(skirt, kit.trim, middle, DETAIL_STAGE)
    across = partial(_across, build, inside=middle)
    across((front - 0.12, half, nose), (front, half, 0.45), kit.paint)
    across((front, half, 0.45), (front - 0.08, half, floor), kit.trim)
    across((rear + 0.05, -half, belt), (rear, -half, 0.45), kit.paint)
    across((rear, -half, 0.45), (rear + 0.08, -half, floor), kit.trim)
    across((front - bonnet, half, belt), (front - 0.12, half, nose), kit.paint)
    across((rear + 0.05, half, belt), (rear + boot + 0.05, half, belt), kit.paint)
    _cabin(build, kit, (rear + boot, front - bonnet), half, belt, height, style)
    _car_details(build, kit, rear, front, half, belt, nose)
    wheel = 0.33 if style < 3 else 0.37
    for x in (front - 0.85, rear + 0.80):
        for side in (-1.0, 1.0):
            _add_wheel(build, kit, x, side * (half + 0.01), wheel)
    return build.mesh()


def _cabin(
    build: MeshBuilder,
    kit: _VehicleKit,
    span: tuple[float, float],
    half: float,
    belt: float,
    height: float,
    style: int,
) -> None:
    """Windows and roof over the belt line, narrower at the top."""
    rear, front = span
    top_half = half - 0.22
    rake_front = 0.75 if style < 4 else 0.45
    rake_rear = (0.65, 0.45, 0.35, 0.25, 0.12)[style]
    roof_front, roof_rear = front - rake_front, rear + rake_rear
    middle = ((front + rear) / 2, 0.0, (belt + height) / 2)
    for side in (-1.0, 1.0):
        low, high = side * half, side * top_half
        shell: list[Point] = [
            (roof_rear, high, height),
            (roof_front, high, height),
            (front, low, belt),
            (rear, low, belt),
        ]
        build.polygon(shell, kit.paint, middle)
        # Two panes between three pillars.
        for start, end in ((0.06, 0.47), (0.53, 0.93)):
            pane: list[Point] = []
            for part, up in ((start, 0.88), (end, 0.88), (end, 0.06), (start, 0.06)):
                x_low, x_high = (
                    rear + part * (front - rear),
                    roof_rear + part * (roof_front - roof_rear),
                )
                pane.append(
                    (
                        x_low + up * (x_high - x_low),
                        low + up * (high - low) + side * 0.005,
                        belt + up * (height - belt),
                    )
                )
            build.polygon(pane, kit.glass, middle, DETAIL_STAGE)
    for x_low, x_high in ((front, roof_front), (rear, roof_rear)):
        _across(build, (x_high, top_half, height), (x_low, half, belt), kit.paint, middle)
        upper, lower = (
            (
                x_low + up * (x_high - x_low),
                0.93 * (half + up * (top_half - half)),
                belt + up * (height - belt),
            )
            for up in (0.90, 0.08)
        )
        _across(build, upper, lower, kit.glass, middle, DETAIL_STAGE)
    _across(build, (roof_front, top_half, height), (roof_rear, top_half, height), kit.paint, middle)


def _car_details(
    build: MeshBuilder,
    kit: _VehicleKit,
    rear: float,
    front: float,
    half: float,
    belt: float,
    nose: float,
) -> None:
    """Lamps, grille, plates and mirrors."""
    middle = (0.0, 0.0, 0.5)
    for side in (-1.0, 1.0):
        inner, outer = side * (half - 0.42), side * (half - 0.04)
        build.polygon(
            [
                (front - 0.09, inner, nose - 0.02),
                (front - 0.11, outer, nose - 0.02),
                (front - 0.05, outer, nose - 0.17),
                (front - 0.04, inner, nose - 0.17),
            ],
            kit.head,
            middle,
            WHEEL_STAGE,
        )
        inner = side * (half - 0.34)
        build.polygon(
            [
                (rear + 0.03, inner, belt - 0.08),
                (rear + 0.03, outer, belt - 0.06),
                (rear - 0.01, outer, belt - 0.30),
                (rear - 0.01, inner, belt - 0.26),
            ],
            kit.tail,
            middle,
            WHEEL_STAGE,
        )
        x = front - 1.55
        y = side * (half + 0.09)
        mirror = upright((x, y - 0.09), (x, y + 0.09), belt, belt + 0.14)
        build.polygon(mirror, dataclasses.replace(kit.trim, two_sided=True), stage=HUB_STAGE)
    grille = (front - 0.06, 0.45, nose - 0.06), (front + 0.01, 0.42, 0.48)
    _across(build, *grille, kit.dark, middle, DETAIL_STAGE)
    for x in (front + 0.02, rear - 0.02):
        _across(build, (x, 0.26, 0.60), (x, 0.26, 0.49), kit.plate, middle, WHEEL_STAGE)


def _slab(
    build: MeshBuilder,
    x0: float,
    x1: float,
    half: float,
    low: float,
    high: float,
    side: Appearance,
    end: Appearance,
    roof: Appearance,
    wall_uv: tuple[float, float] | None = None,
) -> None:
    """A box from ``x0`` to ``x1``; ``wall_uv`` holds the first and the last u of its sides."""
    middle = ((x0 + x1) / 2, 0.0, (low + high) / 2)
    for y in (-half, half):
        uv = None
        if wall_uv is not None:
            u0, u1 = wall_uv
            uv = [(u0, 0.0), (u1, 0.0), (u1, 1.0), (u0, 1.0)]
        build.polygon(upright((x0, y), (x1, y), low, high), side, middle, uv=uv)
    for x in (x0, x1):
        _across(build, (x, half, high), (x, half, low), end, middle)
    _across(build, (x0, half, high), (x1, half, high), roof, middle)


def _end_panel(
    build: MeshBuilder,
    x: float,
    half: float,
    low: float,
    high: float,
    look: Appearance,
    stage: int = DETAIL_STAGE,
) -> None:
    """A rectangle on a front (x > 0) or rear end."""
    inside = (x - math.copysign(1.0, x), 0.0, (low + high) / 2)
    _across(build, (x, half, high), (x, half, low), look, inside, stage)


def _end_lamps(
    build: MeshBuilder, x: float, half: float, low: float, height: float, look: Appearance
) -> None:
    for side in (-1.0, 1.0):
        inner, outer = side * (half - 0.38), side * (half - 0.08)
        lamp = upright((x, inner), (x, outer), low, low + height)
        build.polygon(lamp, look, (x - math.copysign(1.0, x), 0.0, low), WHEEL_STAGE)


def truck(rng: np.random.Generator) -> Mesh:
    """A lorry: cab and a box, tarpaulin, tank-like or open load, 6 to 10 metres."""
    length = rng.uniform(6.0, 10.0)
    height = rng.uniform(2.9, 3.7)
    half = 1.22
    cab_paint = random_paint(rng)
    kit = _vehicle_kit(ClassId.TRUCK, cab_paint)
    pale = rng.uniform(0.55, 0.98)
    hue = rng.uniform(0.75, 1.0, 3) if rng.random() < 0.6 else rng.uniform(0.2, 1.0, 3)
    load_tint = (pale * hue[0], pale * hue[1], pale * hue[2])
    texture = Texture.CARGO_A if rng.random() < 0.5 else Texture.CARGO_B
    load = Appearance(texture, load_tint, ClassId.TRUCK, tile_m=0.0, slope=-0.12)
    load_end = Appearance(Texture.METAL, load_tint, ClassId.TRUCK, tile_m=3.0, slope=-0.15)
    open_load = rng.random() < 0.22
    front, rear = length / 2, -length / 2
    cab_rear = front - 2.0
    cab_height = min(height - 0.2, 2.8)
    build = MeshBuilder()
    # The load is in pieces, so that things beside a long lorry are sorted correctly.
    pieces = max(1, round((cab_rear - rear) / 4.0))
    edges = np.linspace(rear, cab_rear - 0.25, pieces + 1)
    top = 1.55 if open_load else height
    for index, (x0, x1) in enumerate(itertools.pairwise(edges)):
        build.group(((x0 + x1) / 2, 0.0, 1.5), (x1 - x0, 2 * half, top))
        u = index / pieces, (index + 1) / pieces
        _slab(build, x0, x1, half, 0.95, top, load, load_end, load_end, u)
        _slab(build, x0, x1, half - 0.25, 0.45, 0.95, kit.dark, kit.dark, kit.dark)
        if open_load:
            heap = Appearance(Texture.GRAVEL, (0.42, 0.36, 0.28), ClassId.TRUCK)
            build.rod((x0, 0.0, 1.3), (x1, 0.0, 1.3), 0.95, heap, -1)
    if not open_load:
        slit = (rear - 0.01, 0.02, height - 0.1), (rear - 0.01, 0.02, 1.0)
        _across(build, *slit, kit.trim, (0.0, 0.0, 1.5), DETAIL_STAGE)
    _end_panel(build, rear - 0.02, half, 0.62, 0.95, kit.trim)
    _end_lamps(build, rear - 0.03, half, 0.68, 0.2, kit.tail)
    _end_panel(build, rear - 0.03, 0.3, 0.70, 0.84, kit.plate, WHEEL_STAGE)
    for x in (rear + 1.0, rear + 2.0):
        for side in (-1.0, 1.0):
            _add_wheel(build, kit, x, side * (half - 0.02), 0.48)
    build.group((front - 1.0, 0.0, 1.4), (2.0, 2 * half, cab_height))
    _slab(build, cab_rear, front, half, 0.5, cab_height, kit.paint, kit.paint, kit.paint)
    _end_panel(build, front + 0.01, half - 0.12, 1.55, cab_height - 0.35, kit.glass)
    _end_panel(build, front + 0.01, half - 0.35, 0.75, 1.35, kit.dark)
    _end_panel(build, front + 0.02, 0.28, 0.55, 0.68, kit.plate, WHEEL_STAGE)
    _end_lamps(build, front + 0.02, half, 0.62, 0.24, kit.head)
    for side in (-1.0, 1.0):
        y = side * (half + 0.01)
        build.polygon(
            [
                (cab_rear + 0.7, y, cab_height - 0.4),
                (front - 0.25, y, cab_height - 0.4),
                (front - 0.1, y, 1.5),
                (cab_rear + 0.7, y, 1.5),
            ],
            kit.glass,
            (front - 1.0, 0.0, 1.5),
            DETAIL_STAGE,
        )
        _add_wheel(build, kit, front - 0.95, side * (half + 0.01), 0.48)
        build.rod(
            (front + 0.1, side * (half + 0.15), 2.2),
            (front + 0.1, side * (half + 0.15), 1.6),
            0.1,
            kit.dark,
            HUB_STAGE,
        )
    return build.mesh()


def bus(rng: np.random.Generator) -> Mesh:
    """A city bus or coach of 11 to 12.5 metres."""
    length, height, half = rng.uniform(11.0, 12.5), rng.uniform(3.0, 3.4), 1.26
    hue = rng.uniform(0.15, 1.0, 3)
    paint = (0.9 * hue[0], 0.9 * hue[1], 0.9 * hue[2])
    kit = _vehicle_kit(ClassId.BUS, paint)
    side = Appearance(Texture.BUS_SIDE, paint, ClassId.BUS, tile_m=0.0)
    front, rear = length / 2, -length / 2
    build = MeshBuilder()
    edges = np.linspace(rear, front, 4)
    for index, (x0, x1) in enumerate(itertools.pairwise(edges)):
        build.group(((x0 + x1) / 2, 0.0, 1.6), (x1 - x0, 2 * half, height))
        shift = index * 0.66
        _slab(build, x0, x1, half, 0.32, height, side, kit.paint, kit.paint, (shift, shift + 0.66))
        wheel_x = {0: x0 + 2.6, 2: x1 - 2.4}.get(index)
        if wheel_x is not None:
            for y in (-half - 0.01, half + 0.01):
                _add_wheel(build, kit, wheel_x, y, 0.5)
        if index == 0:
            _end_panel(build, rear - 0.01, half - 0.15, 1.75, height - 0.35, kit.glass)
            _end_panel(build, rear - 0.01, half - 0.3, 0.6, 1.2, kit.trim)
            _end_lamps(build, rear - 0.02, half, 1.0, 0.4, kit.tail)
            _end_panel(build, rear - 0.02, 0.3, 0.62, 0.76, kit.plate, WHEEL_STAGE)
        if index == 2:
            board = Appearance(Texture.SIGN_BOARD, (0.95, 0.7, 0.15), ClassId.BUS, 0.0, glow=0.8)
            _end_panel(build, front + 0.01, half - 0.08, 1.0, height - 0.5, kit.glass)
            _end_panel(build, front + 0.02, half - 0.3, height - 0.42, height - 0.12, kit.dark)
            _end_panel(
                build, front + 0.03, half - 0.45, height - 0.40, height - 0.15, board, WHEEL_STAGE
            )
            _end_lamps(build, front + 0.02, half, 0.6, 0.22, kit.head)
            _end_panel(build, front + 0.02, 0.3, 0.42, 0.55, kit.plate, WHEEL_STAGE)
    return build.mesh()


def carriage(rng: np.random.Generator, leading: bool, paint: Tint) -> Mesh:
    """One carriage of a train or tram, 15 metres; the ``leading`` one has a driver's cab."""
    length, height, half = 15.0, 3.6, 1.35
    kit = _vehicle_kit(ClassId.TRAIN, paint)
    side = Appearance(Texture.TRAIN_SIDE, paint, ClassId.TRAIN, tile_m=0.0)
    front, rear = length / 2, -length / 2
    build = MeshBuilder()
    edges = np.linspace(rear, front, 4)
    for index, (x0, x1) in enumerate(itertools.pairwise(edges)):
        build.group(((x0 + x1) / 2, 0.0, 1.8), (x1 - x0, 2 * half, height))
        u = index * 0.75, index * 0.75 + 0.75
        _slab(build, x0, x1, half, 0.55, height, side, kit.paint, kit.trim, u)
        _slab(build, x0, x1, half - 0.3, 0.12, 0.55, kit.dark, kit.dark, kit.dark)
        ledge = upright((x0, half - 0.2), (x1, half - 0.2), height, height + 0.3)
        build.polygon(ledge, dataclasses.replace(kit.trim, two_sided=True), stage=DETAIL_STAGE)
    if leading:
        _end_panel(build, front + 0.01, half - 0.15, 1.75, height - 0.4, kit.glass)
        _end_panel(build, front + 0.01, half - 0.05, 0.6, 1.15, kit.trim)
        _end_lamps(build, front + 0.02, half, 1.2, 0.25, kit.head)
        build.rod((2.0, 0.0, height), (1.0, 0.0, height + 1.1), 0.04, kit.trim, DETAIL_STAGE)
        build.rod((1.0, -0.7, height + 1.1), (1.0, 0.7, height + 1.1), 0.04, kit.trim, DETAIL_STAGE)
    return build.mesh()
