"""Meshes of convex faces and rods: how they are built, joined and placed.

Each object is built in its own frame: x forward, y left, z up, metres, z = 0 on the ground.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activesam_ros.demo.world.classes import ClassId

# float32 throughout, but the types of numpy's functions do not say so.
Floats = NDArray[np.floating[Any]]
Attributes = NDArray[np.void]
Point = tuple[float, float, float]
Tint = tuple[float, float, float]

MAX_CORNERS = 8


class Texture(enum.IntEnum):
    """What the surface of a face is made of, or what is painted on it."""

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


ATTRIBUTES = np.dtype(
    [
        ("texture", np.int16),
        ("tint", np.float32, 3),
        ("label", np.uint8),
        ("glow", np.float32),
        ("leaf_m", np.float32),
        ("bars", np.float32),
        ("slope", np.float32),
        ("stage", np.int8),
        ("ghost", np.bool_),
        ("two_sided", np.bool_),
        ("group", np.int32),
    ]
)


@dataclass(frozen=True, slots=True)
class Appearance:
    """The appearance and the label of a face or rod.

    tint: RGB factor of the texture. tile_m: metres that the texture covers before it repeats; 0
    fits it on the face once. glow: light emitted at night. leaf_m: reach of a ragged leafy outline.
    bars: bars per repeat of the texture; the gaps between them are see-through. slope: change of
    brightness from the upper to the lower edge. ghost: the face labels its pixels, but shows what
    lies behind it.
    """

    texture: Texture
    tint: Tint
    label: ClassId
    tile_m: float = 2.0
    glow: float = 0.0
    leaf_m: float = 0.0
    bars: float = 0.0
    slope: float = 0.0
    ghost: bool = False
    two_sided: bool = False


@dataclass(frozen=True)
class MeshGroups:
    """Groups of faces and rods; each group is painted as a whole, the farthest group first.

    center: [G, 3]. footprint: [G, 3], length, width and height of what casts the shadow, 0 for
    none. yaw: [G], radians. instance: uint16 [G], 0 for none. far: bool [G], whether the distance
    is that of the far end instead of the centre.
    """

    center: Floats
    footprint: Floats
    yaw: Floats
    instance: NDArray[np.uint16]
    far: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.yaw)

    def take(self, rows: NDArray[np.bool_]) -> MeshGroups:
        """The groups ``rows``."""
        return MeshGroups(*(part[rows] for part in vars(self).values()))


@dataclass(frozen=True)
class Mesh:
    """Faces, rods and groups of one object or of many; lengths in metres.

    corners: [F, 8, 3], padded with the last corner. uv: [F, 6], u at the first corner, its change
    to the second and to the last corner, then the same of v. faces: ATTRIBUTES [F]. ends:
    [R, 2, 3]. radii: [R, 2]. rods: ATTRIBUTES [R].
    """

    corners: Floats
    uv: Floats
    faces: Attributes
    ends: Floats
    radii: Floats
    rods: Attributes
    groups: MeshGroups

    def placed(self, position: Sequence[float], yaw: float, instance: int = 0) -> Mesh:
        """A copy turned by ``yaw`` about z, then moved to ``position``.

        A nonzero ``instance`` is set on all groups.
        """
        rotation = rotation_z(yaw)
        offset = np.asarray(position, np.float32)
        groups = self.groups
        return Mesh(
            corners=self.corners @ rotation.T + offset,
            uv=self.uv,
            faces=self.faces,
            ends=self.ends @ rotation.T + offset,
            radii=self.radii,
            rods=self.rods,
            groups=MeshGroups(
                center=groups.center @ rotation.T + offset,
                footprint=groups.footprint,
                yaw=groups.yaw + np.float32(yaw),
                instance=np.full_like(groups.instance, instance) if instance else groups.instance,
                far=groups.far,
            ),
        )


def rotation_z(yaw: float) -> Floats:
    """Rotation matrix [3, 3] about z."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]], np.float32)


def upright(
    start: tuple[float, float], end: tuple[float, float], low: float, high: float
) -> list[Point]:
    """The corners of a vertical rectangle from ``start`` to ``end`` (x, y), upper edge first."""
    return [(*start, high), (*end, high), (*end, low), (*start, low)]


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """All ``meshes`` as one, with the groups renumbered."""
    if not meshes:
        return MeshBuilder().mesh()
    offsets = np.cumsum([0] + [len(mesh.groups) for mesh in meshes])
    faces = np.concatenate([mesh.faces for mesh in meshes])
    rods = np.concatenate([mesh.rods for mesh in meshes])
    faces["group"] += np.repeat(offsets[:-1], [len(mesh.faces) for mesh in meshes])
    rods["group"] += np.repeat(offsets[:-1], [len(mesh.rods) for mesh in meshes])
    group_parts = zip(*(vars(mesh.groups).values() for mesh in meshes), strict=True)
    return Mesh(
        corners=np.concatenate([mesh.corners for mesh in meshes]),
        uv=np.concatenate([mesh.uv for mesh in meshes]),
        faces=faces,
        ends=np.concatenate([mesh.ends for mesh in meshes]),
        radii=np.concatenate([mesh.radii for mesh in meshes]),
        rods=rods,
        groups=MeshGroups(*(np.concatenate(parts) for parts in group_parts)),
    )


def attributes_of(look: Appearance, stage: int, group: int) -> tuple[object, ...]:
    """One row of ATTRIBUTES."""
    return (
        look.texture,
        look.tint,
        int(look.label),
        look.glow,
        look.leaf_m,
        look.bars,
        look.slope,
        stage,
        look.ghost,
        look.two_sided,
        group,
    )


