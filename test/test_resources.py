"""The weights where none are named: one rule for commands, Python and the node."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from activesam_ros import resources
from activesam_ros.cli import main
from activesam_ros.errors import MissingDependencyError
from activesam_ros.pipeline import NetworkOptions
from activesam_ros.resources import default_weights


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder weights/ with both files."""
    (tmp_path / "demo").mkdir()
    for name in ("sam3.pt", "demo/model.safetensors"):
        (tmp_path / name).touch()
    monkeypatch.setattr(resources, "weights_dir", lambda: tmp_path)
    return tmp_path


def test_the_official_weights_come_first(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert default_weights() == folder / "sam3.pt"
    assert NetworkOptions().weights == folder / "sam3.pt"
    assert not caplog.records


def test_the_demo_weights_come_next_and_a_line_says_so(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "sam3.pt").unlink()
    assert default_weights() == folder / "demo/model.safetensors"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(folder / "demo/model.safetensors") in record.getMessage()
    assert "\n" not in record.getMessage()


def test_without_either_the_way_out_is_named(folder: Path) -> None:
    for name in ("sam3.pt", "demo/model.safetensors"):
        (folder / name).unlink()
    with pytest.raises(MissingDependencyError, match=r"weights/README\.md"):
        default_weights()


def test_a_command_without_weights_runs_with_the_shipped_ones(
    repository: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    command = ["vocabulary", "compile", "cityscapes", f"--cache-dir={tmp_path}", "--device=cpu"]
    assert main(command) == 0
    assert [record.name for record in caplog.records] == ["activesam_ros.resources"]
    shipped = repository / "weights/demo/model.safetensors"
    assert main([*command, f"--weights={shipped}"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "compiled in" in first
    assert "was already there" in second
