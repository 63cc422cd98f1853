"""Effects of lens, weather and sensor on a picture: float planes [3, H, W], 1 is white."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.demo.rendering.camera import PinholeCamera
from activesam_ros.demo.rendering.raster import horizon_row
from activesam_ros.demo.world.weather import Conditions

# Grey level above which highlights are compressed.
KNEE = 205.0

Picture = NDArray[np.floating[Any]]


def reflect_in_wet_road(
    picture: Picture, ground: NDArray[np.bool_], camera: PinholeCamera, wetness: float
) -> None:
    """Mix the mirror image of what is above the horizon into the wet ground, in place."""
    height = camera.height
    mirror = np.clip((2.0 * horizon_row(camera) - np.arange(height)).astype(int), 0, height - 1)
    weight = ground * np.float32(0.30 * wetness)
    for plane in picture:
        mirrored = np.asarray(cv2.blur(plane[mirror], (3, 31)))
        mirrored -= plane
        mirrored *= weight
        plane += mirrored


def bloom(picture: Picture, emitted: Picture, strength: float) -> None:
    """Add the emitted light and a glow around it to ``picture``, in place."""
    size = (picture.shape[2], picture.shape[1])
    for plane, light in zip(picture, emitted, strict=True):
        small = cv2.resize(light, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        wide = cv2.GaussianBlur(small, (0, 0), 2.5) * np.float32(0.9 * strength)
        plane += light
        plane += cv2.resize(np.asarray(wide), size, interpolation=cv2.INTER_LINEAR)


def rain_streaks(rng: np.random.Generator, picture: Picture, rain: float) -> None:
    """Draw thin slanted streaks, brighter than the picture behind them, in place."""
    _, height, width = picture.shape
    layer = np.zeros((height, width), np.uint8)
    count = int(rain * height * width / 1400)
    slant = float(rng.uniform(-0.25, 0.25))
    x, y = rng.integers(0, width, count), rng.integers(-20, height, count)
    length = rng.integers(4, max(6, height // 18), count)
    ends = np.stack([x, y, (x + slant * length).astype(int), y + length], axis=1)
    cv2.polylines(layer, list(ends.reshape(-1, 2, 2).astype(np.int32)), False, 255)
    brightness = 0.14 * rain * (0.35 + float(picture[1, ::4, ::4].mean())) / 255.0
    soft = np.asarray(cv2.blur(layer, (2, 3)), np.float32) * np.float32(brightness)
    for plane in picture:
        plane += soft


def finish(
    rng: np.random.Generator,
    picture: Picture,
    conditions: Conditions,
    noise_tile: NDArray[np.int16],
    speed_m_s: float,
    camera: PinholeCamera,
) -> NDArray[np.uint8]:
    """Apply exposure, lens, motion blur and sensor noise; returns uint8 RGB [H, W, 3]."""
    offset = np.float32(110.0 * (1.0 - conditions.contrast))
    planes = []
    for plane, balance in zip(picture, conditions.white_balance, strict=True):
        plane *= np.float32(balance * conditions.exposure * 255.0 * conditions.contrast)
        plane += offset
        # Highlights are compressed before they are clipped.
        np.minimum(plane, plane * np.float32(0.4) + np.float32(0.6 * KNEE), out=plane)
        planes.append(np.clip(plane, 0.0, 255.0, out=plane).astype(np.uint8))
    pixels = np.asarray(cv2.merge(planes))
    sigma = conditions.blur_px * camera.width / 640.0
    if sigma > 0.3:
        pixels = np.asarray(cv2.GaussianBlur(pixels, (3, 3), sigma))
    if speed_m_s > 1.0:
        pixels = _zoom_blur(pixels, speed_m_s, conditions, camera)
    height, width = pixels.shape[:2]
    top = int(rng.integers(0, noise_tile.shape[0] - height + 1))
    left = int(rng.integers(0, noise_tile.shape[1] - width + 1))
    noise = noise_tile[top : top + height, left : left + width]
    noisy = cv2.addWeighted(pixels, 1.0, noise, conditions.noise_level / 64.0, 0.0, dtype=cv2.CV_8U)
    return np.asarray(noisy)


def _zoom_blur(
    pixels: NDArray[np.uint8], speed_m_s: float, conditions: Conditions, camera: PinholeCamera
) -> NDArray[np.uint8]:
    """Motion blur: the picture grows out of the vanishing point while the shutter is open."""
    shutter_s = 0.016 if conditions.lamps >= 1.0 else 0.006
    scale = 1.0 + 0.10 * speed_m_s * shutter_s
    cx = camera.center_px[0] + camera.focal_px * math.tan(camera.yaw_rad) * (
        1.0 if abs(camera.yaw_rad) < 0.2 else 0.0
    )
    cy = horizon_row(camera)
    zoom = np.array([[scale, 0.0, cx * (1 - scale)], [0.0, scale, cy * (1 - scale)]])
    moved = cv2.warpAffine(
        pixels, zoom, (pixels.shape[1], pixels.shape[0]), borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cv2.addWeighted(pixels, 0.5, moved, 0.5, 0.0))


def noise_tile(rng: np.random.Generator, height: int, width: int) -> NDArray[np.int16]:
    """Sensor noise with grain, deviation 64, int16 [H + 64, W + 64, 3]; each frame shows a part."""
    shape = (height + 64, width + 64, 3)
    noise = rng.standard_normal(shape, np.float32)
    noise = 0.85 * noise + 0.5 * np.asarray(cv2.blur(noise, (2, 2)))
    return np.asarray(noise * 64.0, np.int16)