class MeshBuilder:
    """Collects faces and rods. Within a group, a higher ``stage`` is painted later."""

    def __init__(self) -> None:
        self._corners: list[list[Point]] = []
        self._uv: list[tuple[float, ...]] = []
        self._faces: list[tuple[object, ...]] = []
        self._ends: list[tuple[Point, Point]] = []
        self._radii: list[tuple[float, float]] = []
        self._rods: list[tuple[object, ...]] = []
        self._centers: list[Point] = []
        self._footprints: list[Point] = []
        self._instances: list[int] = []
        self._far: list[bool] = []

    def group(
        self,
        center: Point,
        footprint: Point = (0.0, 0.0, 0.0),
        far: bool = False,
        instance: int = 0,
    ) -> None:
        """Begin a new group for the faces and rods that follow."""
        self._centers.append(center)
        self._footprints.append(footprint)
        self._instances.append(instance)
        self._far.append(far)

    def polygon(
        self,
        points: Sequence[Point],
        look: Appearance,
        inside: Point | None = None,
        stage: int = 0,
        uv: Sequence[tuple[float, float]] | None = None,
    ) -> None:
        """Add a convex face of 3 to 8 corners.

        Seen from outside, u of the texture runs from the first corner to the second and v from the
        first to the last, unless ``uv`` gives them for every corner. ``inside`` is a point behind
        the face; the corners are reordered if the face looks towards it.
        """
        corners = list(points)
        if inside is not None and _faces_towards(corners, inside):
            corners = [corners[1], corners[0], *reversed(corners[2:])]
            uv = uv and [uv[1], uv[0], *reversed(uv[2:])]
        if uv is None:
            width = math.dist(corners[0], corners[1])
            height = math.dist(corners[0], corners[-1])
            scale = 1.0 / look.tile_m if look.tile_m else 0.0
            row = (0.0, width * scale or 1.0, 0.0, 0.0, 0.0, height * scale or 1.0)
        else:
            (u0, v0), (u1, v1), (u2, v2) = uv[0], uv[1], uv[-1]
            row = (u0, u1 - u0, u2 - u0, v0, v1 - v0, v2 - v0)
        corners += [corners[-1]] * (MAX_CORNERS - len(corners))
        self._corners.append(corners)
        self._uv.append(row)
        self._faces.append(attributes_of(look, stage, len(self._centers) - 1))

    def box(
        self,
        center: Point,
        size: Point,
        side: Appearance,
        top: Appearance | None = None,
        stage: int = 0,
        yaw: float = 0.0,
    ) -> None:
        """Add a box without a bottom; ``center`` is the middle of its base."""
        length, width, height = (extent / 2.0 for extent in size)
        cos, sin = math.cos(yaw), math.sin(yaw)
        cx, cy, cz = center

        def at(x: float, y: float, z: float) -> Point:
            return cx + cos * x - sin * y, cy + sin * x + cos * y, cz + z

        inside = at(0.0, 0.0, height)
        low, high = 0.0, size[2]
        ring = [(-length, -width), (length, -width), (length, width), (-length, width)]
        for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
            wall = [at(x0, y0, high), at(x1, y1, high), at(x1, y1, low), at(x0, y0, low)]
            self.polygon(wall, side, inside, stage)
        self.polygon([at(x, y, high) for x, y in ring], top or side, inside, stage)

    def rod(
        self,
        start: Point,
        end: Point,
        radius: float | tuple[float, float],
        look: Appearance,
        stage: int = 0,
    ) -> None:
        """Add a round rod, or a cone if there are two radii."""
        radii = radius if isinstance(radius, tuple) else (radius, radius)
        self._ends.append((start, end))
        self._radii.append(radii)
        self._rods.append(attributes_of(look, stage, len(self._centers) - 1))

    def ball(self, center: Point, radius: float, look: Appearance, stage: int = 0) -> None:
        """Add a ball, which is a very short rod."""
        x, y, z = center
        self.rod((x, y, z + 0.02 * radius), (x, y, z - 0.02 * radius), radius, look, stage)

    def mesh(self) -> Mesh:
        """The mesh of everything added so far."""
        return Mesh(
            corners=np.array(self._corners, np.float32).reshape(-1, MAX_CORNERS, 3),
            uv=np.array(self._uv, np.float32).reshape(-1, 6),
            faces=np.array(self._faces, ATTRIBUTES),
            ends=np.array(self._ends, np.float32).reshape(-1, 2, 3),
            radii=np.array(self._radii, np.float32).reshape(-1, 2),
            rods=np.array(self._rods, ATTRIBUTES),
            groups=MeshGroups(
                center=np.array(self._centers, np.float32).reshape(-1, 3),
                footprint=np.array(self._footprints, np.float32).reshape(-1, 3),
                yaw=np.zeros(len(self._centers), np.float32),
                instance=np.array(self._instances, np.uint16),
                far=np.array(self._far, np.bool_),
            ),
        )


def _faces_towards(corners: Sequence[Point], inside: Point) -> bool:
    """Whether the outer side of the face looks towards ``inside``."""
    x0, y0, z0 = corners[0]
    ax, ay, az = corners[1][0] - x0, corners[1][1] - y0, corners[1][2] - z0
    bx, by, bz = corners[-1][0] - x0, corners[-1][1] - y0, corners[-1][2] - z0
    # u to the right and v down: the outward normal is v x u
    nx, ny, nz = by * az - bz * ay, bz * ax - bx * az, bx * ay - by * ax
    return nx * (inside[0] - x0) + ny * (inside[1] - y0) + nz * (inside[2] - z0) > 0.0
