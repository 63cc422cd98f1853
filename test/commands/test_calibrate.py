"""activesam calibrate: the authors' signatures from their pool, resuming, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from activesam_ros.calibration import calibrate as calibration
from activesam_ros.cli import main
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.segmentation.signatures import read_signatures

VOCABULARIES = ("street_aliases", "voc20", "context59", "coco_object")
SAME = ("resolution", "tau", "preview_resolution", "preview_layers", "preview_queries")
OWN = ("core_high", "core_low", "min_pixels")


def arguments(folder: Path, golden: Path, name: str, output: Path) -> list[str]:
    recorded = json.loads((folder / f"{name}.signatures.json").read_text())
    vocabulary = folder / f"{name}.vocabulary.txt"
    settings = {key: recorded[key] for key in (*SAME, *OWN)}
    settings["screening_chunk"] = recorded["bucket_size"]
    if recorded["background_label"] is not None:
        lines = vocabulary.read_text().splitlines()
        settings["background_class"] = lines[recorded["background_label"]].split(",")[0]
    return [
        *("calibrate", str(folder / "pool"), "--vocabulary", str(vocabulary)),
        *("--weights", str(golden / "model.pt"), "--dtype", "float32", "--output", str(output)),
        *(word for key, value in settings.items() for word in ("--set", f"{key}={value}")),
    ]


@pytest.mark.parametrize("name", VOCABULARIES)
def test_the_authors_signatures(
    golden_dir: Path,
    golden_v2_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    output = tmp_path / "found.npz"
    assert main(arguments(golden_v2_dir, golden_dir, name, output)) == 0
    with (
        np.load(output) as found,
        np.load(golden_v2_dir / f"{name}.signatures.npz") as expected,
    ):
        for array in ("mass_argmax", "mass_excl"):
            assert np.abs(found[array] - expected[array]).max() <= 1
        few = expected["mass_argmax"][:, None] < 10
        assert (np.abs(found["R_a"] - expected["R_a"]) <= np.where(few, 1.1e-2, 4e-3)).all()
        assert np.abs(found["R_e"] - expected["R_e"]).max() <= 4e-3
        assert found["m_bg"] == pytest.approx(float(expected["m_bg"]), abs=1e-3, nan_ok=True)
    signatures = read_signatures(output)
    assert signatures.names is not None
    assert len(signatures.names) == len(signatures)
    assert signatures.weights
    printed = capsys.readouterr().out
    assert f"from 12 images, 0 could not be used; {signatures.calibrated.sum()} of" in printed
    assert not list(tmp_path.glob("*.partial"))


def test_an_interrupted_calibration_is_resumed(
    golden_dir: Path, golden_v2_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    of_image = calibration.image_sums

    def interrupted(segmenter: Segmenter, image: Any, settings: Any) -> Any:
        if len(seen) == 5:
            raise KeyboardInterrupt
        seen.append(image)
        return of_image(segmenter, image, settings)

    whole, resumed = tmp_path / "whole.npz", tmp_path / "resumed.npz"
    assert main(arguments(golden_v2_dir, golden_dir, "voc20", whole)) == 0
    command = arguments(golden_v2_dir, golden_dir, "voc20", resumed)
    monkeypatch.setattr(calibration, "image_sums", interrupted)
    assert main(command) == 130
    assert not resumed.exists()
    assert (tmp_path / "resumed.npz.partial").exists()
    # Another job does not take it over.
    assert main([*command, "--set", "tau=0.5"]) == 2

    def counted(segmenter: Segmenter, image: Any, settings: Any) -> Any:
        seen.append(image)
        return of_image(segmenter, image, settings)

    monkeypatch.setattr(calibration, "image_sums", counted)
    assert main(command) == 0
    assert len(seen) == 12
    with np.load(whole) as one, np.load(resumed) as other:
        for array in ("R_a", "R_e", "log_mass", "mass_argmax", "mass_excl"):
            assert (one[array] == other[array]).all()
    assert not (tmp_path / "resumed.npz.partial").exists()


def test_every_and_limit_choose_images_and_broken_ones_are_counted(
    golden_dir: Path, golden_v2_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = tmp_path / "pool"
    shutil.copytree(golden_v2_dir / "pool", pool)
    (pool / "02.png").write_bytes((pool / "02.png").read_bytes()[:200])
    command = arguments(golden_v2_dir, golden_dir, "voc20", tmp_path / "some.npz")
    command[1] = str(pool)
    assert main([*command, "--every", "2", "--limit", "3"]) == 0
    assert "from 2 images, 1 could not be used" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--every", "0"], "--every 0 must be 1 or more"),
        (["--limit", "0"], "--limit 0 must be 1 or more"),
        (["--set", "core_high=2"], "core_high=2.0 is out of range"),
        (["--set", "core_high"], "has no '='"),
        (["--set", "background_class=cow2"], "has no class 'cow2'"),
    ],
)
def test_bad_arguments_are_refused(
    golden_dir: Path,
    golden_v2_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    extra: list[str],
    message: str,
) -> None:
    command = arguments(golden_v2_dir, golden_dir, "voc20", tmp_path / "x.npz")
    assert main([*command, *extra]) == 2
    assert message in capsys.readouterr().err


def test_an_older_file_stays_unless_told(
    golden_dir: Path, golden_v2_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "mine.npz"
    output.write_bytes(b"mine")
    assert main(arguments(golden_v2_dir, golden_dir, "voc20", output)) == 2
    assert "exists" in capsys.readouterr().err
    assert output.read_bytes() == b"mine"
