"""Structures and plants beside the street. Frame: x along the street, y left, z up, metres.

``side`` is 1 on the left of the street and -1 on its right; things extend away from the street.
"""

from __future__ import annotations

import itertools
import math

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

FLOOR_M = 2.9
PIECE_M = 5.0
# Width and number of floors that a facade texture shows; 2 floors where none are given.
FACADE_WIDTH_M = {
    Texture.FACADE_HOUSE: 6.0,
    Texture.FACADE_BRICK: 7.5,
    Texture.FACADE_OFFICE: 9.0,
    Texture.FACADE_OLD: 7.5,
    Texture.FACADE_GLASS: 6.0,
    Texture.HALL: 12.0,
}
FACADE_FLOORS = {Texture.FACADE_GLASS: 3, Texture.HALL: 2}
# u and v of the corners of a face that shows its texture once.
WHOLE_TEXTURE = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
SIGN_TEXTURES = (
    Texture.SIGN_LIMIT,
    Texture.SIGN_WARNING,
    Texture.SIGN_STOP,
    Texture.SIGN_PARKING,
    Texture.SIGN_NO_ENTRY,
)


def building_tint(rng: np.random.Generator, texture: Texture) -> Tint:
    """A wall colour that goes with the facade."""
    palette: tuple[Tint, ...] = (
        (0.80, 0.76, 0.66),
        (0.86, 0.84, 0.80),
        (0.70, 0.58, 0.44),
        (0.62, 0.64, 0.66),
        (0.78, 0.68, 0.50),
        (0.60, 0.44, 0.38),
        (0.56, 0.62, 0.58),
        (0.72, 0.72, 0.78),
    )
    if texture is Texture.FACADE_BRICK:
        palette = ((0.56, 0.32, 0.26), (0.64, 0.44, 0.34), (0.46, 0.34, 0.30), (0.66, 0.56, 0.46))
    if texture is Texture.FACADE_GLASS:
        palette = ((0.62, 0.72, 0.78), (0.52, 0.60, 0.66), (0.66, 0.68, 0.66))
    red, green, blue = palette[rng.integers(len(palette))]
    level = rng.uniform(0.78, 1.12)
    return red * level, green * level, blue * level


