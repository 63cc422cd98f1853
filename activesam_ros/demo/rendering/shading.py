"""Compute colours and labels from a visibility buffer: textures, light, shadows, fog, sky.

Colours are float32 planes [3, N] of red, green and blue, where 1 is white, of N pixels that are
given by their flat indices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.demo.rendering.camera import PinholeCamera
from activesam_ros.demo.rendering.raster import FIRST_FACE_ID, GROUND_ID, SKY_ID, Visible
from activesam_ros.demo.rendering.texture_atlas import CLOUD_SIZE_PX, LEVELS, Atlas
from activesam_ros.demo.rendering.textures import STORED_ONE
from activesam_ros.demo.world.classes import ClassId
from activesam_ros.demo.world.ground import GroundWindow, Surface
from activesam_ros.demo.world.mesh import Floats, Mesh
from activesam_ros.demo.world.weather import Conditions

REMAP_ROW = 2048
LEAF_PX = 3.0
LAMP_COUNT = 8
LAMP_STEP = 4
WINDOW_LIGHT = np.array([1.0, 0.82, 0.55], np.float32)
LAMP_LIGHT = np.array([1.0, 0.85, 0.62], np.float32)
STREET_LAMP_GLOW = 2.0


@dataclass(frozen=True)
class Lighting:
    """The light of a frame, in vehicle coordinates.

    sun: unit vector to the sun. lamps: [L, 3], positions of street lamps. cast: uint8 [H, W], the
    share of the sun that reaches the ground, 255 for all. shadow: [H, W], the factor of the light
    on the ground, with the dark areas under things.
    """

    conditions: Conditions
    sun: Floats
    lamps: Floats
    cast: NDArray[np.uint8]
    shadow: Floats


@dataclass(frozen=True)
class Rays:
    """Directions of the pixels in vehicle coordinates, of depth 1: [H * W] each."""

    x: Floats
    y: Floats
    z: Floats

    @classmethod
    def of_camera(cls, camera: PinholeCamera) -> Rays:
        """The rays of all pixels of ``camera``."""
        cx, cy = camera.center_px
        right = (np.arange(camera.width, dtype=np.float32) - np.float32(cx)) / camera.focal_px
        down = (np.arange(camera.height, dtype=np.float32) - np.float32(cy)) / camera.focal_px
        rotation = camera.rotation.astype(np.float32)
        planes = [
            (rotation[row, 0] * right[None, :] + rotation[row, 1] * down[:, None])
            + rotation[row, 2]
            for row in range(3)
        ]
        x, y, z = (np.ascontiguousarray(plane, np.float32).reshape(-1) for plane in planes)
        return cls(x, y, z)


@dataclass(frozen=True)
class Emission:
    """Emitted light of M pixels: their places in a list of pixels [M], and colours [3, M]."""

    where: NDArray[np.intp]
    light: Floats


def ragged_leaves(
    visible: Visible, displaced: NDArray[np.intp], finely_displaced: NDArray[np.intp]
) -> NDArray[np.intp]:
    """The visibility buffer with ragged outlines of foliage, flat [H * W].

    Each pixel is compared with the one at its index in ``displaced``, then in ``finely_displaced``;
    it takes that one's face if the nearer of the two faces is foliage.
    """
    ids = visible.ids.reshape(-1).astype(np.intp)
    attributes = visible.faces.attributes
    depth = np.maximum(visible.faces.corners[:, :, 2].mean(axis=1), 1.0)
    reach_px = attributes["leaf_m"] / depth
    reach = np.zeros(len(attributes) + FIRST_FACE_ID, np.float32)
    reach[FIRST_FACE_ID:] = reach_px
    if not reach.any():
        return ids
    for other, smallest in ((displaced, 0.016), (finely_displaced, 0.0)):
        leafy = reach > smallest
        source = ids.take(other)
        # The higher number is the nearer face.
        changes = leafy.take(np.maximum(source, ids))
        np.copyto(ids, source, where=changes)
    return ids


def labels_and_instances(
    ids: NDArray[np.intp], visible: Visible, mesh: Mesh, ground: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Flat labels and instances [H * W]; ``ground``: the labels of the pixels of the ground."""
    nearest = np.maximum(ids, visible.ghosts.reshape(-1))
    attributes = visible.faces.attributes
    label_of = np.concatenate([[ClassId.SKY, ClassId.UNLABELLED], attributes["label"]])
    instance_of = np.concatenate([[0, 0], mesh.groups.instance[attributes["group"]]])
    labels = label_of.astype(np.uint8).take(nearest)
    labels[nearest == GROUND_ID] = ground[nearest[ids == GROUND_ID] == GROUND_ID]
    return labels, instance_of.astype(np.uint16).take(nearest)


