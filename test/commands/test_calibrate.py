"""activesam calibrate: the authors' signatures from their pool, resuming, refusals."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from activesam_ros.calibration import worker
from activesam_ros.calibration.estimator import (
    CalibrationSettings,
    Group,
    SignatureSums,
    signatures_of,
)
from activesam_ros.calibration.images import CalibrationImages
from activesam_ros.cli import main
from activesam_ros.commands import calibrate
from activesam_ros.commands.calibrate import summary
from activesam_ros.execution.executors import InProcess
from activesam_ros.execution.local_processes import LocalExecutor
from activesam_ros.execution.task import Part
from activesam_ros.pipeline import NetworkOptions
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.sam3.checkpoint import weights_fingerprint
from activesam_ros.segmentation.methods import Method, default_settings
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.segmentation.signatures import read_signatures

if TYPE_CHECKING:
    from test.fixtures.signature_fixtures import SignatureFile

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
    counts = f"signatures of {signatures.calibrated.sum()} of {len(signatures)} classes"
    assert f"{counts}, from 12 images; 0 could not be used." in printed
    assert not list(tmp_path.glob("*.partial"))


def test_an_interrupted_calibration_is_resumed(
    golden_dir: Path, golden_v2_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    of_image = worker.image_sums

    def interrupted(segmenter: Segmenter, image: Any, settings: Any) -> Any:
        if len(seen) == 5:
            raise KeyboardInterrupt
        seen.append(image)
        return of_image(segmenter, image, settings)

    whole, resumed = tmp_path / "whole.npz", tmp_path / "resumed.npz"
    assert main(arguments(golden_v2_dir, golden_dir, "voc20", whole)) == 0
    command = arguments(golden_v2_dir, golden_dir, "voc20", resumed)
    monkeypatch.setattr(worker, "image_sums", interrupted)
    assert main(command) == 130
    assert not resumed.exists()
    assert (tmp_path / "resumed.npz.partial").exists()
    # Another job does not take it over.
    assert main([*command, "--set", "tau=0.5"]) == 2

    def counted(segmenter: Segmenter, image: Any, settings: Any) -> Any:
        seen.append(image)
        return of_image(segmenter, image, settings)

    monkeypatch.setattr(worker, "image_sums", counted)
    assert main(command) == 0
    assert len(seen) == 12
    with np.load(whole) as one, np.load(resumed) as other:
        for array in ("R_a", "R_e", "log_mass", "mass_argmax", "mass_excl"):
            assert (one[array] == other[array]).all()
    assert not (tmp_path / "resumed.npz.partial").exists()


def arrays_of(path: Path) -> dict[str, Any]:
    with np.load(path) as arrays:
        return {name: array.tobytes() for name, array in arrays.items()}


def test_two_workers_give_what_one_process_gives_though_one_is_killed(
    golden_dir: Path,
    golden_v2_dir: Path,
    tmp_path: Path,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(repository / "test/evaluation/execution/in_workers")
    fatal = importlib.import_module("fatal_source")
    paths = (golden_v2_dir / "pool",)
    task = worker.CalibrationTask(
        CalibrationImages(paths, limit=6),
        NetworkOptions(golden_dir / "model.pt", device="cpu", cache_dir=tmp_path),
        load_vocabulary(str(golden_v2_dir / "voc20.vocabulary.txt")),
        default_settings(Method.ACTIVESAM2),
        CalibrationSettings(),
        threads=1,
    )
    alone = InProcess().run(task, 6, lambda more: None).result
    assert alone.images == 6
    assert alone.sums.sizes.any()
    deadly = fatal.FatalImages(paths, limit=6, place=3, mark=tmp_path / "killed")
    done: list[int] = []
    outcome = LocalExecutor(2, restarts=1).run(
        dataclasses.replace(task, images=deadly), 6, done.append
    )
    assert outcome.executor["lost_workers"] == 1
    encode = task.results.encode
    assert encode(outcome.result) == encode(alone)
    assert sum(done) == 6


def test_the_installed_command_divides_its_work_and_resumes_when_all_is_killed(
    activesam: str, golden_dir: Path, golden_v2_dir: Path, tmp_path: Path, repository: Path
) -> None:
    whole, divided = tmp_path / "whole.npz", tmp_path / "divided.npz"
    one = [*arguments(golden_v2_dir, golden_dir, "voc20", whole), "--limit", "6", "--threads", "1"]
    assert main(one) == 0
    command = [*one, "--executor", "local", "--workers", "2"]
    command[command.index(str(whole))] = str(divided)
    dying = repository / "test/evaluation/execution/in_workers/dying_command.py"
    killed = subprocess.run(
        [sys.executable, str(dying), "SIGKILL", "2", *command], check=False, timeout=300
    )
    assert killed.returncode == -signal.SIGKILL
    assert not divided.exists()
    ended = subprocess.run(
        [activesam, *command], capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    assert "images of this calibration; resuming from there" in ended.stderr
    assert arrays_of(divided) == arrays_of(whole)
    assert not (tmp_path / "divided.npz.partial").exists()


def test_images_of_several_sources_are_read_in_parts(
    golden_v2_dir: Path,
) -> None:
    paths = sorted((golden_v2_dir / "pool").glob("*.png"))
    chosen = CalibrationImages((paths[3], paths[0].parent), every=2, limit=5)
    reader = chosen.open()
    assert reader.expected() == 5
    assert len(reader.files) == len(paths)  # each once
    order = [paths[3].name, *(path.name for path in paths if path != paths[3])]
    wanted = order[::2][:5]

    def names(part: Part) -> list[str]:
        return [frame.frame_id for frame in reader.frames(part)]

    assert names(Part(1, 3)) == wanted[1:3]
    assert not reader.ended
    assert names(Part(3, 9)) == wanted[3:]
    assert reader.ended
    assert names(Part(9, 12)) == []
    assert reader.ended
    assert names(Part(0, 5)) == wanted  # a new pass
    assert not reader.ended


def test_every_and_limit_choose_images_and_broken_ones_are_counted(
    golden_dir: Path, golden_v2_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = tmp_path / "pool"
    shutil.copytree(golden_v2_dir / "pool", pool)
    (pool / "02.png").write_bytes((pool / "02.png").read_bytes()[:200])
    command = arguments(golden_v2_dir, golden_dir, "voc20", tmp_path / "some.npz")
    command[1] = str(pool)
    assert main([*command, "--every", "2", "--limit", "3"]) == 0
    printed = capsys.readouterr()
    assert "from 2 images; 1 could not be used." in printed.out
    assert "1 x " in printed.err
    assert "02.png" in printed.err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--every", "0"], "--every 0 must be 1 or more"),
        (["--limit", "0"], "--limit 0 must be 1 or more"),
        (["--set", "core_high=2"], "core_high=2.0 is out of range"),
        (["--set", "core_high"], "has no '='"),
        (["--set", "background_class=cow2"], "has no class 'cow2'"),
        (["--workers", "2"], "--workers 2 needs --executor"),
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


def test_the_summary_says_what_is_calibrated_and_what_to_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("road", "bus", "traffic light", "train", "zebra")
    sums = SignatureSums.zeros([0, 1, 2, 3])  # a train was admitted, and won nothing
    sums.sizes[Group.WON] = [90_000, 1500, 20, 0]
    sums.images_won[:] = [40, 3, 2, 0]
    settings = CalibrationSettings()
    result = worker.CalibrationResult(sums, images=40)
    signatures = signatures_of(sums, len(names), settings, None, names)
    assert summary(Path("log.npz"), signatures, result, settings) == (
        "log.npz: signatures of 1 of 5 classes, from 40 images; 0 could not be used.\n"
        "Calibrated (1): road.\n"
        "Not calibrated (2), because they won fewer than 2000 cells of 4 x 4 pixels;\n"
        "the highest score decides for them. To calibrate them, record images that show them:\n"
        "  bus              1500 cells in 3 images; about 1 more such images\n"
        "  traffic light      20 cells in 2 images; about 198 more such images\n"
        "Not seen; record images of them or leave them out (2): train, zebra."
    )
    monkeypatch.setattr(calibrate, "SHOWN_CLASSES", 1)
    monkeypatch.setattr(calibrate, "SHOWN_NAMES", 1)
    text = summary(Path("log.npz"), signatures, result, settings)
    assert "traffic light" not in text
    assert "and 1 more classes" in text
    assert "(2): train and 1 more." in text


def test_segment_uses_doubtful_signatures_with_a_warning_and_refuses_those_of_others(
    golden_dir: Path,
    golden_v2_dir: Path,
    tmp_path: Path,
    signature_file: SignatureFile,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    image = golden_v2_dir / "pool" / "00.png"

    def segment(classes: str, signatures: Path) -> str:
        """What it warns of, else the refusal."""
        caplog.clear()
        ended = main(
            [
                *("segment", str(image), "--classes", classes, "--method", "activesam2"),
                *("--weights", str(golden_dir / "model.pt"), "--cache-dir", str(tmp_path)),
                *("--output", str(tmp_path / "out"), "--overwrite"),
                *("--set", f"signatures={signatures}"),
            ]
        )
        errors = capsys.readouterr().err
        assert ended in (0, 2)
        if ended == 2:
            (line,) = [line for line in errors.splitlines() if "signatures" in line]
            return line
        return "".join(caplog.messages)

    weights = weights_fingerprint(golden_dir / "model.pt")
    assert segment("road, car", signature_file(["road", "car"], weights)) == ""
    doubted = segment("road, car", signature_file(["road", "car"], "0" * 64))
    assert "was calibrated with other weights than those in use" in doubted
    nameless = golden_v2_dir / "voc20.signatures.npz"
    twenty = ", ".join(f"thing {number}" for number in range(20))
    assert "does not name its 20 classes" in segment(twenty, nameless)
    refused = segment("road, car", nameless)
    assert "signatures are of 20 classes and the vocabulary has 2; calibrate with" in refused
    refused = segment("road, car", signature_file(["dog", "cat"], weights))
    assert "of other classes ('dog', ...) than the vocabulary's ('road', ...)" in refused
    # A class that both know keeps its signature.
    assert segment("road, lamp", signature_file(["dog", "road"], weights)) == ""
