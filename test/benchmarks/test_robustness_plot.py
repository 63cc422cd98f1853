"""The table and the plot of methods under corruptions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.robustness_plot import COLORS, main


def results(folder: Path, figures: dict[str, tuple[float | None, float]], signatures: str) -> Path:
    """A folder with the results of a run: by method its mIoU, clean and with fog."""

    def entry(value: float | None) -> dict[str, Any]:
        return {
            "miou_of_labelled_classes": value,
            "per_class_iou": {"road": 0.5, "sky": None},
            "frames": 3,
            "active_classes_mean": 2.0,
            "pixel_accuracy": 0.9,
            "classes_lost_by_pruning": 0,
        }

    fog = {method: entry(second) for method, (_, second) in figures.items()}
    content = {
        "methods": {method: entry(first) for method, (first, _) in figures.items()},
        "corruptions": {"runs": {"fog:5": {"methods": fog}}},
        "settings": {method: {"signatures": signatures} for method in figures},
        "vocabulary": {"name": "driving"},
    } | dict.fromkeys(("recording", "weights", "machine", "finished"), "known")
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(content))
    return folder


def test_runs_of_a_vocabulary_share_a_table(tmp_path: Path) -> None:
    plain = results(tmp_path / "plain", {"full": (0.5, 0.1), "activesam2": (0.4, 0.2)}, "")
    signed = results(tmp_path / "signed", {"activesam2": (0.25, 0.05)}, "log.npz")
    assert main([str(plain), str(signed), "--output", str(tmp_path / "driving")]) == 0
    assert (tmp_path / "driving.md").read_text().splitlines() == [
        "| driving | clean | fog:5 |",
        "|---|---|---|",
        "| full | 50.0 | 10.0 |",
        "| activesam2 | 40.0 | 20.0 |",
        "| activesam2 + signatures | 25.0 | 5.0 |",
    ]
    kept = json.loads((tmp_path / "driving.json").read_text())
    assert kept["labelled_miou"]["driving"]["activesam2"] == {"clean": 0.4, "fog:5": 0.2}
    assert kept["runs"][1]["clean"]["activesam2"]["iou"] == {"road": 0.5}
    picture = cv2.imread(str(tmp_path / "driving.png"))
    assert picture is not None
    # Bars are as high as their values: count the pixels of each colour below the legend.
    area = {
        name: int((picture[30:] == np.array(COLORS[name][::-1])).all(axis=2).sum())
        for name in ("full", "activesam2", "activesam2 + signatures")
    }
    assert area["full"] / area["activesam2"] == pytest.approx(1.0, abs=0.05)
    assert area["activesam2 + signatures"] / area["full"] == pytest.approx(0.5, abs=0.05)


def test_refuses_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = results(tmp_path / "one", {"full": (0.5, 0.1)}, "")
    unlabelled = results(tmp_path / "unlabelled", {"full": (None, 0.1)}, "")
    output = ("--output", str(tmp_path / "out"))
    for folders, message in (
        ((one, one), "Two runs are of full with driving"),
        ((unlabelled,), "no ground truth"),
        ((tmp_path / "none",), "cannot be read"),
    ):
        assert main([*map(str, folders), *output]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert not list(tmp_path.glob("out*"))