def building(
    rng: np.random.Generator,
    side: float,
    width: float,
    depth: float,
    floors: int,
    texture: Texture,
    shop: bool,
    gable: bool,
) -> Mesh:
    """A building whose front runs along y = 0, from x = 0 to ``width``."""
    label = ClassId.BUILDING
    tint = building_tint(rng, texture)
    look = Appearance(texture, tint, label)
    tile_width = FACADE_WIDTH_M[texture]
    tile_floors = FACADE_FLOORS.get(texture, 2)
    ground = 3.6 if shop else 0.0
    top = ground + floors * FLOOR_M
    build = MeshBuilder()
    middle: Point = (width / 2, side * depth / 2, top / 2)
    phase = rng.uniform(0.0, 1.0)
    shop_look = Appearance(Texture.SHOP_A if rng.random() < 0.5 else Texture.SHOP_B, tint, label)
    count = max(1, round(width / PIECE_M))
    edges = np.linspace(0.0, width, count + 1)
    for x0, x1 in itertools.pairwise(edges):
        build.group(((x0 + x1) / 2, 0.0, 2.0), far=True)
        u0, u1 = phase + x0 / tile_width, phase + x1 / tile_width
        v1 = floors / tile_floors
        facade_uv = [(u0, 0.0), (u1, 0.0), (u1, v1), (u0, v1)]
        build.polygon(upright((x0, 0.0), (x1, 0.0), ground, top), look, middle, uv=facade_uv)
        if shop:
            window = upright((x0, 0.0), (x1, 0.0), 0.0, ground)
            build.polygon(window, shop_look, middle, uv=WHOLE_TEXTURE)
            if rng.random() < 0.35:
                hue = rng.uniform(0.2, 0.9, 3)
                awning = Appearance(
                    Texture.STRIPES, (hue[0], hue[1], hue[2]), label, 1.0, two_sided=True
                )
                y = -side * 1.1
                left, right = x0 + 0.2, x1 - 0.2
                cloth = [(left, 0.0, 3.0), (right, 0.0, 3.0), (right, y, 2.5), (left, y, 2.5)]
                build.polygon(cloth, awning, stage=1)
        elif rng.random() < 0.5:
            door = Appearance(Texture.WOOD, (0.36, 0.26, 0.2), label, tile_m=1.2)
            x = (x0 + x1) / 2 - 0.5
            y = -side * 0.02
            build.polygon(upright((x, y), (x + 1.0, y), 0.0, 2.1), door, middle, 1)
        if floors > 2 and texture is Texture.FACADE_OLD and rng.random() < 0.5:
            iron = Appearance(Texture.METAL, (0.25, 0.26, 0.28), label)
            center = ((x0 + x1) / 2, -side * 0.55, ground + FLOOR_M)
            build.box(center, (2.2, 1.1, 1.0), iron, stage=1)
    plain = Appearance(
        Texture.PLASTER if texture is not Texture.FACADE_BRICK else Texture.BRICK,
        tint,
        label,
        slope=-0.1,
    )
    sides = look if rng.random() < 0.6 else plain
    for x in (0.0, width):
        build.group((x, side * depth / 2, 2.0))
        v1 = top / FLOOR_M / tile_floors
        uv = [(0.0, 0.0), (depth / tile_width, 0.0), (depth / tile_width, v1), (0.0, v1)]
        build.polygon(upright((x, 0.0), (x, side * depth), 0.0, top), sides, middle, uv=uv)
        if gable:
            build.polygon(
                [(x, side * depth / 2, top + depth * 0.32), (x, side * depth, top), (x, 0.0, top)],
                plain,
                middle,
            )
    if gable:
        build.group((width / 2, side * depth / 2, top), far=True)
        red = Appearance(
            Texture.TILES,
            (0.50, 0.24, 0.17) if rng.random() < 0.6 else (0.27, 0.27, 0.30),
            label,
            tile_m=3.0,
        )
        ridge = (side * depth / 2, top + depth * 0.32)
        for y in (-side * 0.4, side * (depth + 0.4)):
            eave = top - 0.25
            build.polygon(
                [(-0.3, *ridge), (width + 0.3, *ridge), (width + 0.3, y, eave), (-0.3, y, eave)],
                red,
                middle,
            )
        x = width * rng.uniform(0.3, 0.7)
        brick = Appearance(Texture.BRICK, (0.5, 0.3, 0.25), label, tile_m=1.5)
        build.box((x, side * depth * 0.4, top + depth * 0.2), (0.7, 0.7, 1.6), brick, stage=1)
    elif rng.random() < 0.5:
        build.group((width / 2, side * 0.1, top), far=True)
        cornice = Appearance(Texture.CONCRETE, (0.6, 0.6, 0.58), label)
        build.box((width / 2, side * 0.1, top - 0.25), (width + 0.2, 0.7, 0.6), cornice)
    # An empty group that casts the shadow of the whole building.
    build.group(middle, (width, depth, top))
    return build.mesh()


def wall(
    rng: np.random.Generator, length: float, height: float, texture: Texture, tint: Tint
) -> Mesh:
    """A wall 0.25 m thick, from x = 0 to ``length``."""
    look = Appearance(texture, tint, ClassId.WALL, tile_m=3.0, slope=-0.15)
    cap = Appearance(Texture.CONCRETE, (0.62, 0.61, 0.58), ClassId.WALL)
    art = Appearance(Texture.GRAFFITI, tint, ClassId.WALL, tile_m=height, slope=-0.1)
    build = MeshBuilder()
    for x0, x1 in _pieces(length, 4.0):
        painted = height > 1.5 and rng.random() < 0.15
        build.group(((x0 + x1) / 2, 0.0, 0.5), (x1 - x0, 0.25, height), far=True)
        build.box(((x0 + x1) / 2, 0.0, 0.0), (x1 - x0, 0.25, height), art if painted else look, cap)
        build.box(((x0 + x1) / 2, 0.0, height), (x1 - x0, 0.36, 0.10), cap, stage=1)
    return build.mesh()


