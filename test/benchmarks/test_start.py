"""Start to first mask, measured on an untrained network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from activesam_ros.demo.untrained import write_untrained
from benchmarks.start import EXIT_BAD_INPUT, main


def test_cold_and_warm_starts_are_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "start.json"
    arguments = ["--weights", str(write_untrained(tmp_path)), "--device", "cpu", "--runs", "1"]
    assert main([*arguments, "--json", str(file)]) == 0
    starts = json.loads(file.read_text())
    assert set(starts) == {"cold_s", "warm_s"}
    assert min(starts.values()) > 0
    assert f"{starts['warm_s']:.1f} s warm" in capsys.readouterr().out


def test_what_cannot_start_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = ["--weights", str(write_untrained(tmp_path)), "--device", "cpu"]
    assert main([*weights, "--vocabulary", "nothing"]) == EXIT_BAD_INPUT
    assert "There is no vocabulary 'nothing'" in capsys.readouterr().err
    assert main([*weights, "--runs", "0"]) == EXIT_BAD_INPUT
    assert "--runs=0 must be at least 1" in capsys.readouterr().err
