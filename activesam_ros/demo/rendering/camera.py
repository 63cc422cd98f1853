"""Pinhole cameras on the ego vehicle.

Vehicle frame (base_link): x forward, y left, z up, origin on the ground below the camera.
Optical frame: x right, y down, z forward (REP 103). Pixel centres have integer coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

# The first camera looks forward, the others to all sides.
CAMERA_YAWS_DEG = (0.0, 60.0, -60.0, 120.0, -120.0, 180.0, 90.0, -90.0)
FIELD_OF_VIEW_RANGE_DEG = (62.0, 82.0)
HEIGHT_RANGE_M = (1.25, 1.9)
PITCH_RANGE_DEG = (-1.0, 6.0)

# Columns: the optical axes x, y, z in vehicle coordinates, without yaw and pitch.
_OPTICAL_AXES: Matrix = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True, slots=True)
class PinholeCamera:
    """A camera without distortion. yaw_rad: to the left; pitch_rad: downwards."""

    width: int
    height: int
    focal_px: float
    mount_height_m: float
    pitch_rad: float
    yaw_rad: float

    @property
    def center_px(self) -> tuple[float, float]:
        """Principal point (x, y)."""
        return (self.width - 1) / 2.0, (self.height - 1) / 2.0

    @property
    def intrinsics(self) -> Matrix:
        """K [3, 3]."""
        cx, cy = self.center_px
        return np.array([[self.focal_px, 0.0, cx], [0.0, self.focal_px, cy], [0.0, 0.0, 1.0]])

    @property
    def link_rotation(self) -> Matrix:
        """Rotation from the camera link (x along the view, z up) to the vehicle [3, 3]."""
        cos_yaw, sin_yaw = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        cos_pitch, sin_pitch = math.cos(self.pitch_rad), math.sin(self.pitch_rad)
        yaw = np.array([[cos_yaw, -sin_yaw, 0.0], [sin_yaw, cos_yaw, 0.0], [0.0, 0.0, 1.0]])
        pitch = np.array(
            [[cos_pitch, 0.0, sin_pitch], [0.0, 1.0, 0.0], [-sin_pitch, 0.0, cos_pitch]]
        )
        rotation: Matrix = yaw @ pitch
        return rotation

    @property
    def rotation(self) -> Matrix:
        """Rotation from the optical frame to the vehicle [3, 3]."""
        rotation: Matrix = self.link_rotation @ _OPTICAL_AXES
        return rotation

    @property
    def looks_back(self) -> bool:
        """Whether the view may reach behind the vehicle."""
        half_view = math.atan(0.5 * self.width / self.focal_px)
        return abs(self.yaw_rad) + half_view > math.pi / 2

    def project(self, points: Matrix) -> Matrix:
        """Pixels [N, 2] of vehicle points [N, 3] in metres, which lie before the camera."""
        optical = (points - [0.0, 0.0, self.mount_height_m]) @ self.rotation
        pixels: Matrix = self.focal_px * optical[:, :2] / optical[:, 2:] + self.center_px
        return pixels


def drive_cameras(
    rng: np.random.Generator, width: int, height: int, count: int
) -> tuple[PinholeCamera, ...]:
    """``count`` cameras that share a mounting height, pitch and lens drawn from ``rng``."""
    field_of_view = math.radians(rng.uniform(*FIELD_OF_VIEW_RANGE_DEG))
    mount_height = rng.uniform(*HEIGHT_RANGE_M)
    pitch = math.radians(rng.uniform(*PITCH_RANGE_DEG))
    focal = width / 2.0 / math.tan(field_of_view / 2.0)
    return tuple(
        PinholeCamera(width, height, focal, mount_height, pitch, math.radians(yaw))
        for yaw in CAMERA_YAWS_DEG[:count]
    )
