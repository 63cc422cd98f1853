"""Pictures and labels of the world (first version: flat boxes)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.demo.camera import Camera
from activesam_ros.demo.classes import ClassId
from activesam_ros.demo.world import World


@dataclass(frozen=True)
class View:
    """Image, labels and instances of one camera."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    instances: NDArray[np.uint16]


def render(world: World, camera: Camera, time_s: float, noise_key: tuple[int, ...]) -> View:
    """The view of ``camera`` at ``time_s``."""
    image = np.full((camera.height, camera.width, 3), (150, 180, 220), np.uint8)
    labels = np.full((camera.height, camera.width), ClassId.SKY, np.uint8)
    instances = np.zeros((camera.height, camera.width), np.uint16)

    def fill(
        corners: NDArray[np.float64], color: tuple[int, int, int], label: int, number: int
    ) -> None:
        optical = (corners - [0.0, 0.0, camera.mount_height_m]) @ camera.rotation
        if (optical[:, 2] < 0.5).any():
            return
        pixels = np.round(camera.project(corners)).clip(-20000, 20000).astype(np.int32)
        hull = cv2.convexHull(pixels)
        cv2.fillConvexPoly(image, hull, color)
        cv2.fillConvexPoly(labels, hull, label)
        cv2.fillConvexPoly(instances, hull, number)

    def ground(left: float, right: float, color: tuple[int, int, int], label: int) -> None:
        for near, far in ((1.5, 6.0), (6.0, 400.0)):
            quad = np.array([[near, left, 0], [far, left, 0], [far, right, 0], [near, right, 0.0]])
            fill(quad, color, label, 0)

    ground(200.0, -200.0, (90, 110, 60), ClassId.TERRAIN)
    ground(9.0, -9.0, (150, 140, 140), ClassId.SIDEWALK)
    ground(5.5, -5.5, (90, 90, 95), ClassId.ROAD)
    ego = world.ego_x(time_s)
    placed = [
        (box.x + box.speed * time_s - ego, number, box) for number, box in enumerate(world.boxes)
    ]
    for x, number, box in sorted(placed, key=lambda entry: entry[:2], reverse=True):
        if 2.0 < x < 150.0:
            half = np.array(box.size) / 2
            signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (0, 2)])
            fill(np.array([x, box.y, 0]) + signs * half, box.color, box.label, number + 1)
    noise = np.random.default_rng(noise_key).normal(0.0, 4.0, image.shape)
    return View(np.clip(image + noise, 0, 255).astype(np.uint8), labels, instances)
