"""An evaluation of a dataset that is interrupted, killed and repeated."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from activesam_ros.cli import main
from activesam_ros.execution.task import Part

if TYPE_CHECKING:
    from test.evaluation.conftest import Interruptions


def write_voc(root: Path, images: int) -> None:
    """A Pascal VOC folder of random images and labels."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    random = np.random.default_rng(5)
    for place in range(images):
        image = cv2.resize(random.integers(0, 256, (4, 6, 3), np.uint8), (48, 32))
        cv2.imwrite(str(root / f"JPEGImages/{place}.jpg"), image)
        labels = random.integers(0, 21, (32, 48), np.uint8)
        cv2.imwrite(str(root / f"SegmentationClass/{place}.png"), labels)
    stems = "".join(f"{place}\n" for place in range(images))
    (root / "ImageSets/Segmentation/val.txt").write_text(stems)


def test_a_dataset_interrupted_and_killed_gives_what_it_gives_in_one_go(
    weights: Path,
    tmp_path: Path,
    interruptions: Interruptions,
    done_here: list[Part],
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_voc(tmp_path / "voc", interruptions.images)
    whole, output = tmp_path / "whole", tmp_path / "output"
    command = (
        f"evaluate dataset voc21 --root {tmp_path}/voc --weights {weights} --device cpu "
        f"--threads 1 --cache-dir {tmp_path} --output"
    ).split()
    assert main([*command, str(whole)]) == 0
    command.append(str(output))
    assert interruptions.die("SIGINT", 1, command) == 130
    first = interruptions.kept(output)
    assert first == [0]
    local = [*command, "--executor", "local", "--workers", "2"]
    assert interruptions.die("SIGKILL", 3, local) == -signal.SIGKILL
    before = interruptions.kept(output)
    assert set(first) < set(before)
    assert 3 <= len(before) < interruptions.images
    done_here.clear()
    capsys.readouterr()
    assert main(command) == 0
    assert f"has {len(before)} images of this evaluation" in capsys.readouterr().err
    done = interruptions.places(done_here)
    assert sorted([*before, *done]) == list(range(interruptions.images))
    assert interruptions.results(output) == interruptions.results(whole)
    assert [path.name for path in output.iterdir()] == ["results.json"]
