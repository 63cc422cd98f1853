"""Figures of people and riders, bicycles, motorcycles. Frame: x forward, y left, z up, metres."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from activesam_ros.demo.world.classes import ClassId
from activesam_ros.demo.world.mesh import (
    ATTRIBUTES,
    Appearance,
    Attributes,
    Floats,
    Mesh,
    MeshBuilder,
    Point,
    Texture,
    Tint,
    attributes_of,
)

SKINS: tuple[Tint, ...] = (
    (0.84, 0.64, 0.52),
    (0.72, 0.52, 0.40),
    (0.52, 0.36, 0.26),
    (0.34, 0.23, 0.17),
)
HAIRS: tuple[Tint, ...] = ((0.08, 0.07, 0.06), (0.25, 0.16, 0.09), (0.55, 0.42, 0.22), (0.6,) * 3)
CLOTHES: tuple[Tint, ...] = (
    (0.12, 0.12, 0.14),
    (0.18, 0.22, 0.36),
    (0.45, 0.46, 0.48),
    (0.82, 0.82, 0.80),
    (0.58, 0.14, 0.14),
    (0.22, 0.38, 0.26),
    (0.62, 0.52, 0.36),
    (0.75, 0.55, 0.15),
    (0.35, 0.45, 0.62),
    (0.50, 0.24, 0.42),
)
JEANS: tuple[Tint, ...] = ((0.12, 0.12, 0.13), (0.20, 0.26, 0.38), (0.40, 0.36, 0.30), (0.3,) * 3)
# A figure has these rods in this order: torso, coat, thighs, shins, feet, upper arms, forearms,
# neck, head, hair, bag.
PARTS = 16
RADII = np.array(
    [
        (0.105, 0.085), (0.095, 0.115), (0.058, 0.045), (0.058, 0.045), (0.042, 0.030),
        (0.042, 0.030), (0.028, 0.026), (0.028, 0.026), (0.040, 0.032), (0.040, 0.032),
        (0.030, 0.024), (0.030, 0.024), (0.032, 0.032), (0.066, 0.058), (0.070, 0.066),
        (0.075, 0.085),
    ],
    np.float32,
)  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """One person: height in metres; radii [16, 2] and attributes [16] of the rods."""

    height: float
    radii: Floats
    rods: Attributes


def draw_figure(rng: np.random.Generator, label: ClassId, helmet: bool = False) -> Figure:
    """A person with random height, build and clothes."""
    height = rng.uniform(1.05, 1.45) if rng.random() < 0.10 else rng.uniform(1.55, 1.92)
    build = rng.uniform(0.92, 1.22)
    if label is ClassId.RIDER:
        height = max(height, 1.6)

    def pick(colors: tuple[Tint, ...]) -> Tint:
        red, green, blue = colors[rng.integers(len(colors))]
        level = rng.uniform(0.8, 1.25)
        return red * level, green * level, blue * level

    skin = Appearance(Texture.PLAIN, pick(SKINS), label)
    cells = (Texture.CLOTH, Texture.CLOTH, Texture.STRIPES, Texture.CHECKS)
    shirt = Appearance(cells[rng.integers(4)], pick(CLOTHES), label, tile_m=0.5)
    trousers = Appearance(Texture.CLOTH, pick(JEANS), label)
    legs = skin if rng.random() < 0.2 else trousers
    sleeves = skin if rng.random() < 0.3 else shirt
    shoes = Appearance(
        Texture.PLAIN, pick(((0.1, 0.1, 0.1), (0.7, 0.7, 0.7), (0.35, 0.22, 0.14))), label
    )
    hair = Appearance(Texture.PLAIN, pick(CLOTHES if helmet else HAIRS), label)
    bag = Appearance(Texture.CLOTH, pick(CLOTHES), label)
    coat = shirt if rng.random() < 0.4 else trousers
    looks = [shirt, coat, trousers, trousers, legs, legs, shoes, shoes, shirt, shirt,
             sleeves, sleeves, skin, skin, hair, bag]  # fmt: skip
    stages = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0]
    radii = RADII * np.float32(height) * np.array([build] * 13 + [1.0, 1.0, 1.0])[:, None]
    if rng.random() > 0.35:
        radii[15] = 0.0
    if coat is trousers:
        radii[1] = radii[2, 0] * 1.35
    rods = np.array(
        [attributes_of(look, stage, 0) for look, stage in zip(looks, stages, strict=True)],
        ATTRIBUTES,
    )
    return Figure(height, radii.astype(np.float32), rods)


def walking_pose(height: float, phase: float, stride: float) -> Floats:
    """Ends of the rods [16, 2, 3] of a walker; ``stride`` 0 stands still, 1 walks fast."""
    h = height
    hip, chest = (0.0, 0.0, 0.53 * h), (0.02 * h * stride, 0.0, 0.80 * h)
    ends: list[tuple[Point, Point]] = [(chest, hip), (hip, (0.0, 0.0, 0.44 * h))]
    thighs, shins, feet, uppers, lowers = [], [], [], [], []
    for side, turn in ((1.0, phase), (-1.0, phase + math.pi)):
        swing = 0.45 * stride * math.sin(turn)
        bend = 0.55 * stride * max(0.0, math.cos(turn)) + 0.05
        top = (0.0, 0.045 * h * side, 0.52 * h)
        knee = (0.25 * h * math.sin(swing), 0.05 * h * side, 0.52 * h - 0.25 * h * math.cos(swing))
        angle = swing - bend
        ankle = (knee[0] + 0.24 * h * math.sin(angle), 0.05 * h * side,
                 knee[2] - 0.24 * h * math.cos(angle))  # fmt: skip
        thighs.append((top, knee))
        shins.append((knee, ankle))
        toe = max(ankle[2] - 0.02 * h, 0.015 * h)
        feet.append((ankle, (ankle[0] + 0.11 * h, ankle[1], toe)))
        arm = -0.5 * stride * math.sin(turn) + 0.04
        shoulder = (0.02 * h * stride, 0.115 * h * side, 0.79 * h)
        elbow = (shoulder[0] + 0.17 * h * math.sin(arm), 0.135 * h * side,
                 0.79 * h - 0.17 * h * math.cos(arm))  # fmt: skip
        hand = (elbow[0] + 0.16 * h * math.sin(arm + 0.35), 0.125 * h * side,
                elbow[2] - 0.16 * h * math.cos(arm + 0.35))  # fmt: skip
        uppers.append((shoulder, elbow))
        lowers.append((elbow, hand))
    ends += thighs + shins + feet + uppers + lowers
    ends += _head_and_bag(h, chest)
    return np.array(ends, np.float32)


def _head_and_bag(h: float, chest: Point) -> list[tuple[Point, Point]]:
    x, _, z = chest
    neck = ((x, 0.0, z), (x, 0.0, z + 0.07 * h))
    head = ((x + 0.01 * h, 0.0, z + 0.15 * h), (x + 0.015 * h, 0.0, z + 0.11 * h))
    hair = ((x - 0.008 * h, 0.0, z + 0.165 * h), (x - 0.012 * h, 0.0, z + 0.15 * h))
    bag = ((x - 0.10 * h, 0.0, z - 0.04 * h), (x - 0.11 * h, 0.0, z - 0.20 * h))
    return [neck, head, hair, bag]


def riding_pose(height: float, phase: float, motorcycle: bool) -> Floats:
    """Ends of the rods [16, 2, 3] of a rider whose bicycle or motorcycle is at the origin."""
    h = height
    seat = (-0.22, 0.0, 0.80) if motorcycle else (-0.20, 0.0, 0.98)
    lean = 0.30 if motorcycle else 0.42
    chest = (seat[0] + lean * 0.30 * h, 0.0, seat[2] + 0.28 * h)
    ends: list[tuple[Point, Point]] = [(chest, seat), (seat, (seat[0] + 0.05, 0.0, seat[2]))]
    thighs, shins, feet, uppers, lowers = [], [], [], [], []
    for side, turn in ((1.0, phase), (-1.0, phase + math.pi)):
        if motorcycle:
            foot = (0.08, 0.20 * side, 0.30)
            knee = (seat[0] + 0.38, 0.22 * side, seat[2] - 0.05)
        else:
            foot = (0.05 + 0.17 * math.cos(turn), 0.11 * side, 0.29 - 0.17 * math.sin(turn))
            middle = ((seat[0] + foot[0]) / 2, (seat[2] + foot[2]) / 2)
            knee = (middle[0] + 0.22, 0.11 * side, middle[1] + 0.10)
        thighs.append(((seat[0], 0.08 * side, seat[2]), knee))
        shins.append((knee, foot))
        feet.append((foot, (foot[0] + 0.16, foot[1], foot[2] - 0.02)))
        shoulder = (chest[0], 0.115 * h * side, chest[2] - 0.02)
        grip = (0.42, 0.30 * side, 1.06)
        elbow = ((shoulder[0] + grip[0]) / 2 - 0.04, 0.30 * side,
                 (shoulder[2] + grip[2]) / 2 - 0.08)  # fmt: skip
        uppers.append((shoulder, elbow))
        lowers.append((elbow, grip))
    ends += thighs + shins + feet + uppers + lowers
    ends += _head_and_bag(h, chest)
    return np.array(ends, np.float32)


def _wheel(
    build: MeshBuilder, x: float, radius: float, tyre: Appearance, spokes: Appearance
) -> None:
    """A wheel with spokes; a ghost labels the gaps between them."""
    angles = np.arange(8) * (math.pi / 4)
    ring: list[Point] = [
        (x + radius * math.cos(a), 0.0, radius + 0.02 + radius * math.sin(a)) for a in angles
    ]
    gaps = Appearance(Texture.PLAIN, tyre.tint, tyre.label, ghost=True, two_sided=True)
    build.polygon(ring, gaps, stage=-1)
    for start, end in zip(ring, [*ring[1:], ring[0]], strict=True):
        build.rod(start, end, 0.032, tyre)
    for start, end in zip(ring[:4], ring[4:], strict=True):
        build.rod(start, end, 0.006, spokes)


def bicycle(rng: np.random.Generator) -> Mesh:
    """A bicycle 1.75 metres long."""
    level = rng.uniform(0.2, 0.9)
    hue = rng.uniform(0.2, 1.0, 3)
    frame = Appearance(
        Texture.METAL, (level * hue[0], level * hue[1], level * hue[2]), ClassId.BICYCLE
    )
    dark = Appearance(Texture.PLAIN, (0.07, 0.07, 0.07), ClassId.BICYCLE)
    steel = Appearance(Texture.PLAIN, (0.62, 0.62, 0.64), ClassId.BICYCLE)
    build = MeshBuilder()
    build.group((0.0, 0.0, 0.5), (1.7, 0.25, 0.7))
    radius = 0.34
    _wheel(build, -0.53, radius, dark, steel)
    _wheel(build, 0.53, radius, dark, steel)
    crank, saddle, head = (-0.06, 0.0, 0.30), (-0.20, 0.0, 0.86), (0.36, 0.0, 0.82)
    rear, front = (-0.53, 0.0, 0.36), (0.53, 0.0, 0.36)
    lady = rng.random() < 0.5
    top = (-0.12, 0.0, 0.60) if lady else (-0.17, 0.0, 0.78)
    for start, end in ((crank, saddle), (crank, head), (top, head), (rear, crank), (rear, top),
                       (front, (0.34, 0.0, 0.95))):  # fmt: skip
        build.rod(start, end, 0.030, frame)
    build.rod((-0.34, 0.0, 0.96), (-0.08, 0.0, 0.96), 0.055, dark)
    build.rod((0.36, -0.29, 1.03), (0.36, 0.29, 1.03), 0.028, dark)
    build.rod((0.34, 0.0, 0.95), (0.36, 0.0, 1.03), 0.025, frame)
    build.rod((-0.06, -0.08, 0.30), (-0.06, 0.08, 0.30), 0.09, dark)
    if rng.random() < 0.5:
        build.rod((-0.75, 0.0, 0.76), (-0.30, 0.0, 0.76), 0.04, dark)
    if rng.random() < 0.4:
        basket = Appearance(Texture.CHECKS, (0.45, 0.33, 0.2), ClassId.BICYCLE, tile_m=0.2)
        build.box((0.55, 0.0, 0.82), (0.28, 0.34, 0.24), basket)
    lamp = Appearance(Texture.PLAIN, (0.9, 0.15, 0.1), ClassId.BICYCLE, glow=1.0)
    build.ball((-0.72, 0.0, 0.66), 0.04, lamp, 1)
    return build.mesh()


def motorcycle(rng: np.random.Generator) -> Mesh:
    """A motorcycle or scooter about 2 metres long."""
    hue = rng.uniform(0.08, 0.95, 3)
    label = ClassId.MOTORCYCLE
    paint = Appearance(Texture.PLAIN, (hue[0], hue[1], hue[2]), label, slope=-0.3, two_sided=True)
    dark = Appearance(Texture.PLAIN, (0.06, 0.06, 0.065), label)
    metal = Appearance(Texture.METAL, (0.50, 0.50, 0.52), label)
    build = MeshBuilder()
    build.group((0.0, 0.0, 0.5), (2.0, 0.5, 0.8))
    radius = 0.32
    for x in (-0.70, 0.70):
        for scale, look, stage in ((1.0, dark, 0), (0.55, metal, 1)):
            angles = np.arange(8) * (math.pi / 4) + 0.4
            ring: list[Point] = [
                (x + scale * radius * math.cos(a), 0.0, radius + scale * radius * math.sin(a))
                for a in angles
            ]
            wheel = Appearance(look.texture, look.tint, label, two_sided=True)
            build.polygon(ring, wheel, stage=stage)
        # The width of the tyre, for views from the front or the rear.
        build.rod((x, 0.0, 0.12), (x, 0.0, 0.55), 0.085, dark)
    build.rod((0.70, 0.0, 0.34), (0.42, 0.0, 0.95), 0.05, metal, 1)
    build.rod((-0.70, 0.0, 0.36), (-0.1, 0.0, 0.48), 0.06, metal, 1)
    build.rod((-0.15, 0.0, 0.42), (0.25, 0.0, 0.44), 0.19, dark, 1)
    build.rod((-0.10, 0.0, 0.80), (0.36, 0.0, 0.84), (0.14, 0.17), paint, 2)
    build.rod((-0.72, 0.0, 0.84), (-0.12, 0.0, 0.78), (0.09, 0.13), dark, 2)
    build.rod((-0.86, 0.0, 0.82), (-0.55, 0.0, 0.78), (0.06, 0.12), paint, 1)
    build.rod((0.55, 0.0, 0.72), (0.82, 0.0, 0.66), (0.10, 0.06), paint, 1)
    build.rod((-0.75, 0.14, 0.36), (0.0, 0.14, 0.32), 0.055, metal, 2)
    build.rod((0.40, -0.36, 1.04), (0.40, 0.36, 1.04), 0.032, dark, 2)
    if rng.random() < 0.6:
        build.rod((0.48, 0.0, 0.80), (0.44, 0.0, 1.22), (0.20, 0.13), paint, 1)
    head = Appearance(Texture.PLAIN, (0.95, 0.95, 0.9), label, glow=1.8)
    tail = Appearance(Texture.PLAIN, (0.75, 0.06, 0.05), label, glow=1.4)
    build.ball((0.56, 0.0, 0.90), 0.10, head, 2)
    build.ball((-0.88, 0.0, 0.76), 0.065, tail, 2)
    if rng.random() < 0.4:
        build.box((-0.70, 0.0, 0.90), (0.36, 0.42, 0.32), paint, stage=2)
    return build.mesh()