def fence(rng: np.random.Generator, length: float, style: int) -> Mesh:
    """A fence from x = 0 to ``length``: 0 iron bars, 1 pickets, 2 boards, 3 wire mesh, 4 rails."""
    build = MeshBuilder()
    label = ClassId.FENCE
    white = rng.random() < 0.4
    wood: Tint = (0.78, 0.78, 0.75) if white else (0.42, 0.31, 0.21)
    iron: Tint = (0.16, 0.20, 0.18) if rng.random() < 0.7 else (0.45, 0.46, 0.46)
    height = (1.4, 1.05, 1.7, 2.1, 1.15)[style]
    post = (
        Appearance(Texture.METAL, iron, label)
        if style in (0, 3)
        else Appearance(Texture.WOOD, wood, label)
    )
    for x0, x1 in _pieces(length, 2.5):
        build.group(((x0 + x1) / 2, 0.0, 0.5), (x1 - x0, 0.08, height * 0.8), far=True)
        quad = upright((x0, 0.0), (x1, 0.0), 0.05, height)
        if style == 2:
            boards = Appearance(Texture.WOOD, wood, label, tile_m=1.3, slope=-0.15, two_sided=True)
            build.polygon(quad, boards)
        elif style == 4:
            for z in (0.35, 0.70, 1.05):
                build.rod((x0, 0.0, z), (x1, 0.0, z + 0.03), 0.055, post)
            gaps = Appearance(Texture.PLAIN, wood, label, ghost=True, two_sided=True)
            build.polygon(quad, gaps, stage=-1)
        else:
            spacing, texture, tint = {
                0: (0.14, Texture.METAL, iron),
                1: (0.16, Texture.WOOD, wood),
                3: (0.07, Texture.METAL, iron),
            }[style]
            look = Appearance(texture, tint, label, 0.0, bars=(x1 - x0) / spacing, two_sided=True)
            build.polygon(quad, look, uv=WHOLE_TEXTURE)
        build.rod((x0, 0.0, height + 0.08), (x0, 0.0, 0.0), 0.05, post, 1)
    return build.mesh()


def hedge(rng: np.random.Generator, length: float, height: float, tint: Tint) -> Mesh:
    """A clipped hedge 0.8 m thick, from x = 0 to ``length``."""
    look = Appearance(Texture.HEDGE, tint, ClassId.VEGETATION, 1.2, leaf_m=0.10, slope=-0.45)
    red, green, blue = tint
    bright = Appearance(
        Texture.HEDGE, (red * 1.15, green * 1.15, blue * 1.1), ClassId.VEGETATION, 1.2, leaf_m=0.10
    )
    build = MeshBuilder()
    for x0, x1 in _pieces(length, 3.0):
        tall = height * rng.uniform(0.94, 1.06)
        build.group(((x0 + x1) / 2, 0.0, 0.5), (x1 - x0, 0.8, tall), far=True)
        build.box(((x0 + x1) / 2, 0.0, 0.0), (x1 - x0, 0.8, tall), look, bright)
    return build.mesh()


def bush(rng: np.random.Generator, size: float, tint: Tint) -> Mesh:
    """A round bush about ``size`` metres high."""
    build = MeshBuilder()
    build.group((0.0, 0.0, size / 2), (size, size, size))
    _crown(
        build,
        rng,
        (0.0, 0.0, size * 0.45),
        (size * 0.6, size * 0.6, size * 0.35),
        size * 0.35,
        6,
        tint,
        Texture.HEDGE,
        0.10,
    )
    return build.mesh()


