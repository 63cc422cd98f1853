"""The streaming benchmark: it goes on where it stopped, and its figures are what they say."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from activesam_ros.demo.untrained import write_untrained
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from benchmarks.streaming.journal import SUFFIX, Record, RunJournal, read_run
from benchmarks.streaming.report import entering_delays
from benchmarks.streaming.run import main

FRAMES = 4


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(weights: Path, output: Path, *more: str) -> int:
    given = ["--weights", str(weights), "--output", str(output), "--device", "cpu"]
    given += ["--names", "45", "--method", "activesam"]
    settings = ["--set", "hypernym_tokens=0", "--set", "max_active=4", "--set", "hold_frames=1"]
    return main([*given, *settings, "--frames", str(FRAMES), *more])


def kept(output: Path) -> dict[str, Any]:
    """All that does not depend on the computer's speed."""
    found = {}
    for path in sorted(output.glob("*.journal")):
        with sqlite3.connect(path) as connection:
            rows = connection.execute("SELECT record, labels FROM frames ORDER BY place").fetchall()
        records = [json.loads(record) for record, _ in rows]
        for record in records:
            assert record.pop("wall_ms") > 0
            assert record.pop("processor_ms") > 0
        found[path.name] = (records, [labels for _, labels in rows])
    return found


def test_what_was_interrupted_goes_on_to_the_same_results(tmp_path: Path) -> None:
    weights = write_untrained(tmp_path)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(weights, whole) == 0
    assert run(weights, parts, "--stop", "2") == 0
    assert len(list((parts / "drive").glob("*/*.png"))) == 2 * 2
    assert run(weights, parts, "--variants", "streaming") == 0
    assert run(weights, parts, "--variants", "per_frame") == 0
    assert kept(parts) == kept(whole)
    records, _ = kept(whole)["names45.streaming.journal"]
    queries = records[0]["previewed"]
    assert [record["previewed"] for record in records[1:]] == [-(-queries // 8)] * (FRAMES - 1)
    results = json.loads((whole / "results.json").read_text())["runs"]["names45"]
    assert set(results) == {"per_frame", "streaming"}
    for figures in results.values():
        assert figures["frames"] == FRAMES
        assert figures["queries"] == queries
        assert 0 <= figures["miou"] <= figures["pixel_accuracy"] <= 1
        assert 0 < figures["flicker_of_labels"] < 1
    assert "goal at most 0.005" in (whole / "streaming.md").read_text()
    assert cv2.imread(str(whole / "names45.png")) is not None


def test_other_settings_do_not_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = write_untrained(tmp_path)
    assert run(weights, tmp_path / "out", "--stop", "2", "--variants", "streaming") == 0
    capsys.readouterr()
    assert run(weights, tmp_path / "out", "--set", "hold_frames=2") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "another" in line
    assert "settings" in line


def test_takes_any_pruning_method_and_a_bundled_vocabulary(tmp_path: Path) -> None:
    more = ("--names", "driving", "--method", "activesam2", "--set", "tau=0.3")
    assert run(write_untrained(tmp_path), tmp_path / "out", "--stop", "2", *more) == 0
    with sqlite3.connect(tmp_path / "out" / "driving.streaming.journal") as connection:
        (text,) = connection.execute("SELECT description FROM job").fetchone()
    job = json.loads(text)
    assert job["method"] == "activesam2"
    assert "tau=0.3" in job["all_settings"]
    results = json.loads((tmp_path / "out" / "results.json").read_text())["runs"]["driving"]
    assert {figures["queries"] for figures in results.values()} == {
        len(load_vocabulary("driving").queries)
    }


@pytest.mark.parametrize(
    "more", [("--names", "many"), ("--names", "voc20"), ("--names", "0"), ("--variants", "fast")]
)
def test_refuses_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, str]
) -> None:
    assert run(tmp_path / "none", tmp_path / "out", *more) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert more[1] in line


def test_what_another_process_writes_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / f"a{SUFFIX}"
    journal = RunJournal(path, {"variant": "streaming"})
    record = Record(1.5, 2.5, 3, (0, 4), (4,), {"road": 0.5})
    labels = np.arange(6, dtype=np.uint16).reshape(2, 3) * 1000
    journal.append(record, labels, "state")
    assert journal.stream() == "state"
    assert read_run(path) is None
    journal.close()
    run = read_run(path)
    assert run is not None
    assert (run.job, run.records) == ({"variant": "streaming"}, (record,))
    (kept_labels,) = run.labels()
    assert np.array_equal(kept_labels, labels)


def test_nothing_to_report_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--report-only", "--output", str(tmp_path)]) == 2
    assert "no results" in capsys.readouterr().err


def test_a_class_enters_after_ten_frames_without_it() -> None:
    visible = np.zeros((40, 4), bool)
    active = np.zeros((40, 4), bool)
    visible[:20, 0] = visible[15:, 1] = visible[20:30, 2] = True
    visible[12:14, 3] = visible[18:, 3] = True
    active[:, 0] = active[18:, 1] = active[30:, 2] = active[13:, 3] = True
    assert entering_delays(visible, active) == [3, None, 1]
