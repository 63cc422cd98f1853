"""One picture of the world with its labels and instances."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from activesam_ros.demo.rendering import effects, shading
from activesam_ros.demo.rendering.bonnet import draw_bonnet
from activesam_ros.demo.rendering.camera import PinholeCamera
from activesam_ros.demo.rendering.raster import FIRST_FACE_ID, GROUND_ID, draw
from activesam_ros.demo.rendering.shading import Lighting, Rays
from activesam_ros.demo.rendering.texture_atlas import DriveTextures
from activesam_ros.demo.world.classes import ClassId
from activesam_ros.demo.world.mesh import Floats, Mesh
from activesam_ros.demo.world.weather import Conditions
from activesam_ros.demo.world.world import Surroundings, World


@dataclass(frozen=True)
class View:
    """image: uint8 RGB [H, W, 3]; labels: uint8 [H, W]; instances: uint16 [H, W], 0 for none."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    instances: NDArray[np.uint16]


class Renderer:
    """Renders the views of one camera, and keeps what does not change between frames."""

    def __init__(
        self,
        world: World,
        textures: DriveTextures,
        camera: PinholeCamera,
        noise_key: tuple[int, ...],
    ) -> None:
        """noise_key: seeds the noise of the sensor and the shaking of this camera."""
        self._world = world
        self._textures = textures
        self._camera = camera
        self._key = noise_key
        rng = np.random.default_rng([*noise_key, 0])
        self._noise = effects.noise_tile(rng, camera.height, camera.width)
        self._bonnet = draw_bonnet(np.random.default_rng([world.seed, 12]), camera)
        scale = camera.focal_px / 512.0
        self._displaced = _displaced(rng, camera, max(1.0, 4.0 * scale))
        self._finely_displaced = _displaced(rng, camera, max(0.8, 1.3 * scale))

    def view(self, surroundings: Surroundings, index: int) -> View:
        """What the camera sees; ``index``, the number of the frame, seeds its noise."""
        rng = np.random.default_rng([*self._key, 1, index])
        camera = self._shaken(rng, surroundings.speed_m_s)
        mesh, window, sun = surroundings.mesh, surroundings.window, surroundings.sun
        conditions, surfaces = self._world.conditions, self._world.ground.surfaces
        atlas = self._textures.atlas
        rays = Rays.of_camera(camera)
        visible = draw(mesh, camera)
        ids = shading.ragged_leaves(visible, self._displaced, self._finely_displaced)  # [H * W]
        sky, ground, faces = shading.split_pixels(ids)
        cast, shadow = shading.shadow_masks(mesh, camera, sun, conditions)
        lighting = Lighting(conditions, sun, _street_lamps(mesh), cast, shadow)
        picture = np.empty((3, len(ids)), np.float32)  # [3, H * W]
        picture[:, sky] = shading.sky_colors(
            sky,
            rays,
            self._textures.clouds,
            lighting,
            surroundings.heading_rad,
            drift=0.02 * index,
        )
        floor = shading.ground_pixels(ground, rays, camera, window)
        colors = shading.ground_colors(
            floor, ground, surfaces, atlas, camera, lighting, window.first_s
        )
        picture[:, ground] = _hazy(colors, floor.distance, conditions)
        rows = ids.take(faces) - FIRST_FACE_ID
        colors, emission, depth = shading.face_colors(
            faces, rows, visible, mesh, atlas, camera, lighting
        )
        picture[:, faces] = _hazy(colors, depth, conditions)
        emitted = np.zeros_like(picture) if conditions.lamps else picture
        emitted[:, faces.take(emission.where)] += emission.light
        label_of = np.array([surface.label for surface in surfaces], np.uint8)
        labels, instances = shading.labels_and_instances(
            ids, visible, mesh, label_of.take(floor.material)
        )
        shape = (camera.height, camera.width)
        image = self._exposed(
            rng,
            picture.reshape(3, *shape),
            emitted.reshape(3, *shape),
            surroundings.speed_m_s,
            camera,
            (ids == GROUND_ID).reshape(shape),
        )
        labels, instances = labels.reshape(shape), instances.reshape(shape)
        if self._bonnet is not None:
            labels[self._bonnet.mask] = ClassId.UNLABELLED
            instances[self._bonnet.mask] = 0
        return View(image, labels, instances)

    def _shaken(self, rng: np.random.Generator, speed_m_s: float) -> PinholeCamera:
        """The camera, pitched a little with the vehicle."""
        amount = 0.0004 + 0.0002 * min(speed_m_s, 15.0) / 15.0
        pitch = self._camera.pitch_rad + float(rng.normal(0.0, amount))
        return replace(self._camera, pitch_rad=pitch)

    def _exposed(
        self,
        rng: np.random.Generator,
        picture: Floats,
        emitted: Floats,
        speed_m_s: float,
        camera: PinholeCamera,
        ground: NDArray[np.bool_],
    ) -> NDArray[np.uint8]:
        conditions = self._world.conditions
        if conditions.lamps:
            effects.bloom(picture, emitted, conditions.lamps)
        if conditions.wetness:
            effects.reflect_in_wet_road(picture, ground, camera, conditions.wetness)
        if self._bonnet is not None:
            self._bonnet.draw_on(picture, conditions)
        if conditions.rain:
            effects.rain_streaks(rng, picture, conditions.rain)
        return effects.finish(rng, picture, conditions, self._noise, speed_m_s, camera)


def _hazy(colors: Floats, depth: Floats, conditions: Conditions) -> Floats:
    """``colors`` [3, N] seen through ``depth`` metres [N] of haze; changed in place."""
    clear = np.exp(depth * np.float32(-conditions.extinction_per_m))
    for plane, haze in zip(colors, conditions.haze, strict=True):
        plane -= np.float32(haze)
        plane *= clear
        plane += np.float32(haze)
    return colors


def _displaced(
    rng: np.random.Generator, camera: PinholeCamera, reach_px: float
) -> NDArray[np.intp]:
    """For each pixel the flat index of another one about ``reach_px`` away, intp [H * W]."""
    shape = (camera.height, camera.width)
    dx = np.clip(np.round(rng.normal(0.0, reach_px / 2, shape)), -reach_px * 2, reach_px * 2)
    dy = np.clip(np.round(rng.normal(0.0, reach_px / 2, shape)), -reach_px * 2, reach_px * 2)
    column = np.clip(np.arange(camera.width) + dx, 0, camera.width - 1)
    row = np.clip(np.arange(camera.height)[:, None] + dy, 0, camera.height - 1)
    flat: NDArray[np.intp] = (row * camera.width + column).astype(np.intp).reshape(-1)
    return flat


def _street_lamps(mesh: Mesh) -> Floats:
    """Positions [L, 3] of the nearest street lamps, in metres."""
    rods = mesh.rods
    lamps = (rods["glow"] > shading.STREET_LAMP_GLOW) & (rods["label"] == ClassId.POLE)
    places = mesh.ends[lamps].mean(axis=1)
    nearest = np.argsort(np.abs(places[:, 0] - 15.0))[: shading.LAMP_COUNT]
    lamps_near: Floats = places[nearest]
    return lamps_near