def tree(rng: np.random.Generator, height: float, tint: Tint, conifer: bool) -> Mesh:
    """A broad-leaved tree or a conifer."""
    label = ClassId.VEGETATION
    build = MeshBuilder()
    bark: Tint = (0.40, 0.32, 0.25) if rng.random() < 0.8 else (0.75, 0.73, 0.68)
    trunk = Appearance(Texture.BARK, bark, label, tile_m=1.0)
    radius = 0.022 * height
    spread = height * (0.20 if conifer else 0.32)
    build.group((0.0, 0.0, height / 2), (1.4 * spread, 1.4 * spread, height * 0.9))
    if conifer:
        build.rod((0.0, 0.0, height * 0.5), (0.0, 0.0, 0.0), (radius * 0.6, radius), trunk, -1)
        for layer in range(5):
            low = height * (0.10 + 0.17 * layer)
            wide = spread * (1.0 - 0.17 * layer)
            shade = 0.75 + 0.10 * layer
            red, green, blue = tint
            look = Appearance(
                Texture.NEEDLES,
                (red * 0.6 * shade, green * 0.75 * shade, blue * 0.8 * shade),
                label,
                1.0,
                leaf_m=0.22,
                slope=-0.3,
            )
            build.rod((0.0, 0.0, low + height * 0.26), (0.0, 0.0, low), (0.08, wide), look, layer)
        return build.mesh()
    fork = height * rng.uniform(0.28, 0.42)
    build.rod((0.0, 0.0, fork), (0.0, 0.0, 0.0), (radius * 0.8, radius * 1.15), trunk, -1)
    for _ in range(3):
        x, y = rng.uniform(-0.5, 0.5, 2) * spread
        build.rod(
            (x, y, height * 0.65), (0.0, 0.0, fork * 0.95), (radius * 0.3, radius * 0.6), trunk, -1
        )
    middle = height * 0.66
    extent = (spread, spread, height * 0.27)
    _crown(build, rng, (0.0, 0.0, middle), extent, height * 0.16, 15, tint, Texture.LEAVES, 0.24)
    return build.mesh()


def _crown(
    build: MeshBuilder,
    rng: np.random.Generator,
    center: Point,
    extent: Point,
    radius: float,
    count: int,
    tint: Tint,
    texture: Texture,
    leaf_m: float,
) -> None:
    """Balls of leaves, darker towards the bottom and the middle."""
    red, green, blue = tint
    for index in range(count):
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction) + 1e-6
        reach = 0.25 if index == 0 else rng.uniform(0.55, 1.0)
        x, y, z = direction * reach * np.array(extent)
        level = (0.86 + 0.22 * direction[2]) * rng.uniform(0.88, 1.12)
        look = Appearance(
            texture,
            (red * level, green * level, blue * level),
            ClassId.VEGETATION,
            1.5,
            leaf_m=leaf_m,
            slope=-0.45,
        )
        size = radius * rng.uniform(0.8, 1.25) * (1.3 if index == 0 else 1.0)
        build.ball((center[0] + x, center[1] + y, center[2] + z), size, look)


def leaf_tint(rng: np.random.Generator) -> Tint:
    """Green or olive, rarely an autumn colour."""
    palette: tuple[Tint, ...] = (
        (0.24, 0.36, 0.14), (0.30, 0.42, 0.16), (0.20, 0.32, 0.17), (0.36, 0.40, 0.16),
        (0.26, 0.36, 0.24), (0.56, 0.42, 0.14), (0.48, 0.26, 0.14),
    )  # fmt: skip
    weights = np.array([4, 4, 4, 3, 3, 1, 1], np.float64)
    red, green, blue = palette[int(rng.choice(len(palette), p=weights / weights.sum()))]
    level = rng.uniform(0.85, 1.25)
    return red * level, green * level, blue * level


POLE_TINTS: tuple[Tint, ...] = ((0.46, 0.47, 0.48), (0.28, 0.29, 0.30), (0.20, 0.26, 0.22))


def _pole_look(rng: np.random.Generator) -> Appearance:
    return Appearance(Texture.METAL, POLE_TINTS[rng.integers(len(POLE_TINTS))], ClassId.POLE)


