from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from activesam_ros.errors import UsageError
from training.curve import draw_curve, smoothed


def test_the_curve_falls_from_left_to_right(tmp_path: Path) -> None:
    log, picture = tmp_path / "curve.jsonl", tmp_path / "curve.png"
    lines = [{"step": step, "loss": 10.0 / step} for step in range(1, 101)]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    draw_curve(log, picture)
    drawn = cv2.imread(str(picture))
    assert drawn is not None
    dark = (drawn.max(axis=2) < 60)[60:480, 60:760]
    height = [np.flatnonzero(column).mean() for column in dark.T if column.any()]
    assert height[0] < height[len(height) // 2] < height[-1]


def test_a_log_without_lines_is_refused(tmp_path: Path) -> None:
    (tmp_path / "curve.jsonl").write_text("")
    with pytest.raises(UsageError, match="has no lines"):
        draw_curve(tmp_path / "curve.jsonl", tmp_path / "curve.png")


def test_smoothing_keeps_the_mean_of_neighbours() -> None:
    values = smoothed(np.arange(20, dtype=np.float64))
    assert values[10] == pytest.approx(10)
    assert values[0] == pytest.approx(2)
