"""The examples of README.md run as they are printed, with the weights that ship."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from activesam_ros.cli import COMMANDS, Command, _Parser


def blocks(repository: Path, language: str) -> list[str]:
    text = (repository / "README.md").read_text("utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def command_lines(repository: Path) -> list[list[str]]:
    """The words of every command `activesam ...` in a block."""
    joined = [block.replace("\\\n", " ") for block in blocks(repository, "bash")]
    lines = [line for block in joined for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("activesam ")]


def found(words: list[str]) -> Command:
    return next(entry for entry in COMMANDS if tuple(words[: len(entry.words)]) == entry.words)


def test_every_command_takes_its_arguments(repository: Path) -> None:
    lines = command_lines(repository)
    commands = {found(words).words[0] for words in lines}
    assert commands == {"segment", "calibrate", "replay", "evaluate", "demo"}
    for words in lines:
        command = found(words)
        parser = _Parser(prog=" ".join(command.words))
        importlib.import_module(f"activesam_ros.commands.{command.module}").add_arguments(parser)
        parser.parse_intermixed_args(words[len(command.words) :])
        assert "--weights" not in words
        for word in words:
            assert not word.startswith("test/") or (repository / word).is_file()


def test_the_python_example_finds_classes(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = blocks(repository, "python")
    monkeypatch.chdir(repository)
    exec(compile(example, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[1] for line in lines} >= {"road", "car"}


@pytest.mark.slow
def test_the_offline_examples_run(repository: Path, tmp_path: Path) -> None:
    (block,) = [text for text in blocks(repository, "bash") if "activesam replay" in text]
    (tmp_path / "test").symlink_to(repository / "test")
    script = f'. "{repository}/env.sh" && set -e\n{block}'
    ran = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ)
    )
    assert ran.returncode == 0, ran.stderr
    written = ("photo/test1.labels.png", "masks.mcap", "masks.mp4", "masks2.mcap", "driving.npz")
    for name in (*written, "page/index.html"):
        assert (tmp_path / "out" / name).stat().st_size > 1000