def street_lamp(rng: np.random.Generator, side: float, height: float, instance: int) -> Mesh:
    """A lamp post whose arm reaches over the street."""
    look = _pole_look(rng)
    build = MeshBuilder()
    build.group((0.0, 0.0, height / 2), (0.16, 0.16, height), instance=instance)
    reach = -side * rng.uniform(0.8, 2.0)
    build.rod((0.0, 0.0, height), (0.0, 0.0, 0.0), (0.06, 0.10), look)
    build.rod((0.0, 0.0, height), (0.0, reach, height + 0.25), 0.05, look)
    lamp = Appearance(Texture.PLAIN, (0.75, 0.74, 0.70), ClassId.POLE, glow=2.2)
    build.rod((0.0, reach, height + 0.24), (0.0, reach * 1.35, height + 0.24), 0.11, lamp)
    return build.mesh()


def utility_pole(rng: np.random.Generator, instance: int) -> Mesh:
    """A wooden pole with a crossbar."""
    look = Appearance(Texture.BARK, (0.40, 0.34, 0.28), ClassId.POLE, tile_m=1.0)
    height = rng.uniform(6.5, 8.5)
    build = MeshBuilder()
    build.group((0.0, 0.0, height / 2), (0.22, 0.22, height), instance=instance)
    build.rod((0.0, 0.0, height), (0.0, 0.0, 0.0), (0.09, 0.13), look)
    build.rod((0.0, -0.9, height - 0.6), (0.0, 0.9, height - 0.6), 0.06, look)
    return build.mesh()


def bollards(rng: np.random.Generator, count: int, instance: int) -> Mesh:
    """Short posts in a row along x."""
    look = _pole_look(rng)
    build = MeshBuilder()
    for index in range(count):
        x = index * 1.4
        build.group((x, 0.0, 0.5), (0.14, 0.14, 0.9), instance=instance + index)
        build.rod((x, 0.0, 0.95), (x, 0.0, 0.0), 0.07, look)
    return build.mesh()


def traffic_light(
    rng: np.random.Generator, side: float, red: bool, overhead: bool, instance: int
) -> Mesh:
    """Lights on a pole that face traffic driving along +x; ``overhead``: also above the street."""
    pole = _pole_look(rng)
    build = MeshBuilder()
    build.group((0.0, 0.0, 2.0), (0.16, 0.16, 3.4), instance=instance)
    top = 5.6 if overhead else 3.5
    build.rod((0.0, 0.0, top), (0.0, 0.0, 0.0), (0.06, 0.09), pole)
    _light_box(build, (-0.14, 0.0, 2.45), red)
    if overhead:
        reach = -side * rng.uniform(3.0, 4.5)
        build.rod((0.0, 0.0, top), (0.0, reach, top + 0.1), 0.055, pole)
        build.group((0.0, reach, top), instance=instance)
        _light_box(build, (-0.14, reach * 0.95, top - 0.9), red)
    return build.mesh()


def _light_box(build: MeshBuilder, base: Point, red: bool) -> None:
    x, y, z = base
    label = ClassId.TRAFFIC_LIGHT
    case = Appearance(Texture.PLAIN, (0.09, 0.10, 0.09), label)
    build.box((x, y, z), (0.24, 0.36, 1.02), case, stage=1)
    lit = ((0.98, 0.10, 0.08), (0.98, 0.65, 0.08), (0.10, 0.95, 0.45))
    for lamp in range(3):
        on = lamp == (0 if red else 2)
        level = 1.0 if on else 0.16
        color = lit[lamp]
        tint = (color[0] * level, color[1] * level, color[2] * level)
        look = Appearance(Texture.PLAIN, tint, label, glow=2.5 if on else 0.0)
        build.ball((x - 0.15, y, z + 0.84 - 0.32 * lamp), 0.125, look, 2)


def traffic_sign(rng: np.random.Generator, texture: Texture, instance: int) -> Mesh:
    """A sign on a pole that faces traffic driving along +x."""
    pole = _pole_look(rng)
    height = rng.uniform(2.0, 2.6)
    size = rng.uniform(0.62, 0.85)
    build = MeshBuilder()
    build.group((0.0, 0.0, height / 2), (0.08, 0.08, height + size), instance=instance)
    build.rod((0.0, 0.0, height + size * 0.9), (0.0, 0.0, 0.0), 0.04, pole)
    sign_face(build, (-0.06, 0.0, height + size / 2), size, size, texture)
    if rng.random() < 0.3:
        sign_face(build, (-0.06, 0.0, height - 0.22), size, 0.3, Texture.SIGN_BOARD)
    return build.mesh()


