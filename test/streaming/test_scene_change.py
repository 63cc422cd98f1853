"""Another scene is told from motion, exposure and white balance."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from activesam_ros.settings import Settings
from activesam_ros.streaming.scene_change import SIDE, difference, thumbnail

THRESHOLD = Settings().scene_change_threshold


def street(shift: int = 0) -> NDArray[np.uint8]:
    """Sky over a road with walls left and right, looking ``shift`` pixels to the side."""
    image = np.full((120, 160, 3), (150, 190, 240), np.uint8)
    image[60:] = (90, 90, 95)
    image[30:80, : 50 + shift] = (120, 80, 60)
    image[20:85, 110 + shift :] = (60, 110, 50)
    return image


def test_a_thumbnail_is_the_mean_colours_of_the_tiles() -> None:
    image = np.zeros((80, 160, 3), np.uint8)
    image[:40, :80, 0] = 255
    red = np.array(thumbnail(image)).reshape(3, SIDE, SIDE)
    assert red[0, 0, 0] == pytest.approx(1.0, abs=0.01)
    assert red[0, :, -1] == pytest.approx(0.0, abs=0.01)
    assert red[1:] == pytest.approx(0.0, abs=0.01)


def test_the_same_frame_differs_by_nothing() -> None:
    assert difference(thumbnail(street()), thumbnail(street())) == 0.0


def test_motion_and_exposure_are_no_other_scene() -> None:
    before = thumbnail(street())
    assert difference(before, thumbnail(street(shift=8))) < THRESHOLD / 2
    brighter = np.clip(street().astype(int) + 40, 0, 255).astype(np.uint8)
    assert difference(before, thumbnail(brighter)) < THRESHOLD / 2


def test_a_cut_is_another_scene() -> None:
    night = np.full((120, 160, 3), 15, np.uint8)
    night[70:, 60:100] = (240, 220, 160)
    upside_down = np.ascontiguousarray(street()[::-1])
    for other in (night, upside_down):
        assert difference(thumbnail(street()), thumbnail(other)) > THRESHOLD
