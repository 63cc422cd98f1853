"""Every command that writes refuses a useless output before it loads or computes anything."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import benchmarks.__main__
import benchmarks.growth
import benchmarks.presets
import benchmarks.robustness_plot
import benchmarks.sparse.run
import benchmarks.start
import benchmarks.streaming.run
import training.measure
import training.train
from activesam_ros.cli import main, run_command

Main = Callable[[list[str]], int]

# The weights do not exist: a command that looked for them before its output would say so.
NETWORK = ["--weights=nowhere.pt", "--vocabulary=cityscapes"]
# name -> what starts it, its arguments, the option of the output, whether that names a file
COMMANDS: dict[str, tuple[Main, list[str], str, str]] = {
    "segment": (main, ["segment", "a.png", *NETWORK], "--output", ""),
    "replay": (main, ["replay", "a.mcap", *NETWORK], "--output", ".mcap"),
    "evaluate bag": (
        main, ["evaluate", "bag", "a.mcap", "--image-topic=/i", *NETWORK], "--output", ""
    ),
    "evaluate bag's report": (
        main,
        ["evaluate", "bag", "a.mcap", "--image-topic=/i", "--output=fine", *NETWORK],
        "--report",
        "",
    ),
    "evaluate dataset": (
        main,
        ["evaluate", "dataset", "voc20", "--root=data", "--weights=nowhere.pt"],
        "--output",
        "",
    ),
    "demo drive": (main, ["demo", "drive"], "--output", ".mcap"),
    "demo drive's folder": (main, ["demo", "drive"], "--output", ""),
    "demo run": (main, ["demo", "run", "--untrained"], "--output", ""),
    "vocabulary compile": (
        main, ["vocabulary", "compile", "voc20", "--weights=nowhere.pt"], "--cache-dir", ""
    ),
    "benchmarks": (benchmarks.__main__.main, ["--weights=nowhere.pt"], "--json", ".json"),
    "benchmarks.start": (benchmarks.start.main, ["--weights=nowhere.pt"], "--json", ".json"),
    "benchmarks.presets": (benchmarks.presets.main, ["--weights=nowhere.pt"], "--json", ".json"),
    "benchmarks.growth": (benchmarks.growth.main, ["--weights=nowhere.pt"], "--output", ""),
    "benchmarks.sparse": (benchmarks.sparse.run.main, ["--weights=nowhere.pt"], "--output", ""),
    "benchmarks.robustness_plot": (
        benchmarks.robustness_plot.main, ["nowhere"], "--output", ""
    ),
    "benchmarks.streaming": (
        benchmarks.streaming.run.main, ["--weights=nowhere.pt"], "--output", ""
    ),
    "training": (lambda words: run_command(training.train, "training", words), [], "--output", ""),
    "training's data": (
        lambda words: run_command(training.train, "training", words),
        ["--output=fine"],
        "--data",
        "",
    ),
    "training.measure": (
        lambda words: run_command(training.measure, "measure", words),
        ["--weights=nowhere.pt"],
        "--output",
        ".json",
    ),
}  # fmt: skip
PLACES = {
    "file/deep/out": "is not a folder",
    "/proc/out": "refuses files",
    "link/out": "which does not exist",
    "字" * 86: "allows 255",
}
PLACE_NAMES = ("below_a_file", "proc", "below_a_dangling_link", "long_name")


@pytest.mark.parametrize("place", PLACES, ids=PLACE_NAMES)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_useless_output_is_refused_first_and_in_one_sentence(
    name: str,
    place: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("a.png", "a.mcap", "file"):
        Path(file).touch()
    Path("link").symlink_to("nowhere")
    before = sorted(tmp_path.rglob("*"))
    start, arguments, option, suffix = COMMANDS[name]
    assert start([*arguments, f"{option}={place}{suffix}"]) == 2
    error = capsys.readouterr().err
    assert f"{option} " in error
    assert PLACES[place] in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_behind_stdout_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ModuleType("command")
    vars(command).update(add_arguments=lambda parser: None, run=lambda args: print("text") or 0)
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        assert run_command(command, "activesam command", []) == 2
        # What is left goes nowhere, so that closing the file raises nothing.
    monkeypatch.undo()
    assert capsys.readouterr().err == "activesam: No space left on device.\n"


def test_a_file_name_that_is_no_text_can_be_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    command = ModuleType("command")
    name = os.fsdecode(b"\xff.png")
    vars(command).update(add_arguments=lambda parser: None, run=lambda args: print(name) or 0)
    stream = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(stream, "utf-8"))
    assert run_command(command, "activesam command", []) == 0
    assert stream.getvalue() == b"\\udcff.png\n"


def test_a_name_that_the_system_refuses_is_one_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["segment", "字" * 100, *NETWORK, "--output=out"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("activesam: ")
    assert error.count("\n") == 1
