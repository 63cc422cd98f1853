"""Cars and vans as meshes, and what all vehicles share: x forward, centred on the ground."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from activesam_ros.demo.rendering.textures import Cell
from activesam_ros.demo.world.classes import ClassId
from activesam_ros.demo.world.mesh import Look, Mesh, MeshBuilder, Point, Tint

# Paints as they are met on roads: white, black, greys, silver, blues, reds, green, beige, yellow.
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
class VehicleKit:
    """Looks of one vehicle; all carry the same class."""

    paint: Look
    dark: Look
    glass: Look
    rim: Look
    head: Look
    tail: Look
    plate: Look
    trim: Look


def vehicle_kit(label: ClassId, paint: Tint, lamps: bool = True) -> VehicleKit:
    def plain(tint: Tint, glow: float = 0.0, slope: float = 0.0) -> Look:
        return Look(Cell.PLAIN, tint, label, glow=glow, slope=slope)

    return VehicleKit(
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


def add_wheel(build: MeshBuilder, kit: VehicleKit, x: float, y: float, radius: float) -> None:
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
    # length, width, height, bonnet, boot, belt height
    length, width, height, bonnet, boot, belt = (
        (4.6, 1.82, 1.44, 1.20, 0.75, 0.90),
        (4.0, 1.76, 1.48, 0.95, 0.10, 0.92),
        (4.7, 1.84, 1.48, 1.20, 0.06, 0.90),
        (4.5, 1.90, 1.72, 1.10, 0.05, 1.02),
        (4.9, 1.92, 1.95, 0.70, 0.04, 1.10),
    )[style]
    scale = rng.uniform(0.95, 1.06)
    length *= scale
    kit = vehicle_kit(ClassId.CAR, random_paint(rng), lamps)
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
        build.polygon(
            [
                (rear + 0.1, y, 0.40),
                (front - 0.1, y, 0.40),
                (front - 0.1, y, floor),
                (rear + 0.1, y, floor),
            ],
            kit.trim,
            middle,
            DETAIL_STAGE,
        )
    # front, rear, bonnet, boot
    build.polygon(
        [
            (front - 0.12, half, nose),
            (front - 0.12, -half, nose),
            (front, -half, 0.45),
            (front, half, 0.45),
        ],
        kit.paint,
        middle,
    )
    build.polygon(
        [
            (front, half, 0.45),
            (front, -half, 0.45),
            (front - 0.08, -half, floor),
            (front - 0.08, half, floor),
        ],
        kit.trim,
        middle,
    )
    build.polygon(
        [
            (rear + 0.05, -half, belt),
            (rear + 0.05, half, belt),
            (rear, half, 0.45),
            (rear, -half, 0.45),
        ],
        kit.paint,
        middle,
    )
    build.polygon(
        [
            (rear, -half, 0.45),
            (rear, half, 0.45),
            (rear + 0.08, half, floor),
            (rear + 0.08, -half, floor),
        ],
        kit.trim,
        middle,
    )
    build.polygon(
        [
            (front - bonnet, half, belt),
            (front - bonnet, -half, belt),
            (front - 0.12, -half, nose),
            (front - 0.12, half, nose),
        ],
        kit.paint,
        middle,
    )
    build.polygon(
        [
            (rear + 0.05, half, belt),
            (rear + 0.05, -half, belt),
            (rear + boot + 0.05, -half, belt),
            (rear + boot + 0.05, half, belt),
        ],
        kit.paint,
        middle,
    )
    _cabin(build, kit, (rear + boot, front - bonnet), half, belt, height, style)
    _car_details(build, kit, rear, front, half, belt, nose)
    wheel = 0.33 if style < 3 else 0.37
    for x in (front - 0.85, rear + 0.80):
        for side in (-1.0, 1.0):
            add_wheel(build, kit, x, side * (half + 0.01), wheel)
    return build.mesh()


def _cabin(
    build: MeshBuilder,
    kit: VehicleKit,
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
        # two panes between three pillars
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
        screen: list[Point] = [
            (x_high, top_half, height),
            (x_high, -top_half, height),
            (x_low, -half, belt),
            (x_low, half, belt),
        ]
        build.polygon(screen, kit.paint, middle)
        inner: list[Point] = []
        for up, part in ((0.90, 0.93), (0.90, -0.93), (0.08, -0.93), (0.08, 0.93)):
            inner.append(
                (
                    x_low + up * (x_high - x_low),
                    part * (half + up * (top_half - half)),
                    belt + up * (height - belt),
                )
            )
        build.polygon(inner, kit.glass, middle, DETAIL_STAGE)
    roof: list[Point] = [
        (roof_front, top_half, height),
        (roof_front, -top_half, height),
        (roof_rear, -top_half, height),
        (roof_rear, top_half, height),
    ]
    build.polygon(roof, kit.paint, middle)


def _car_details(
    build: MeshBuilder,
    kit: VehicleKit,
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
        build.polygon(
            [
                (x, y - 0.09, belt + 0.14),
                (x, y + 0.09, belt + 0.14),
                (x, y + 0.09, belt),
                (x, y - 0.09, belt),
            ],
            dataclasses.replace(kit.trim, two_sided=True),
            stage=HUB_STAGE,
        )
    build.polygon(
        [
            (front - 0.06, 0.45, nose - 0.06),
            (front - 0.06, -0.45, nose - 0.06),
            (front + 0.01, -0.42, 0.48),
            (front + 0.01, 0.42, 0.48),
        ],
        kit.dark,
        middle,
        DETAIL_STAGE,
    )
    for x in (front + 0.02, rear - 0.02):
        build.polygon(
            [(x, 0.26, 0.60), (x, -0.26, 0.60), (x, -0.26, 0.49), (x, 0.26, 0.49)],
            kit.plate,
            middle,
            WHEEL_STAGE,
        )
