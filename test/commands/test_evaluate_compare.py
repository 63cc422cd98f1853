"""``activesam evaluate compare``: what got worse, by how much, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from activesam_ros.cli import main


def entry(**changes: Any) -> dict[str, Any]:
    """The entry of a method in results.json."""
    return {
        "frames": 50,
        "labelled_frames": 50,
        "miou": 0.5,
        "pixel_accuracy": 0.9,
        "per_class_iou": {"road": 0.9, "person: on a/bike": 0.4, "unicorn": None},
        "confusion_matrix": {"classes": [], "counts": []},
        "frames_per_second": 4.0,
        "latency_ms": {"p50": 240.0, "p95": 300.0},
        "stage_latency_ms": {"decode": {"p50": 80.0, "p95": 100.0}},
        "active_classes_mean": 7.0,
        "active_classes_over_time": None,
        "agreement_with_full": None,
        "temporal_flicker": 0.03,
        "peak_memory_mib": 2000.0,
    } | changes


class Runs:
    """Writes two runs and compares them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.out = self.err = ""
        self.write("a", {"activesam": entry(), "full": entry()})

    def write(self, name: str, methods: dict[str, Any], **about: Any) -> None:
        (self.folder / name).mkdir(exist_ok=True)
        content = {"methods": methods, **about}
        (self.folder / name / "results.json").write_text(json.dumps(content))

    def compare(self, *limits: str) -> int:
        options = [word for limit in limits for word in ("--fail-if", limit)]
        a, b = (str(self.folder / name) for name in "ab")
        code = main(["evaluate", "compare", a, b, *options])
        captured = self._capsys.readouterr()
        self.out, self.err = captured.out, captured.err
        return code


@pytest.fixture
def runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Runs:
    return Runs(tmp_path, capsys)


WORSE = entry(
    miou=0.45,
    per_class_iou={"road": 0.91, "person: on a/bike": 0.3, "unicorn": None},
    frames_per_second=3.6,
    latency_ms={"p50": 240.0, "p95": 345.0},
    stage_latency_ms={"decode": {"p50": 80.0, "p95": 150.0}},
    temporal_flicker=0.05,
    peak_memory_mib=2200.0,
)


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ("miou:0.04", 1),
        ("miou:0.05", 0),  # as much as is allowed, though 0.5 - 0.45 is a little more in floats
        ("miou:10%", 0),
        ("miou:9%", 1),
        ("pixel_accuracy:0", 0),
        ("frames_per_second:0.3", 1),
        ("latency_ms.p50:0", 0),
        ("latency_ms.p95:40", 1),
        ("activesam/latency_ms.p95:15%", 0),
        ("activesam/latency_ms.p95:14%", 1),
        ("full/latency_ms.p95:0", 0),
        ("stage_latency_ms.decode.p95:49", 1),
        ("temporal_flicker:0.01", 1),
        ("peak_memory_mib:150", 1),
        ("per_class_iou.road:0", 0),
        ("per_class_iou.person: on a/bike:0.09", 1),
        ("activesam/per_class_iou.person: on a/bike:0.1", 0),
        ("frames:0", 0),
    ],
)
def test_the_exit_code_says_whether_a_metric_got_worse_than_allowed(
    runs: Runs, limit: str, code: int
) -> None:
    runs.write("b", {"activesam": WORSE, "full": entry()})
    assert runs.compare(limit) == code
    assert ("got worse by" in runs.err) == bool(code)


def test_the_table_shows_both_runs_and_which_is_better(runs: Runs) -> None:
    runs.write("b", {"activesam": WORSE, "full": entry()})
    assert runs.compare() == 0
    rows = {tuple(line.split()[:2]): line.split()[2:] for line in runs.out.splitlines()}
    assert rows["miou", "activesam"] == ["0.5", "0.45", "-0.05", "worse"]
    assert rows["latency_ms.p95", "activesam"] == ["300.0", "345.0", "+45", "worse"]
    assert rows["per_class_iou.road", "activesam"] == ["0.9", "0.91", "+0.01", "better"]
    assert rows["miou", "full"] == ["0.5", "0.5", "+0"]
    assert ("per_class_iou.road", "full") not in rows  # classes that did not change
    assert "unicorn" not in runs.out
    assert "agreement_with_full" not in runs.out  # neither knows it


def test_one_limit_of_several_is_enough_and_each_breach_is_told(runs: Runs) -> None:
    runs.write("b", {"activesam": WORSE, "full": WORSE})
    assert runs.compare("miou:0.01", "pixel_accuracy:0.01", "full/latency_ms.p95:1%") == 1
    lines = runs.err.splitlines()
    assert len(lines) == 3
    assert "miou of activesam got worse by 0.05, from 0.5 to 0.45; 0.01 is allowed" in lines[0]


