"""The command line as a user meets it."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import subprocess
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest

from activesam_ros import __version__
from activesam_ros.cli import COMMANDS, MOVED, main, run_command


@pytest.fixture
def golden(repository: Path) -> Path:
    return repository / "test/data/golden"


def segment_arguments(golden: Path, output: Path, case: str = "background") -> list[str]:
    return [
        "segment",
        str(golden / f"{case}.png"),
        f"--weights={golden / 'model.pt'}",
        f"--vocabulary={golden / f'{case}.vocabulary.txt'}",
        "--device=cpu",
        f"--output={output}",
        f"--cache-dir={output / 'cache'}",
        "--method=activesam",
    ]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: "_".join(command.words))
def test_every_command_takes_help(command: object, capsys: pytest.CaptureFixture[str]) -> None:
    words = getattr(command, "words")  # noqa: B009 - pytest hides the type
    with pytest.raises(SystemExit) as caught:
        main([*words, "--help"])
    assert caught.value.code == 0
    assert f"usage: activesam {' '.join(words)}" in capsys.readouterr().out


WITHOUT_ROS = """
import re
import runpy
import sys

class NoRos:
    def find_spec(self, name, path=None, target=None):
        if re.match(r"(rclpy|rosidl_.*|.*_msgs|activesam_ros\\.(msg|srv))\\b", name):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoRos())
from activesam_ros.cli import COMMANDS

