"""Whole frames of ActiveSAM 2 against the authors' code (test/data/golden/v2)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from activesam_ros.image_files import read_image
from activesam_ros.pipeline import Network
from activesam_ros.segmentation.segmenter import Segmenter
from benchmarks.check_golden import check_case, golden_segmenter, main

CASES = (
    *("aliases_background", "background_rejected", "none_passes", "none_passes_background"),
    *("one_window_preview", "screening", "tau_zero"),
)


@pytest.mark.parametrize("name", CASES)
def test_a_frame_equals_the_authors(network: Network, golden_v2_dir: Path, name: str) -> None:
    differences = list(check_case(network, golden_v2_dir, name))
    assert [one for one in differences if not one.holds] == []
    assert {one.array for one in differences} >= {"survivors", "scores", "labels_ecd"}


def segmenter_of(network: Network, folder: Path, name: str) -> Segmenter:
    recorded = json.loads((folder / f"{name}.json").read_text())
    with np.load(folder / f"{name}.npz") as arrays:
        return golden_segmenter(network, folder, recorded, dict(arrays))


@pytest.mark.parametrize("bucket_size", [1, 3, 64])
@pytest.mark.parametrize("name", ["background_rejected", "none_passes_background"])
def test_the_bucket_size_changes_no_result(
    network: Network, golden_v2_dir: Path, name: str, bucket_size: int
) -> None:
    segmenter = segmenter_of(network, golden_v2_dir, name)
    image = read_image(golden_v2_dir / f"{name}.png")
    expected = segmenter.with_bucket_size(32).segment(image)
    result = segmenter.with_bucket_size(bucket_size).segment(image)
    assert result.active_queries == expected.active_queries
    assert result.admitted_queries == expected.admitted_queries
    assert (result.labels == expected.labels).mean() > 0.998  # rounding depends on the batch


def test_pinned_classes_survive(network: Network, golden_v2_dir: Path) -> None:
    segmenter = segmenter_of(network, golden_v2_dir, "screening")
    image = read_image(golden_v2_dir / "screening.png")
    before = segmenter.segment(image)
    names = segmenter.prompts.vocabulary.queries
    rejected = next(q for q in before.admitted_queries if q not in before.active_queries)
    unseen = next(q for q in range(len(names)) if q not in before.admitted_queries)
    pinned = segmenter.with_settings(
        segmenter.settings.replace({"pinned": (names[rejected], names[unseen])})
    )
    after = Segmenter.segment(pinned, image)
    assert {rejected, unseen} <= set(after.active_queries)


def test_the_command_tells_data_apart_that_differ(
    golden_dir: Path, golden_v2_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in golden_v2_dir.glob("none_passes.*"):
        shutil.copy(path, tmp_path)
    for path in golden_v2_dir.glob("voc20.*"):
        shutil.copy(path, tmp_path)
    command = ["activesam2", str(tmp_path), "--weights", str(golden_dir / "model.pt")]
    assert main(command) == 0
    assert "ABOVE" not in capsys.readouterr().out
    with np.load(tmp_path / "none_passes.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "none_passes.npz", **arrays | {"labels_ecd": arrays["labels_ecd"] + 1})
    assert main(command) == 1
    assert "labels_ecd" in capsys.readouterr().out
    assert main(["activesam2", str(tmp_path / "nothing"), *command[2:]]) == 2