def test_better_is_never_a_failure(runs: Runs) -> None:
    runs.write("b", {"activesam": WORSE, "full": WORSE})
    for name in "ab":
        (runs.folder / name).rename(runs.folder / f"{name}_")
    (runs.folder / "a_").rename(runs.folder / "b")
    (runs.folder / "b_").rename(runs.folder / "a")
    every = ("miou", "frames_per_second", "latency_ms.p95", "temporal_flicker", "peak_memory_mib")
    assert runs.compare(*(f"{metric}:0" for metric in every)) == 0


def test_runs_of_other_things_are_compared_and_it_is_said(runs: Runs) -> None:
    runs.write("a", {"activesam": entry(), "full": entry()}, settings={"activesam": {"pinned": []}})
    runs.write("b", {"activesam": entry(), "sam3": entry()}, vocabulary={"name": "driving"})
    assert runs.compare("miou:0") == 0
    assert "differ in vocabulary" in runs.err
    assert "settings.activesam.pinned" in runs.err
    assert "only A has the method full" in runs.err
    assert "only B has the method sam3" in runs.err


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_passes_no_limit(runs: Runs, value: float) -> None:
    runs.write("b", {"activesam": entry(miou=value)})
    assert runs.compare("miou:0.1") == 2
    assert "miou of activesam is null in B" in runs.err


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("miou", "is not METRIC:AMOUNT"),
        (":1", "is not METRIC:AMOUNT"),
        ("miou:", "must be a number"),
        ("miou:-1", "of 0 or more"),
        ("miou:nan", "must be a number"),
        ("mIoU:0.1", "no metric 'mIoU'; give one of miou"),
        ("sam3/miou:0.1", "no metric 'sam3/miou'"),
        ("per_class_iou.dragon:0.1", "neither run has per_class_iou.dragon"),
        ("agreement_with_full:0.1", "neither run has"),
        ("pixel_accuracy:0.1", "is null in B"),
    ],
)
def test_limits_that_mean_nothing_are_refused_in_one_line(
    runs: Runs, limit: str, message: str
) -> None:
    runs.write("b", {"activesam": entry(pixel_accuracy=None)})
    assert runs.compare(limit) == 2
    assert message in runs.err
    assert len(runs.err.splitlines()) == 1
    assert runs.out == ""


@pytest.mark.parametrize(
    "content", [None, "", "[]", '{"methods": {}}', '{"methods": {"sam3": 1}}', "\xff"]
)
def test_files_that_are_no_results_are_refused_in_one_line(runs: Runs, content: str | None) -> None:
    (runs.folder / "b").mkdir()
    if content is not None:
        (runs.folder / "b" / "results.json").write_bytes(content.encode("latin-1"))
    assert runs.compare() == 2
    assert len(runs.err.splitlines()) == 1
    assert "results.json" in runs.err


def test_runs_without_a_common_method_are_refused(runs: Runs) -> None:
    runs.write("b", {"sam3": entry()})
    assert runs.compare() == 2
    assert "no method in common" in runs.err


def test_figures_under_corruptions_are_compared_too(runs: Runs) -> None:
    def corruptions(miou: float) -> dict[str, Any]:
        figures = {"miou": miou, "pixel_accuracy": None, "agreement_with_clean": 0.5}
        methods = {"activesam": figures}
        return {"seed": 3, "runs": {"fog:5": {"methods": methods}}, "mean": methods}

    runs.write("a", {"activesam": entry()}, corruptions=corruptions(0.4))
    runs.write("b", {"activesam": entry()}, corruptions=corruptions(0.3))
    assert runs.compare("corruptions.fog:5.miou:0.2", "corruptions.mean.miou:50%") == 0
    assert "corruptions.fog:5.miou" in runs.out
    assert runs.compare("activesam/corruptions.mean.miou:0.05") == 1
    assert "corruptions.mean.miou of activesam got worse by 0.1" in runs.err
    assert runs.compare("corruptions.snow:5.miou:0.1") == 2
    assert "neither run has corruptions.snow:5.miou" in runs.err
    assert runs.compare("corruptions.fog:5.latency:0.1") == 2
    assert "There is no metric" in runs.err
    runs.write("b", {"activesam": entry()})
    assert runs.compare("corruptions.mean.miou:0.1") == 2
    assert "null in B" in runs.err
    assert runs.compare() == 0
    assert "the runs differ in corruptions.seed" in runs.err
