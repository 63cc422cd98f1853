"""The benchmark of exclusive concept decoding, on a small image."""

from __future__ import annotations

import pytest
import torch

from activesam_ros.segmentation.fuse import score_map
from benchmarks.concepts import main, scene


def test_a_line_for_each_number_of_classes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--classes", "1,3", "--size", "50x40", "--repeats", "1"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("1 classes, 50x40, cpu: ")
    assert second.startswith("3 classes, 50x40, cpu: ")


def test_every_class_of_the_scene_wins_somewhere() -> None:
    evidence = scene(8, torch.device("cpu")).evidence()
    assert [place for place, _ in evidence] == list(range(8))
    scores = torch.stack([score_map(one, (90, 160)) for _, one in evidence])
    assert len(scores.argmax(dim=0).unique()) == 8