def face_colors(
    pixels: NDArray[np.intp],
    rows: NDArray[np.intp],
    visible: Visible,
    mesh: Mesh,
    atlas: Atlas,
    camera: PinholeCamera,
    lighting: Lighting,
) -> tuple[Floats, Emission, Floats]:
    """Colours [3, N], emitted light and depth [N] of ``pixels``, which show the faces ``rows``."""
    x = (pixels % camera.width).astype(np.float32)
    y = (pixels // camera.width).astype(np.float32)
    table = np.ascontiguousarray(visible.texture.T)

    def plane(first: int) -> Floats:
        total: Floats = table[first].take(rows)
        total *= x
        slope = table[first + 1].take(rows)
        slope *= y
        total += slope
        total += table[first + 2].take(rows)
        return total

    w = np.maximum(plane(6), 1e-4)
    u, v = plane(0) / w, plane(3) / w
    origin_x, origin_y, size = _mip_cells(visible, atlas, camera)
    map_x = (u - np.floor(u)) * size.take(rows) + origin_x.take(rows)
    map_y = (v - np.floor(v)) * size.take(rows) + origin_y.take(rows)
    texels = _planes(_sample(atlas.image, map_x, map_y))
    base, along_u, along_v = _gradients(visible, lighting)
    shade = base.take(rows) + along_u.take(rows) * u + along_v.take(rows) * v
    np.clip(shade, 0.35, 1.7, out=shade)
    lit, glow = _face_light(visible, mesh, camera, lighting)
    emission = _emission(rows, texels, glow, lighting.conditions.lamps)
    colors = texels[:3]
    colors *= shade
    for plane_color, factor in zip(colors, (lit / STORED_ONE).astype(np.float32).T, strict=True):
        plane_color *= np.ascontiguousarray(factor).take(rows)
    return colors, emission, 1.0 / w


def _emission(rows: NDArray[np.intp], texels: Floats, glow: Floats, lamps: float) -> Emission:
    """The light of lamps and lit windows, of the pixels that emit any."""
    shines = (glow.max(axis=1, initial=0.0) > 0.0).take(rows)
    if lamps:
        shines |= texels[3] > 0.0
    where = np.flatnonzero(shines)
    light = texels[:3, where] * (glow / STORED_ONE).T[:, rows.take(where)]
    light += (WINDOW_LIGHT * (0.55 * lamps / 255.0))[:, None] * texels[3, where]
    return Emission(where, light.astype(np.float32))


def _mip_cells(
    visible: Visible, atlas: Atlas, camera: PinholeCamera
) -> tuple[Floats, Floats, Floats]:
    """Atlas x, y and size [F] of the mip level that fits the distance of each face."""
    faces = visible.faces
    texture = faces.attributes["texture"]
    length = np.linalg.norm(faces.along_u, axis=1) + 1e-6
    height = np.linalg.norm(faces.along_v, axis=1) + 1e-6
    per_metre = np.maximum(np.abs(faces.uv[:, 1]) / length, np.abs(faces.uv[:, 5]) / height)
    near = np.maximum(faces.corners[:, :, 2].mean(axis=1), 1.0)
    texels_per_px = atlas.size[texture, 0] * per_metre * near / camera.focal_px
    level = np.clip(np.round(np.log2(np.maximum(texels_per_px, 1e-3))), 0, LEVELS - 1)
    chosen = level.astype(np.intp)
    place = atlas.origin[texture, chosen]
    return place[:, 0].copy(), place[:, 1].copy(), atlas.size[texture, chosen]


def _sample(image: NDArray[np.uint8], map_x: Floats, map_y: Floats) -> NDArray[np.uint8]:
    """Bilinear samples of ``image`` at flat coordinates [N]."""
    count = len(map_x)
    rows = max(
        1, -(-count // REMAP_ROW)
    )  # remap refuses an empty map, such as that of an invisible sky
    padded = np.zeros((2, rows * REMAP_ROW), np.float32)
    padded[0, :count], padded[1, :count] = map_x, map_y
    shaped = padded.reshape(2, rows, REMAP_ROW)
    sampled = np.asarray(cv2.remap(image, shaped[0], shaped[1], cv2.INTER_LINEAR))
    channels = image.shape[2:] or (1,)
    return np.asarray(sampled.reshape(rows * REMAP_ROW, *channels)[:count], np.uint8)


def _planes(samples: NDArray[np.uint8]) -> Floats:
    """Samples [N, C] as float planes [C, N]."""
    planes = np.empty(samples.shape[::-1], np.float32)
    for channel, plane in enumerate(planes):
        plane[:] = samples[:, channel]
    return planes


def _gradients(visible: Visible, lighting: Lighting) -> tuple[Floats, Floats, Floats]:
    """Brightness as base + a u + b v [F] each: rods are darker on the side away from the light."""
    faces = visible.faces
    slope = faces.attributes["slope"]
    _, u_a, _, v0, _, v_b = faces.uv.T
    sun_part = 0.25 if max(lighting.conditions.sun) > 0.3 else 0.12
    towards_sun = faces.across @ (lighting.sun @ np.eye(3, dtype=np.float32))
    is_rod = np.abs(faces.across).sum(axis=1) > 0.0
    bend = np.where(is_rod, sun_part * np.sign(towards_sun) + 0.10, 0.0)
    along_v = np.where(np.abs(v_b) > 1e-6, slope / np.where(v_b == 0.0, 1.0, v_b), 0.0)
    along_u = np.where(is_rod, 2.0 * bend / np.where(u_a == 0.0, 1.0, u_a), 0.0)
    base = 1.0 - 0.5 * slope - along_v * v0 - np.where(is_rod, bend, 0.0)
    return (
        base.astype(np.float32),
        along_u.astype(np.float32),
        along_v.astype(np.float32),
    )


def _face_light(
    visible: Visible, mesh: Mesh, camera: PinholeCamera, lighting: Lighting
) -> tuple[Floats, Floats]:
    """Reflected light times tint [F, 3], and emitted light times tint [F, 3]."""
    faces, conditions = visible.faces, lighting.conditions
    rotation = camera.rotation.astype(np.float32)
    outward = faces.outward @ rotation.T
    is_rod = np.abs(faces.across).sum(axis=1) > 0.0
    two_sided = faces.attributes["two_sided"]
    direct = outward @ lighting.sun
    direct = np.where(two_sided, np.abs(direct), direct)
    direct = np.where(is_rod, 0.35 + 0.5 * direct, direct)
    up = np.where(is_rod, 0.25, outward[:, 2])
    ambient = np.array(conditions.ambient, np.float32) * (0.74 + 0.26 * up)[:, None]
    sun = np.array(conditions.sun, np.float32) * np.maximum(direct, 0.0)[:, None]
    free = _sunlit_groups(mesh, camera, lighting)[faces.attributes["group"]]
    light = ambient + sun * free[:, None]
    if conditions.lamps:
        middle = faces.corners.mean(axis=1) @ rotation.T
        middle[:, 2] += np.float32(camera.mount_height_m)
        light += lamp_light(middle, lighting) * conditions.lamps
    tint = faces.attributes["tint"]
    glow = faces.attributes["glow"] * (0.25 + 0.75 * conditions.lamps)
    return (tint * light).astype(np.float32), (tint * glow[:, None]).astype(np.float32)


def _sunlit_groups(mesh: Mesh, camera: PinholeCamera, lighting: Lighting) -> Floats:
    """Share of the sun [G] that reaches the ground before each group; 1 out of view."""
    height, width = lighting.cast.shape
    # The place looked up is on the side of the sun, outside of the shadow of the group itself.
    reach = 0.5 * mesh.groups.footprint[:, :2].max(axis=1) + 0.3
    base = mesh.groups.center.copy()
    base[:, :2] += reach[:, None] * lighting.sun[:2] / (np.linalg.norm(lighting.sun[:2]) + 1e-6)
    base[:, 2] = 0.0
    optical = (base - [0.0, 0.0, camera.mount_height_m]) @ camera.rotation
    depth = np.maximum(optical[:, 2], 0.5)
    x = camera.focal_px * optical[:, 0] / depth + camera.center_px[0]
    y = camera.focal_px * optical[:, 1] / depth + camera.center_px[1]
    inside = (optical[:, 2] > 1.0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    free = np.ones(len(base), np.float32)
    free[inside] = lighting.cast[y[inside].astype(int), x[inside].astype(int)] / 255.0
    return free


def lamp_light(points: Floats, lighting: Lighting) -> Floats:
    """Light [N, 3] of the ego vehicle's head lamps and of street lamps at ``points`` [N, 3]."""
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    spread = (y / (2.2 + 0.16 * np.maximum(x, 0.0))) ** 2 + np.maximum(z - 0.9, 0.0) ** 2 / 3.0
    # The bound keeps denormal floats away, which are slow.
    beam = np.exp(-np.minimum(spread, 30.0)) * (x > 0.0) * (0.75 / (1.0 + (x / 22.0) ** 2))
    total = np.zeros(len(points), np.float32)
    for lamp in lighting.lamps:
        away = (x - lamp[0]) ** 2 + (y - lamp[1]) ** 2
        total += 0.75 / (1.0 + away / 20.0) ** 2
    light: Floats = (
        beam[:, None] * np.array([0.95, 0.95, 0.9], np.float32) + total[:, None] * LAMP_LIGHT
    )
    return light.astype(np.float32)


@dataclass(frozen=True)
class GroundPixels:
    """N pixels of the ground: x, y and s, d in metres, distance in metres, material; [N] each."""

    x: Floats
    y: Floats
    s: Floats
    d: Floats
    distance: Floats
    material: NDArray[np.uint8]


def ground_pixels(
    pixels: NDArray[np.intp], rays: Rays, camera: PinholeCamera, window: GroundWindow
) -> GroundPixels:
    """Where the rays of ``pixels`` meet the ground."""
    reach = np.float32(-camera.mount_height_m) / np.minimum(rays.z.take(pixels), -1e-4)
    np.minimum(reach, 2000.0, out=reach)
    x, y = rays.x.take(pixels) * reach, rays.y.take(pixels) * reach
    s, d = window.road_coordinates(x, y)
    return GroundPixels(x, y, s, d, reach, window.materials(s, d))


def ground_colors(
    ground: GroundPixels,
    pixels: NDArray[np.intp],
    surfaces: tuple[Surface, ...],
    atlas: Atlas,
    camera: PinholeCamera,
    lighting: Lighting,
    first_s: float,
) -> Floats:
    """Colours [3, N] of the ground."""
    conditions = lighting.conditions
    textures = np.array([surface.texture for surface in surfaces])
    tiles = np.array([surface.tile_m for surface in surfaces], np.float32)
    tints = np.array([surface.tint for surface in surfaces], np.float32)
    # A pixel covers more texels along the view than across it; their mean sets the mip level.
    texels = atlas.size[textures, 0] / tiles / camera.focal_px
    slant = np.sqrt(np.maximum(ground.distance / camera.mount_height_m, 1.0))
    footprint = texels.take(ground.material) * ground.distance * slant
    level = np.clip(np.log2(np.maximum(footprint, 1.0)), 0, LEVELS - 1).astype(np.intp)
    key = ground.material * LEVELS + level
    origin, size = atlas.origin[textures].reshape(-1, 2), atlas.size[textures].reshape(-1)
    scale = (1.0 / tiles).take(ground.material)
    shift = np.float32(first_s % 600.0)
    u = ground.d * scale
    v = (ground.s + shift) * scale
    side = size.take(key)
    map_x = (u - np.floor(u)) * side + origin[:, 0].take(key)
    map_y = (v - np.floor(v)) * side + origin[:, 1].take(key)
    colors = _planes(_sample(atlas.image, map_x, map_y)[:, :3])
    sun_up = max(float(lighting.sun[2]), 0.0)
    ambient = np.array(conditions.ambient, np.float32)
    sun = np.array(conditions.sun, np.float32) * np.float32(0.25 + 0.75 * sun_up)
    daylight = (ambient + sun) * np.float32(1.0 - 0.35 * conditions.wetness)
    shadow = lighting.shadow.reshape(-1).take(pixels)
    lamps = _lamp_planes(camera, lighting) if conditions.lamps else None
    for channel, plane in enumerate(colors):
        plane *= (tints[:, channel] * np.float32(1.0 / STORED_ONE)).take(ground.material)
        light = shadow * daylight[channel]
        if lamps is not None:
            light += lamps[channel].take(pixels)
        plane *= light
    return colors


def _lamp_planes(camera: PinholeCamera, lighting: Lighting) -> Floats:
    """Light of lamps on the ground [3, H * W], computed at every fourth pixel and enlarged."""
    coarse = replace(
        camera,
        width=-(-camera.width // LAMP_STEP),
        height=-(-camera.height // LAMP_STEP),
        focal_px=camera.focal_px / LAMP_STEP,
    )
    rays = Rays.of_camera(coarse)
    reach = np.float32(-camera.mount_height_m) / np.minimum(rays.z, -1e-2)
    points = np.stack([rays.x * reach, rays.y * reach, np.zeros_like(reach)], axis=1)
    light = lamp_light(points, lighting) * np.float32(lighting.conditions.lamps)
    planes = light.T.reshape(3, coarse.height, coarse.width)
    size = (camera.width, camera.height)
    full = [np.asarray(cv2.resize(np.ascontiguousarray(plane), size)) for plane in planes]
    lamps: Floats = np.stack(full).reshape(3, -1).astype(np.float32, copy=False)
    return lamps


def shadow_masks(
    mesh: Mesh, camera: PinholeCamera, sun: Floats, conditions: Conditions
) -> tuple[NDArray[np.uint8], Floats]:
    """``Lighting.cast`` and ``Lighting.shadow``."""
    mask = np.full((camera.height, camera.width), 255, np.uint8)
    groups = mesh.groups
    rows = np.flatnonzero(groups.footprint[:, 2] > 0.0)
    length, width, height = groups.footprint[rows].T
    cos, sin = np.cos(groups.yaw[rows]), np.sin(groups.yaw[rows])
    square = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)], np.float32)
    along, across = square[:, 0] * length[:, None], square[:, 1] * width[:, None]
    base = np.zeros((len(rows), 4, 3), np.float32)
    base[..., 0] = groups.center[rows, 0, None] + cos[:, None] * along - sin[:, None] * across
    base[..., 1] = groups.center[rows, 1, None] + sin[:, None] * along + cos[:, None] * across
    reach = sun[:2] / max(float(sun[2]), 0.12)
    cast = base.copy()
    cast[..., :2] -= height[:, None, None] * reach
    hulls = np.concatenate([base, cast], axis=1)
    offset = np.array([0.0, 0.0, camera.mount_height_m], np.float32)
    rotation = camera.rotation.astype(np.float32)
    optical = (hulls - offset) @ rotation
    center = np.array(camera.center_px, np.float32)

    def pixels(points: Floats) -> Floats:
        return np.clip(
            camera.focal_px * points[..., :2] / points[..., 2:] + center, -9000.0, 9000.0
        )

    depth = optical[..., 2]
    if conditions.shade < 0.7:
        level = int(255 * conditions.shade)
        # Corners beside or behind the camera are moved in front of it.
        safe = optical.copy()
        safe[..., 2] = np.maximum(depth, 0.4)
        points = pixels(safe).astype(np.float32)
        low, high = points.min(axis=1), points.max(axis=1)
        seen = (depth > 0.4).any(axis=1) & (high > 0.0).all(axis=1)
        seen &= (low < (camera.width, camera.height)).all(axis=1)
        for row in np.flatnonzero(seen):
            hull = np.asarray(cv2.convexHull(points[row]))
            cv2.fillConvexPoly(mask, np.round(hull).astype(np.int32), level)
    cast_mask = mask.copy()
    dark = int(255 * min(conditions.shade, 0.6))
    low_things = (height < 4.0) & (width > 0.4) & (depth[:, :4] > 0.4).all(axis=1)
    for row in np.flatnonzero(low_things):
        outline = pixels(optical[row, :4])
        cv2.fillConvexPoly(mask, np.round(outline).astype(np.int32), dark)
    soft = np.asarray(cv2.blur(mask, (5, 3)), np.float32)
    soft *= np.float32(1.0 / 255.0)
    return cast_mask, soft


def sky_colors(
    pixels: NDArray[np.intp],
    rays: Rays,
    clouds: NDArray[np.uint8],
    lighting: Lighting,
    heading: float,
    drift: float,
) -> Floats:
    """Colours [3, N] of the sky: a gradient, clouds and the sun."""
    conditions = lighting.conditions
    x, y, z = rays.x.take(pixels), rays.y.take(pixels), rays.z.take(pixels)
    norm = 1.0 / np.sqrt(x * x + y * y + z * z)
    rise = np.maximum(z * norm, 0.0)
    up = np.minimum(np.sqrt(rise * np.float32(1.8)), 1.0)
    cos, sin = np.float32(np.cos(heading)), np.float32(np.sin(heading))
    scale = np.float32(26.0) / np.maximum(z * norm, 0.03) * norm
    map_x = (cos * x - sin * y) * scale + np.float32(drift)
    map_y = (sin * x + cos * y) * scale
    wrap = np.float32(CLOUD_SIZE_PX)
    map_x -= np.floor(map_x / wrap) * wrap
    map_y -= np.floor(map_y / wrap) * wrap
    density = _sample(clouds, map_x + 1.0, map_y + 1.0)[:, 0].astype(np.float32)
    density = density * np.float32(1.0 / 42.5) - 3.0 + np.float32(conditions.cloud_cover)
    alpha = np.clip(density * 0.8, 0.0, 1.0) * np.clip(rise * 9.0, 0.0, 1.0)
    shade = 1.0 - 0.12 * np.clip(density, 0.0, 1.6)
    sun = lighting.sun
    towards = (x * sun[0] + y * sun[1] + z * sun[2]) * norm
    halo = 0.35 * np.maximum(towards, 0.0) ** 24
    halo += np.clip((towards - 0.9993) * 3750.0, 0.0, 1.5)
    halo *= 1.0 - 0.8 * alpha
    thickness = np.float32(conditions.extinction_per_m * 60.0)
    clear = np.exp(-thickness / np.maximum(rise, 0.02))
    colors = np.empty((3, len(pixels)), np.float32)
    for channel, plane in enumerate(colors):
        zenith, horizon = conditions.zenith[channel], conditions.horizon[channel]
        np.multiply(up, np.float32(zenith - horizon), out=plane)
        plane += np.float32(horizon)
        plane += (shade * np.float32(conditions.cloud_color[channel]) - plane) * alpha
        plane += halo * np.float32(conditions.sun[channel])
        plane -= np.float32(conditions.haze[channel])
        plane *= clear
        plane += np.float32(conditions.haze[channel])
    return colors


def split_pixels(
    ids: NDArray[np.intp],
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Flat indices of the pixels of sky, ground and faces."""
    return (
        np.flatnonzero(ids == SKY_ID),
        np.flatnonzero(ids == GROUND_ID),
        np.flatnonzero(ids >= FIRST_FACE_ID),
    )
