"""Rasterise faces and rods into a visibility buffer: the number of the face seen at each pixel.

Faces are painted from far to near, so a higher number is nearer. shading.py computes colours and
labels from this buffer, once per pixel, so that picture and labels agree by construction.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.demo.rendering.camera import PinholeCamera
from activesam_ros.demo.world.classes import ClassId
from activesam_ros.demo.world.mesh import Attributes, Floats, Mesh

Ids = NDArray[np.int32]

SKY_ID, GROUND_ID, FIRST_FACE_ID = 0, 1, 2
NEAR_M = 0.3
SUBPIXEL_BITS = 4
FAR_PIXEL = 16000.0
# Smallest half width of a rod, so that thin things do not fall apart.
POLE_HALF_WIDTH_PX, ROD_HALF_WIDTH_PX = 1.0, 0.7
SMALLEST_FACE_PX2 = 1.2
# Bars closer than this many pixels are drawn as a pattern of dots of the same density.
FINEST_BARS_PX = 3.0
BAR_SHARE = 0.28


@dataclass(frozen=True)
class Faces:
    """F faces in optical coordinates, in metres.

    corners: [F, 8, 3]. uv: [F, 6]. origin, along_u, along_v: [F, 3], the frame of the texture.
    outline: [F, 8, 2] in pixels, NaN where it is the projection of the corners. attributes:
    ATTRIBUTES [F]. outward: [F, 3], unit normal. across: [F, 3], the direction in which a rod
    curves, 0 for flat faces.
    """

    corners: Floats
    uv: Floats
    origin: Floats
    along_u: Floats
    along_v: Floats
    outline: Floats
    attributes: Attributes
    outward: Floats
    across: Floats

    def __len__(self) -> int:
        return len(self.corners)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Faces:
        """The faces ``rows``."""
        return Faces(*(part[rows] for part in vars(self).values()))


@dataclass(frozen=True)
class Visible:
    """The visibility buffer.

    ids: int32 [H, W], SKY_ID, GROUND_ID or FIRST_FACE_ID + row of ``faces``. ghosts: int32 [H, W],
    the same number of the nearest see-through face, 0 for none. texture: [F, 9]; at a pixel
    p = (x, y, 1), 1 / depth = w = p @ t[6:9], u = p @ t[0:3] / w and v = p @ t[3:6] / w.
    """

    ids: Ids
    ghosts: Ids
    faces: Faces
    texture: Floats


def draw(mesh: Mesh, camera: PinholeCamera) -> Visible:
    """Draw ``mesh``, in vehicle coordinates, over sky and ground."""
    faces = _concatenated(_flat_faces(mesh, camera), _rod_faces(mesh, camera))
    depth = faces.corners[:, :, 2]
    seen = (depth > NEAR_M).any(axis=1) & _looks_here(faces)
    faces = faces.take(seen)
    outline = _outlines(faces, camera)
    lower, upper = outline.min(axis=1), outline.max(axis=1)
    extent = upper - lower
    on_screen = (
        (upper > 0.0).all(axis=1)
        & (lower < (camera.width, camera.height)).all(axis=1)
        & ((extent[:, 0] * extent[:, 1] > SMALLEST_FACE_PX2) | np.isfinite(faces.outline[:, 0, 0]))
    )
    faces, outline = faces.take(on_screen), outline[on_screen]
    order = _painting_order(mesh, faces, camera)
    faces, outline = faces.take(order), outline[order]
    texture = _texture_coefficients(faces, camera)
    ids, ghosts = _paint(faces, outline, texture, camera)
    return Visible(ids, ghosts, faces, texture)


def horizon_row(camera: PinholeCamera) -> float:
    """Image row of the horizon."""
    return camera.center_px[1] - camera.focal_px * float(np.tan(camera.pitch_rad))


def _to_optical(points: Floats, camera: PinholeCamera) -> Floats:
    offset = np.array([0.0, 0.0, camera.mount_height_m], np.float32)
    optical: Floats = (points - offset) @ camera.rotation.astype(np.float32)
    return optical


def _flat_faces(mesh: Mesh, camera: PinholeCamera) -> Faces:
    corners = _to_optical(mesh.corners, camera)
    along_u = corners[:, 1] - corners[:, 0]
    along_v = corners[:, -1] - corners[:, 0]
    outward = np.cross(along_v, along_u)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True) + 1e-9
    count = len(corners)
    return Faces(
        corners=corners,
        uv=mesh.uv,
        origin=corners[:, 0],
        along_u=along_u,
        along_v=along_v,
        outline=np.full((count, 8, 2), np.nan, np.float32),
        attributes=mesh.faces,
        outward=outward,
        across=np.zeros((count, 3), np.float32),
    )


def _rod_faces(mesh: Mesh, camera: PinholeCamera) -> Faces:
    """Rods as flat faces that look towards the camera, with rounded ends."""
    ends = _to_optical(mesh.ends, camera)
    keep = (ends[:, :, 2] > NEAR_M).any(axis=1)
    ends, radii, attributes = ends[keep], mesh.radii[keep], mesh.rods[keep]
    ends = _clipped_rods(ends)
    focal = np.float32(camera.focal_px)
    center = np.array(camera.center_px, np.float32)
    pixels = focal * ends[:, :, :2] / ends[:, :, 2:] + center
    direction = pixels[:, 1] - pixels[:, 0]
    length = np.linalg.norm(direction, axis=1, keepdims=True)
    apart = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    is_ball = apart < 0.1 * radii.max(axis=1, initial=0.0)
    direction = np.where(is_ball[:, None], (0.0, 1.0), direction / np.maximum(length, 1e-6))
    direction = direction.astype(np.float32)
    normal = np.stack([-direction[:, 1], direction[:, 0]], axis=1)
    smallest = np.where(
        attributes["label"] == ClassId.POLE, POLE_HALF_WIDTH_PX, ROD_HALF_WIDTH_PX
    ).astype(np.float32)
    radii_px = np.maximum(1.04 * focal * radii / ends[:, :, 2], smallest[:, None])
    angles = np.deg2rad(np.array([22.5, 67.5, 112.5, 157.5], np.float32))
    cos, sin = np.cos(angles)[None, :, None], np.sin(angles)[None, :, None]
    turn = cos * normal[:, None] - sin * direction[:, None]
    outline = np.concatenate(
        [
            pixels[:, None, 0] + radii_px[:, 0, None, None] * turn,
            pixels[:, None, 1] - radii_px[:, 1, None, None] * turn,
        ],
        axis=1,
    )
    zero = np.zeros((len(ends), 1), np.float32)
    side = np.concatenate([normal, zero], axis=1)
    down = np.concatenate([direction, zero], axis=1)
    radius = radii.max(axis=1, keepdims=True)
    along_v = np.where(is_ball[:, None], 2.0 * radius * down, ends[:, 1] - ends[:, 0])
    start = ends[:, 0] - radius * side - np.where(is_ball[:, None], radius * down, 0.0)
    span = np.linalg.norm(along_v, axis=1)
    uv = np.zeros((len(ends), 6), np.float32)
    uv[:, 1] = np.maximum(2.0 * radius[:, 0], 0.02)
    uv[:, 5] = np.maximum(span, 0.02)
    outward = -ends.mean(axis=1)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True) + 1e-9
    corners = np.repeat(ends, 4, axis=1)
    return Faces(
        corners=corners,
        uv=uv,
        origin=start.astype(np.float32),
        along_u=2.0 * radius * side,
        along_v=along_v.astype(np.float32),
        outline=outline.astype(np.float32),
        attributes=attributes,
        outward=outward,
        across=side,
    )


def _clipped_rods(ends: Floats) -> Floats:
    """Move ends behind the near plane onto it."""
    near = np.float32(NEAR_M * 1.01)
    clipped = ends.copy()
    for first, second in ((0, 1), (1, 0)):
        behind = ends[:, first, 2] < near
        if behind.any():
            start, stop = ends[behind, first], ends[behind, second]
            part = (near - start[:, 2:]) / (stop[:, 2:] - start[:, 2:])
            clipped[behind, first] = start + part * (stop - start)
    return clipped


def _concatenated(one: Faces, other: Faces) -> Faces:
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return Faces(*(np.concatenate(pair) for pair in pairs))


def _looks_here(faces: Faces) -> NDArray[np.bool_]:
    """Whether each face turns its outer side to the camera, or has two; bool [F]."""
    towards = -np.einsum("fi,fi->f", faces.outward, faces.origin) > 0.0
    is_rod = np.isfinite(faces.outline[:, 0, 0])
    seen: NDArray[np.bool_] = towards | is_rod | faces.attributes["two_sided"]
    return seen


def _outlines(faces: Faces, camera: PinholeCamera) -> Floats:
    """Outlines in pixels [F, 8, 2], clipped at the near plane."""
    corners = faces.corners
    crossing = np.flatnonzero(
        (corners[:, :, 2] < NEAR_M).any(axis=1) & ~np.isfinite(faces.outline[:, 0, 0])
    )
    if len(crossing):
        corners = corners.copy()
        for row in crossing:
            corners[row] = _clipped_polygon(corners[row])
    depth = np.maximum(corners[:, :, 2:], NEAR_M)
    center = np.array(camera.center_px, np.float32)
    pixels = np.float32(camera.focal_px) * corners[:, :, :2] / depth + center
    pixels = np.where(np.isfinite(faces.outline), faces.outline, pixels)
    outlines: Floats = np.clip(pixels, -FAR_PIXEL, FAR_PIXEL)
    return outlines


def _clipped_polygon(corners: Floats) -> Floats:
    """The part of a convex polygon [8, 3] beyond the near plane, padded to [8, 3]."""
    kept: list[Floats] = []
    following = np.roll(corners, -1, axis=0)
    for here, there in zip(corners, following, strict=True):
        if here[2] >= NEAR_M:
            kept.append(here)
        if (here[2] >= NEAR_M) != (there[2] >= NEAR_M):
            part = (NEAR_M - here[2]) / (there[2] - here[2])
            kept.append(here + part * (there - here))
    # Clipping adds at most one corner; the shortest edge makes room for it.
    while len(kept) > len(corners):
        gaps = [float(np.abs(kept[i] - kept[i - 1]).sum()) for i in range(len(kept))]
        kept.pop(int(np.argmin(gaps)))
    kept += [kept[-1]] * (len(corners) - len(kept))
    return np.stack(kept)


def _painting_order(mesh: Mesh, faces: Faces, camera: PinholeCamera) -> NDArray[np.intp]:
    """Rows of the faces: far groups first; in a group by stage, then far faces first."""
    group = faces.attributes["group"]
    distance = np.linalg.norm(faces.corners, axis=2)
    key = np.linalg.norm(_to_optical(mesh.groups.center, camera), axis=1)
    farthest = np.zeros(len(mesh.groups), np.float32)
    np.maximum.at(farthest, group, distance.max(axis=1))
    key = np.where(mesh.groups.far, farthest, key)
    return np.lexsort((-distance.mean(axis=1), faces.attributes["stage"], -key[group]))


def _texture_coefficients(faces: Faces, camera: PinholeCamera) -> Floats:
    """``Visible.texture`` [F, 9], from the inverse of the frame of each texture."""
    p, a, b = (array.astype(np.float64) for array in (faces.origin, faces.along_u, faces.along_v))
    row_a, row_b, row_p = np.cross(b, p), np.cross(p, a), np.cross(a, b)
    volume = np.einsum("fi,fi->f", p, row_p)
    volume = np.where(np.abs(volume) < 1e-9, 1e-9, volume)[:, None]
    u0, u_a, u_b, v0, v_a, v_b = (
        faces.uv[:, column, None].astype(np.float64) for column in range(6)
    )
    w_ray, a_ray, b_ray = row_p / volume, row_a / volume, row_b / volume
    u_ray = u0 * w_ray + u_a * a_ray + u_b * b_ray
    v_ray = v0 * w_ray + v_a * a_ray + v_b * b_ray
    cx, cy = camera.center_px
    focal = camera.focal_px
    coefficients = np.empty((len(faces), 9), np.float32)
    for start, ray in ((0, u_ray), (3, v_ray), (6, w_ray)):
        coefficients[:, start] = ray[:, 0] / focal
        coefficients[:, start + 1] = ray[:, 1] / focal
        coefficients[:, start + 2] = ray[:, 2] - (ray[:, 0] * cx + ray[:, 1] * cy) / focal
    return coefficients


def _paint(
    faces: Faces, outline: Floats, texture: Floats, camera: PinholeCamera
) -> tuple[Ids, Ids]:
    ids = np.full((camera.height, camera.width), SKY_ID, np.int32)
    ghosts = np.zeros_like(ids)
    ids[max(int(np.ceil(horizon_row(camera) + 1e-6)), 0) :] = GROUND_ID
    fixed = np.round(outline * (1 << SUBPIXEL_BITS)).astype(np.int32)
    has_bars = faces.attributes["bars"] > 0.0
    is_ghost = faces.attributes["ghost"]
    plain = ~(has_bars | is_ghost)
    fill = cv2.fillConvexPoly
    for number, (points, is_plain) in enumerate(zip(fixed, plain.tolist(), strict=True)):
        face_id = number + FIRST_FACE_ID
        if is_plain:
            fill(ids, points, face_id, cv2.LINE_8, SUBPIXEL_BITS)
        else:
            fill(ghosts, points, face_id, cv2.LINE_8, SUBPIXEL_BITS)
            if has_bars[number]:
                bars = float(faces.attributes["bars"][number])
                _paint_bars(ids, ghosts, outline[number], texture[number], bars, face_id)
    return ids, ghosts


def _paint_bars(
    ids: Ids, ghosts: Ids, outline: Floats, texture: Floats, bars: float, face_id: int
) -> None:
    """Paint upright bars with a rail above and below, within the face that ``ghosts`` shows."""
    height, width = ids.shape
    x0, y0 = np.clip(np.floor(outline.min(axis=0)).astype(int), 0, (width, height))
    x1, y1 = np.clip(np.ceil(outline.max(axis=0)).astype(int) + 1, 0, (width, height))
    if x0 >= x1 or y0 >= y1:
        return
    x = np.arange(x0, x1, dtype=np.float32)[None, :]
    y = np.arange(y0, y1, dtype=np.float32)[:, None]
    w = texture[6] * x + texture[7] * y + texture[8]
    place = (texture[0] * x + texture[1] * y + texture[2]) / w * np.float32(bars)
    rise = (texture[3] * x + texture[4] * y + texture[5]) / w
    spacing_px = (
        1.0 / max(float(np.abs(np.diff(place[len(y) // 2])).mean()), 1e-6) if (x1 - x0 > 1) else 1.0
    )
    if spacing_px < FINEST_BARS_PX:
        shown = (x.astype(np.int32) + 2 * y.astype(np.int32)) % 3 == 0
    else:
        shown = place - np.floor(place) < max(BAR_SHARE, 1.0 / spacing_px)
    shown |= (rise < 0.07) | (np.abs(rise - 0.9) < 0.035)
    inside = ghosts[y0:y1, x0:x1] == face_id
    ids[y0:y1, x0:x1][shown & inside] = face_id
