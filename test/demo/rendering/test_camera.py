"""Geometry of the drive's cameras."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.demo.rendering.camera import PinholeCamera, drive_cameras
from activesam_ros.demo.rendering.raster import horizon_row

cameras = st.builds(
    PinholeCamera,
    width=st.just(640),
    height=st.just(384),
    focal_px=st.floats(200.0, 900.0),
    mount_height_m=st.floats(1.0, 2.5),
    pitch_rad=st.floats(-0.1, 0.2),
    yaw_rad=st.floats(-0.5, 0.5),
)


@given(camera=cameras)
def test_parallel_lines_meet_at_the_vanishing_point(camera: PinholeCamera) -> None:
    ahead = np.array([math.cos(camera.yaw_rad), math.sin(camera.yaw_rad), 0.0])
    aside = np.array([-ahead[1], ahead[0], 0.0])
    far = np.stack([1e7 * ahead + lane * aside for lane in (-5.0, 0.0, 5.0)])
    pixels = camera.project(far)
    assert pixels[:, 0] == pytest.approx([camera.center_px[0]] * 3, abs=0.01)
    assert pixels[:, 1] == pytest.approx([horizon_row(camera)] * 3, abs=0.01)


@given(camera=cameras, x=st.floats(5.0, 80.0), y=st.floats(-3.0, 3.0), z=st.floats(0.0, 3.0))
def test_projection_is_the_one_of_the_intrinsics(
    camera: PinholeCamera, x: float, y: float, z: float
) -> None:
    point = np.array([x, y, z])
    optical = camera.rotation.T @ (point - [0.0, 0.0, camera.mount_height_m])
    homogeneous = camera.intrinsics @ optical
    assert optical[2] > 0.0
    expected = homogeneous[:2] / homogeneous[2]
    assert camera.project(point[None])[0] == pytest.approx(expected, abs=1e-6)


@given(camera=cameras)
def test_rotations_are_rotations(camera: PinholeCamera) -> None:
    for rotation in (camera.rotation, camera.link_rotation):
        assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1.0)


def test_left_is_left_and_up_is_up() -> None:
    camera = drive_cameras(np.random.default_rng(0), 640, 384, 1)[0]
    ahead, left, high = camera.project(np.array([[20.0, 0, 1], [20.0, 3, 1], [20.0, 0, 4]]))
    assert left[0] < ahead[0]
    assert high[1] < ahead[1]
    turned = drive_cameras(np.random.default_rng(0), 640, 384, 2)[1]
    aside = np.array([[10 * math.cos(turned.yaw_rad), 10 * math.sin(turned.yaw_rad), 1.0]])
    assert turned.yaw_rad > 0.0
    assert turned.project(aside)[0, 0] == pytest.approx(turned.center_px[0])
