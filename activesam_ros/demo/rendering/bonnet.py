"""The ego vehicle's own bonnet at the lower edge of the picture, unlabelled."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.demo.rendering.camera import PinholeCamera
from activesam_ros.demo.world.mesh import Floats, Tint
from activesam_ros.demo.world.vehicles import random_paint
from activesam_ros.demo.world.weather import Conditions

SHARE_OF_DRIVES = 0.3
HEIGHT_RANGE = (0.04, 0.12)


@dataclass(frozen=True)
class Bonnet:
    """mask: [H, W] where it is; shade: [H, W] its brightness."""

    mask: NDArray[np.bool_]
    shade: Floats
    paint: Tint

    def draw_on(self, picture: Floats, conditions: Conditions) -> None:
        """Paint the bonnet over ``picture`` [3, H, W] in place; it mirrors the sky a little."""
        height, width = self.mask.shape
        light = np.array(conditions.ambient) + 0.6 * np.array(conditions.sun)
        rows = np.flatnonzero(self.mask.any(axis=1))
        for plane, level in zip(picture, (np.array(self.paint) * light).tolist(), strict=True):
            upper = np.asarray(cv2.resize(plane[: height // 3], (width, len(rows))))
            mirrored = np.asarray(cv2.blur(upper[::-1], (25, 9)))
            lacquer = self.shade[rows] * level + 0.22 * mirrored
            np.copyto(plane[rows[0] : rows[-1] + 1], lacquer, where=self.mask[rows])


def draw_bonnet(rng: np.random.Generator, camera: PinholeCamera) -> Bonnet | None:
    """The bonnet of the drive's vehicle, None where this camera does not see it."""
    seen = rng.random() < SHARE_OF_DRIVES
    top = rng.uniform(*HEIGHT_RANGE) * camera.height
    paint = random_paint(rng)
    if not seen or camera.yaw_rad != 0.0:
        return None
    cx, _ = camera.center_px
    across = np.abs(np.arange(camera.width) - cx) / (0.62 * camera.width)
    rise = top * (1.0 - across**2.5)
    below = np.arange(camera.height)[:, None] - (camera.height - rise[None, :])
    ridge = 0.12 * np.exp(-(((across - 0.45) * 14.0) ** 2))
    shade = np.clip(0.95 - 0.35 * below / max(top, 1.0) + ridge[None, :], 0.4, 1.3)
    return Bonnet(below >= 0.0, shade.astype(np.float32), paint)
