"""Pictures of a run: what is on them, and how long each shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from activesam_ros.demo.live.pictures import Shot, Style, picture, spread, write_animation

PALETTE = {0: (128, 64, 128), 1: (70, 130, 180)}
STYLE = Style(PALETTE, (("road", PALETTE[0]), ("sky", PALETTE[1])), {0: "0.0 s"}, None)


def shot(height: int, width: int) -> Shot:
    image = np.full((height, width, 3), 100, np.uint8)
    return Shot(0, 0, image, np.zeros((height, width), np.uint8))


def test_image_and_overlay_stand_side_by_side() -> None:
    drawn = picture(shot(100, 160), STYLE, panel_px=160)
    assert drawn.shape[1] == 320
    assert (drawn[:100, :160] == 100).all()
    # 55 % of the class colour over the image
    assert (np.abs(drawn[:100, 160:] - np.array([115.4, 80.2, 115.4])) <= 1).all()


def test_a_wide_image_stands_above_its_overlay() -> None:
    drawn = picture(shot(50, 400), STYLE, panel_px=400)
    assert drawn.shape[1] == 400
    assert (drawn[:50] == 100).all()
    assert not (drawn[50:100] == 100).any()


def test_a_large_image_is_shrunk_and_the_banner_is_on_top() -> None:
    style = Style(PALETTE, STYLE.legend, {}, "UNTRAINED")
    drawn = picture(shot(600, 1200), style, panel_px=300)
    assert drawn.shape[1] == 600
    assert tuple(drawn[0, 0]) == (200, 0, 0)
    assert (drawn[:60] == 255).all(axis=2).any()


@pytest.mark.parametrize(
    ("count", "wanted", "expected"),
    [(0, 3, set()), (1, 3, {0}), (3, 8, {0, 1, 2}), (9, 3, {0, 4, 8})],
)
def test_frames_are_spread_evenly(count: int, wanted: int, expected: set[int]) -> None:
    assert spread(count, wanted) == expected


def frames_of(path: Path) -> tuple[list[NDArray[np.uint8]], list[int]]:
    """The pictures of an animation, and how long each shows [ms]."""
    pictures, durations = [], []
    with Image.open(path) as animation:
        for frame in ImageSequence.Iterator(animation):
            pictures.append(np.asarray(frame.convert("RGB")))
            durations.append(frame.info["duration"])
    return pictures, durations


def test_the_animation_lasts_as_long_as_the_drive(tmp_path: Path) -> None:
    pictures = [np.full((40, 60, 3), level, np.uint8) for level in (0, 100, 200)]
    write_animation(tmp_path / "a.webp", pictures, [0, 200_000_000, 700_000_000])
    shown, durations = frames_of(tmp_path / "a.webp")
    assert durations == [200, 500, 1000]
    for wanted, found in zip(pictures, shown, strict=True):
        assert np.abs(found.astype(int) - wanted).max() <= 4


def test_a_colour_of_one_frame_stays_that_colour(tmp_path: Path) -> None:
    """With one palette for all frames, a small yellow sign of one frame turned green."""
    random = np.random.default_rng(0)
    yellow = np.array([220, 220, 0])
    pictures = [
        random.integers((0, 60, 0), (120, 200, 120), (96, 128, 3)).astype(np.uint8)
        for _ in range(24)
    ]
    pictures[7][40:56, 40:56] = yellow
    write_animation(tmp_path / "a.webp", pictures, [place * 10**8 for place in range(24)])
    shown, _ = frames_of(tmp_path / "a.webp")
    assert np.abs(shown[7][42:54, 42:54].astype(int) - yellow).max() <= 24
    assert np.abs(shown[6][42:54, 42:54].astype(int) - pictures[6][42:54, 42:54]).mean() <= 24