script = sys.argv[1]
for command in COMMANDS:
    sys.argv = [script, *command.words, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        assert end.code == 0, command
"""


def test_every_installed_command_takes_help_without_ros(activesam: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_ROS, activesam], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    for command in COMMANDS:
        assert f"usage: activesam {' '.join(command.words)} " in ended.stdout


def test_overview_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(" ".join(command.words) in listed for command in COMMANDS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__
    assert main(["demo", "--help"]) == 0
    assert "segment " not in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["fly"], ["demo"], ["vocabulary", "burn"]])
def test_what_is_no_command_exits_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert "usage: activesam" in capsys.readouterr().err


def test_segment_reproduces_the_golden_result(golden: Path, tmp_path: Path) -> None:
    settings = ["--set=background_threshold=0.25", "--set=background_id=0", "--save-scores"]
    assert main([*segment_arguments(golden, tmp_path), *settings]) == 0
    expected = np.load(golden / "background.npz")
    labels = cv2.imread(str(tmp_path / "background.labels.png"), cv2.IMREAD_UNCHANGED)
    assert labels is not None
    assert labels.dtype == np.uint8
    assert (labels == expected["labels"]).mean() >= 0.9995
    scores = np.load(tmp_path / "background.scores.npy")
    assert scores.dtype == np.float16
    assert np.abs(scores.astype(float) - expected["scores"].astype(float)).max() <= 5e-3
    summary = json.loads((tmp_path / "background.json").read_text())
    assert summary["active_queries"] == expected["active"].tolist()
    assert np.abs(np.array(summary["presence"]) - expected["presence"]).max() <= 1e-3
    assert summary["method"] == "activesam"
    assert summary["size"] == list(labels.shape)
    names = (golden / "background.vocabulary.txt").read_text().split("\n")
    assert summary["queries"] == [name.strip() for name in names if name.strip()]
    assert sum(entry["pixels"] for entry in summary["classes"]) == labels.size
    assert summary["background"] == {"id": 0, "pixels": int((labels == 0).sum())}
    assert {"total", "encode", "decode"} <= set(summary["timings_ms"])
    overlay = cv2.imread(str(tmp_path / "background.overlay.png"))
    assert overlay is not None
    assert overlay.shape[0] > labels.shape[0]  # the legend is below the picture
    assert overlay.shape[1:] == (max(labels.shape[1], 160), 3)


def test_segment_reproduces_the_golden_result_of_activesam2(
    golden_dir: Path, golden_v2_dir: Path, tmp_path: Path
) -> None:
    """The default method, with signatures and screened-out queries, and all that segment writes."""
    v2 = golden_v2_dir
    recorded = json.loads((v2 / "screening.json").read_text())
    names = ("preview_resolution", "preview_queries", "preview_layers", "tau", "sigma")
    arguments = [
        "segment",
        str(v2 / recorded["image"]),
        f"--weights={golden_dir / 'model.pt'}",
        f"--vocabulary={v2 / recorded['vocabulary']}",
        "--device=cpu",
        f"--output={tmp_path}",
        f"--cache-dir={tmp_path / 'cache'}",
        f"--set=signatures={v2 / recorded['signatures']}",
        *(f"--set={name}={recorded[name]}" for name in names),
        "--save-scores",
    ]
    assert main(arguments) == 0
    expected = np.load(v2 / "screening.npz")
    labels = cv2.imread(str(tmp_path / "screening.labels.png"), cv2.IMREAD_UNCHANGED)
    assert labels is not None
    assert (labels == expected["labels_ecd"]).mean() >= 0.998
    scores = np.load(tmp_path / "screening.scores.npy")
    assert np.abs(scores.astype(float) - expected["scores"].astype(float)).max() <= 1e-2
    summary = json.loads((tmp_path / "screening.json").read_text())
    assert summary["method"] == "activesam2"
    assert summary["admitted_queries"] == expected["admitted"].tolist()
    assert summary["active_queries"] == expected["survivors"].tolist()
    assert len(summary["active_queries"]) < len(summary["admitted_queries"])
    assert np.abs(np.array(summary["presence"]) - expected["preview_presence"]).max() <= 2e-3


def test_classes_on_the_command_line_are_a_vocabulary(golden: Path, tmp_path: Path) -> None:
    arguments = segment_arguments(golden, tmp_path, "no_background")
    names = (golden / "no_background.vocabulary.txt").read_text().strip().split("\n")
    given = [word for word in arguments if not word.startswith("--vocabulary")]
    assert main([*given, f"--classes={'; '.join(names)}"]) == 0
    labels = cv2.imread(str(tmp_path / "no_background.labels.png"), cv2.IMREAD_UNCHANGED)
    assert labels is not None
    expected = np.load(golden / "no_background.npz")["labels"]
    # A file counts ids from 0; names leave 0 free.
    assert (labels == expected + 1).mean() >= 0.9995


def test_segearth_starts_from_its_own_threshold(golden: Path, tmp_path: Path) -> None:
    arguments = segment_arguments(golden, tmp_path, "no_background")
    assert main([*arguments, "--method=segearth"]) == 0
    labels = cv2.imread(str(tmp_path / "no_background.labels.png"), cv2.IMREAD_UNCHANGED)
    expected = np.load(golden / "no_background.segearth.npz")["labels"]
    assert (labels == expected).mean() >= 0.9995
    presence = json.loads((tmp_path / "no_background.json").read_text())["presence"]
    assert set(presence) == {None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--set=bucket_size=0"], "bucket_size=0 is out of range"),
        (["--set=resolution=100"], "not a multiple of the network's patch size"),
        (["--set=pinned=unicorn"], "unicorn"),
        (["--weights=nowhere.pt"], "no weights at nowhere.pt"),
        (["--vocabulary=nowhere"], "no vocabulary 'nowhere'"),
        (["--vocabulary=car"], "--classes 'car'"),
        (["--classes=road, car"], "both given"),
        (["--set=confidence_treshold=0.4"], "Did you mean confidence_threshold?"),
        (["--device=tpu"], "device='tpu' is unknown"),
        (["--config=nowhere.json"], "no configuration file nowhere.json"),
        (["nowhere.png"], "no file or folder nowhere.png"),
        (
            ["--resolution=84"],
            "unrecognized arguments: --resolution=84; 'activesam segment --help'",
        ),
        (["--method=best"], "invalid choice: 'best'"),
    ],
)
def test_bad_input_exits_with_2_and_one_line(
    change: list[str],
    message: str,
    golden: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*segment_arguments(golden, tmp_path), *change]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
    assert not list(tmp_path.glob("*.png"))


def test_a_bad_image_does_not_stop_the_good_ones(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes((golden / "background.png").read_bytes()[:300])
    output = tmp_path / "out"
    arguments = segment_arguments(golden, output)
    assert main([arguments[0], str(broken), *arguments[1:]]) == 1
    assert "broken.png" in capsys.readouterr().err
    assert (output / "background.labels.png").is_file()


def test_images_of_one_name_are_refused_before_any_work(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twin = tmp_path / "background.png"
    twin.write_bytes((golden / "background.png").read_bytes())
    assert main([*segment_arguments(golden, tmp_path / "out"), str(twin)]) == 2
    assert "would both write background.labels.png" in capsys.readouterr().err


def test_vocabulary_show_and_compile(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["vocabulary", "show", "cityscapes", f"--weights={golden / 'model.pt'}"]) == 0
    table = capsys.readouterr().out
    assert "19 classes, 23 queries" in table
    assert "traffic light" in table
    assert main(["vocabulary", "show", "voc21", "--yaml"]) == 0
    (tmp_path / "again.yaml").write_text(capsys.readouterr().out)
    assert main(["vocabulary", "show", str(tmp_path / "again.yaml")]) == 0
    (tmp_path / "strict.yaml").write_text("classes:\n- {name: dog, threshold: 0.4}\n")
    capsys.readouterr()
    assert main(["vocabulary", "show", str(tmp_path / "strict.yaml"), "--yaml"]) == 0
    assert "threshold: 0.4" in capsys.readouterr().out
    assert main(["vocabulary", "show", str(tmp_path / "strict.yaml")]) == 0
    head, row = capsys.readouterr().out.splitlines()[1:3]
    assert row[head.index("threshold") :].startswith("0.4 ")
    compile_words = ["vocabulary", "compile", "voc21", f"--weights={golden / 'model.pt'}"]
    capsys.readouterr()
    assert main([*compile_words, f"--cache-dir={tmp_path}"]) == 0
    assert "compiled in" in capsys.readouterr().out
    assert main([*compile_words, f"--cache-dir={tmp_path}"]) == 0
    assert "was already there" in capsys.readouterr().out


def test_doctor(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", f"--weights={golden / 'model.pt'}"]) == 0
    report = capsys.readouterr().out
    assert "torch" in report
    assert "rclpy" in report
    assert main(["doctor", "--weights=nowhere.pt"]) == 1
    assert "!!  weights" in capsys.readouterr().out


def test_doctor_reads_the_installed_packages_once(
    golden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[None] = []

    def distributions() -> dict[str, list[str]]:
        calls.append(None)
        return {}

    monkeypatch.setattr(importlib.metadata, "packages_distributions", distributions)
    main(["doctor", f"--weights={golden / 'model.pt'}"])
    assert len(calls) == 1


def test_verify_says_what_it_needs(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", f"--weights={golden / 'model.pt'}", "--device=cpu"]) == 2
    error = capsys.readouterr().err
    assert "[reference]" in error or "CUDA device only" in error


def test_a_closed_pipe_is_no_traceback(activesam: str) -> None:
    command = f"{activesam} vocabulary show ade20k | head -n 1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert "ade20k" in result.stdout
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("words", "command"), MOVED.items())
def test_a_moved_command_says_where_it_is(
    words: tuple[str, ...],
    command: str,
    repository: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*words, "--steps=3"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"run '{command}' from the root of the repository" in error
    module = command.split()[-1].replace(".", "/")
    assert (repository / f"{module}.py").is_file() or (
        repository / module / "__main__.py"
    ).is_file()


def test_ctrl_c_while_a_command_is_imported_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(name: str) -> types.ModuleType:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib, "import_module", interrupt)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "activesam: interrupted.\n"


def test_a_path_may_begin_with_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    given: list[object] = []

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("files", nargs="+", type=Path)
        parser.add_argument_group("options").add_argument("--output", type=Path)

    def run(args: argparse.Namespace) -> int:
        given.extend([*args.files, args.output])
        return 0

    command = types.ModuleType("command")
    vars(command).update(add_arguments=add_arguments, run=run)
    arguments = ["~/a.png", "./~/b.png", "--output=~/out"]
    assert run_command(command, "activesam command", arguments) == 0
    assert given == [tmp_path / "a.png", Path("~/b.png"), tmp_path / "out"]


def test_every_module_of_commands_is_a_command(repository: Path) -> None:
    folder = repository / "activesam_ros" / "commands"
    modules = {path.stem for path in folder.glob("*.py") if "def add_arguments" in path.read_text()}
    assert modules == {command.module for command in COMMANDS}


def test_an_error_is_one_printable_line_and_debug_shows_its_cause(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = tmp_path / "a\x1b[2J\nactivesam: all is well.mcap.zstd"
    bag.write_bytes(b"\x28\xb5\x2f\xfd" + b"\xff" * 40)
    words = ["replay", str(bag), "--vocabulary=driving", f"--output={tmp_path / 'masks.mcap'}"]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert r"a\x1b[2J\nactivesam: all is well.mcap.zstd is damaged" in line
    assert main([*words, "--debug"]) == 2
    shown = capsys.readouterr().err
    assert "zstandard" in shown
    assert shown.splitlines()[-1] == line
    assert "\x1b" not in shown
    damaged = repository / "test" / "data" / "bags" / "hostile" / "empty_op.bag"
    assert main(["replay", str(damaged), *words[2:]]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "damaged at byte 4090" in line


@pytest.mark.parametrize("command", ["replay", "evaluate bag", "calibrate"])
def test_the_largest_message_of_a_recording_is_an_option(
    command: str, tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = repository / "test" / "data" / "bags" / "hostile" / "lost_flipped_index.mcap"
    output = "--output=out.npz" if command == "calibrate" else f"--output={tmp_path / 'a.mcap'}"
    words = [*command.split(), str(bag), "--vocabulary=driving", output]
    words += ["--image-topic=/cam/image_raw"] if command == "evaluate bag" else []
    assert main([*words, "--max-message-mib", "0"]) == 2
    assert "--max-message-mib 0 must be 1 to 4096" in capsys.readouterr().err
