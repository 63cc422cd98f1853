"""Pictures of a run: what is on them, and how long each shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from activesam_ros.demo.live.pictures import Shot, Style, picture, spread, write_gif

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


def test_the_animation_lasts_as_long_as_the_drive_and_keeps_exact_colours(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (40, 60, 3)).astype(np.uint8) for _ in range(3)]
    for entry in pictures:
        entry[:10] = PALETTE[0]
    stamps_ns = [0, 200_000_000, 700_000_000]
    write_gif(tmp_path / "a.gif", pictures, stamps_ns, [PALETTE[0]])
    with Image.open(tmp_path / "a.gif") as animation:
        assert animation.n_frames == 3  # type: ignore[attr-defined]
        durations = []
        for number in range(3):
            animation.seek(number)
            durations.append(animation.info["duration"])
            assert animation.convert("RGB").getpixel((5, 5)) == PALETTE[0]
    assert durations == [200, 500, 1000]