def sign_face(
    build: MeshBuilder, center: Point, width: float, height: float, texture: Texture
) -> None:
    """The plate of a sign: its front faces -x, its grey back +x."""
    x, y, z = center
    shapes: dict[Texture, list[tuple[float, float]]] = {
        Texture.SIGN_WARNING: [(0.5, 0.0), (1.0, 0.95), (0.0, 0.95)],
        Texture.SIGN_PARKING: WHOLE_TEXTURE,
        Texture.SIGN_BOARD: WHOLE_TEXTURE,
    }
    ring = [
        (0.5 + 0.5 * math.cos(a), 0.5 + 0.5 * math.sin(a))
        for a in np.arange(8) * (math.pi / 4) + math.pi / 8
    ]
    plate = shapes.get(texture, ring)
    # The traffic sees u run to the right, which is towards -y.
    points: list[Point] = [(x, y + (0.5 - u) * width, z + (0.5 - v) * height) for u, v in plate]
    front = Appearance(texture, (0.92, 0.92, 0.92), ClassId.TRAFFIC_SIGN, glow=0.25)
    back = Appearance(Texture.METAL, (0.42, 0.43, 0.44), ClassId.TRAFFIC_SIGN)
    build.polygon(points, front, (x + 1.0, y, z), 2, uv=plate)
    behind: list[Point] = [(x + 0.02, b, c) for _, b, c in points]
    build.polygon(behind, back, (x - 1.0, y, z), 1)


def gantry(rng: np.random.Generator, span: float, instance: int) -> Mesh:
    """Direction boards over a motorway, from y = 0 to -``span``."""
    pole = Appearance(Texture.METAL, (0.48, 0.49, 0.50), ClassId.POLE)
    build = MeshBuilder()
    build.group((0.0, -span / 2, 6.0), instance=instance)
    build.rod((0.0, -span, 7.0), (0.0, -span, 0.0), 0.16, pole)
    build.rod((0.0, 0.0, 7.0), (0.0, 0.0, 0.0), 0.16, pole)
    build.rod((0.0, 0.0, 6.7), (0.0, -span, 6.7), 0.14, pole)
    build.rod((0.0, 0.0, 5.9), (0.0, -span, 5.9), 0.10, pole)
    for part in (0.28, 0.74):
        size = rng.uniform(2.4, 3.2)
        sign_face(build, (-0.25, -span * part, 6.4), size, 2.2, Texture.SIGN_BOARD)
    return build.mesh()


def barrier_light(rng: np.random.Generator, red: bool, instance: int) -> Mesh:
    """The warning lights and the cross of a level crossing."""
    pole = _pole_look(rng)
    build = MeshBuilder()
    build.group((0.0, 0.0, 1.8), (0.14, 0.14, 3.0), instance=instance)
    build.rod((0.0, 0.0, 3.3), (0.0, 0.0, 0.0), 0.07, pole)
    _light_box(build, (-0.14, 0.0, 1.75), red)
    stripe = Appearance(
        Texture.STRIPES, (0.95, 0.9, 0.9), ClassId.TRAFFIC_SIGN, 0.6, two_sided=True
    )
    for turn in (-1.0, 1.0):
        build.polygon(
            [
                (-0.08, -0.55, 3.1 + turn * 0.30 + 0.08),
                (-0.08, 0.55, 3.1 - turn * 0.30 + 0.08),
                (-0.08, 0.55, 3.1 - turn * 0.30 - 0.08),
                (-0.08, -0.55, 3.1 + turn * 0.30 - 0.08),
            ],
            stripe,
            stage=3,
        )
    return build.mesh()


def _pieces(length: float, longest: float) -> list[tuple[float, float]]:
    count = max(1, math.ceil(length / longest))
    edges = [length * index / count for index in range(count + 1)]
    return list(itertools.pairwise(edges))
