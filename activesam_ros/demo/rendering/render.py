"""One picture of the world with its labels and instances."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from activesam_ros.demo.rendering import effects, shading
from activesam_ros.demo.rendering.bonnet import draw_bonnet
from activesam_ros.demo.rendering.camera import Camera
from activesam_ros.demo.rendering.raster import FIRST_FACE_ID, GROUND_ID, draw
from activesam_ros.demo.rendering.shading import Lighting, Rays
from activesam_ros.demo.world.classes import ClassId
from activesam_ros.demo.world.mesh import Floats
from activesam_ros.demo.world.weather import Conditions
from activesam_ros.demo.world.world import Scene, World


@dataclass(frozen=True)
class View:
    """image: uint8 RGB [H, W, 3]; labels: uint8 [H, W]; instances: uint16 [H, W], 0 for none."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    instances: NDArray[np.uint16]


class Renderer:
    """Renders the views of one camera; keeps what does not change between frames."""

    def __init__(self, world: World, camera: Camera, noise_key: tuple[int, ...]) -> None:
        self._world = world
        self._camera = camera
        self._key = noise_key
        rng = np.random.default_rng([*noise_key, 0])
        self._noise = effects.noise_tile(rng, camera.height, camera.width)
        self._bonnet = draw_bonnet(np.random.default_rng([world.seed, 12]), camera)
        scale = camera.focal_px / 512.0
        self._displaced = _displaced(rng, camera, max(1.0, 4.0 * scale))
        self._finely_displaced = _displaced(rng, camera, max(0.8, 1.3 * scale))

    def view(self, scene: Scene, index: int) -> View:
        """What the camera sees of ``scene``; ``index`` is the frame's number, for the noise."""
        rng = np.random.default_rng([*self._key, 1, index])
        camera = self._shaken(rng, scene)
        conditions = self._world.conditions
        rays = Rays.of_camera(camera)
        visible = draw(scene.mesh, camera)
        ids = shading.ragged_leaves(visible, self._displaced, self._finely_displaced)
        sky, ground, faces = shading.split_pixels(ids)
        cast, shadow = shading.shadow_masks(scene.mesh, camera, scene.sun, conditions)
        lighting = Lighting(conditions, scene.sun, _street_lamps(scene), cast, shadow)
        floor = shading.ground_pixels(ground, rays, camera, scene.window)
        surfaces = self._world.ground.surfaces
        picture = np.empty((3, len(ids)), np.float32)
        picture[:, sky] = shading.sky_colors(
            sky, rays, self._world.clouds, lighting, scene.heading, drift=0.02 * index
        )
        floor_colors = shading.ground_colors(
            floor, ground, surfaces, self._world.atlas, camera, lighting, scene.window.first_s
        )
        picture[:, ground] = _hazy(floor_colors, floor.distance, conditions)
        rows = ids.take(faces) - FIRST_FACE_ID
        colors, emission, depth = shading.face_colors(
            faces, rows, visible, scene.mesh, self._world.atlas, camera, lighting
        )
        picture[:, faces] = _hazy(colors, depth, conditions)
        emitted = np.zeros_like(picture) if conditions.lamps else picture
        emitted[:, faces.take(emission.where)] += emission.light
        label_of = np.array([surface.label for surface in surfaces], np.uint8)
        labels, instances = shading.labels_and_instances(
            ids, visible, scene.mesh, label_of.take(floor.material)
        )
        shape = (camera.height, camera.width)
        image = self._exposed(
            rng,
            picture.reshape(3, *shape),
            emitted.reshape(3, *shape),
            scene,
            camera,
            (ids == GROUND_ID).reshape(shape),
        )
        labels, instances = labels.reshape(shape), instances.reshape(shape)
        if self._bonnet is not None:
            labels[self._bonnet.mask] = ClassId.UNLABELLED
            instances[self._bonnet.mask] = 0
        return View(image, labels, instances)

    def _shaken(self, rng: np.random.Generator, scene: Scene) -> Camera:
        """The camera with the vehicle's small pitching."""
        amount = 0.0004 + 0.0002 * min(scene.speed, 15.0) / 15.0
        pitch = self._camera.pitch_rad + float(rng.normal(0.0, amount))
        return replace(self._camera, pitch_rad=pitch)

    def _exposed(
        self,
        rng: np.random.Generator,
        picture: Floats,
        emitted: Floats,
        scene: Scene,
        camera: Camera,
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
        return effects.finish(rng, picture, conditions, self._noise, scene.speed, camera)


def _hazy(colors: Floats, depth: Floats, conditions: Conditions) -> Floats:
    """``colors`` [3, N], changed in place, as seen through ``depth`` metres of haze."""
    clear = np.exp(depth * np.float32(-conditions.extinction_per_m))
    for plane, haze in zip(colors, conditions.haze, strict=True):
        plane -= np.float32(haze)
        plane *= clear
        plane += np.float32(haze)
    return colors


def _displaced(rng: np.random.Generator, camera: Camera, reach_px: float) -> NDArray[np.intp]:
    """For every pixel the flat index of one up to about ``reach_px`` away [H * W]."""
    shape = (camera.height, camera.width)
    dx = np.clip(np.round(rng.normal(0.0, reach_px / 2, shape)), -reach_px * 2, reach_px * 2)
    dy = np.clip(np.round(rng.normal(0.0, reach_px / 2, shape)), -reach_px * 2, reach_px * 2)
    column = np.clip(np.arange(camera.width) + dx, 0, camera.width - 1)
    row = np.clip(np.arange(camera.height)[:, None] + dy, 0, camera.height - 1)
    flat: NDArray[np.intp] = (row * camera.width + column).astype(np.intp).reshape(-1)
    return flat


def _street_lamps(scene: Scene) -> Floats:
    """Positions [L, 3] of the nearest street lamps."""
    rods = scene.mesh.rods
    lamps = (rods["glow"] > shading.STREET_LAMP_GLOW) & (rods["label"] == ClassId.POLE)
    places = scene.mesh.ends[lamps].mean(axis=1)
    nearest = np.argsort(np.abs(places[:, 0] - 15.0))[: shading.LAMP_COUNT]
    lamps_near: Floats = places[nearest]
    return lamps_near
