"""Differences between methods against the spread of their frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from activesam_ros.evaluation.scoring.frame_figures import FrameFigures
from activesam_ros.evaluation.scoring.spread import MAX_BLOCKS, spread


def figures(
    latencies_ms: NDArray[np.float64],
    correct: NDArray[np.int64] | None = None,
    step_ns: int | None = None,
) -> list[FrameFigures]:
    """Frames of 100 pixels of class 0 and 100 of class 3; ``correct`` [frames] of each."""
    made = []
    for place, latency_ms in enumerate(latencies_ms.tolist()):
        pixels = None
        if correct is not None:
            right = int(correct[place])
            pixels = np.array([[0, 3], [100, 100], [100, 100], [right, right]], np.int32)
        stamp_ns = None if step_ns is None else place * step_ns
        made.append(
            FrameFigures(
                place, str(place), stamp_ns, latency_ms, {}, (), None, None, None, None, pixels
            )
        )
    return made


def entry(frames: list[FrameFigures], iou: float | None = None) -> dict[str, Any]:
    """The entry of a method in results.json, as far as it matters here."""
    latencies_ms = [frame.latency_ms for frame in frames]
    p50, p95 = np.quantile(latencies_ms, [0.5, 0.95])
    return {
        "miou_of_labelled_classes": iou,
        "pixel_accuracy": None,
        "temporal_flicker": None,
        "frames_per_second": 1e3 / float(np.mean(latencies_ms)),
        "latency_ms": {"p50": p50, "p95": p95},
    }


def pooled_iou(correct: NDArray[np.int64]) -> float:
    return float(correct.sum() / (200 * len(correct) - correct.sum()))


def test_the_interval_is_that_of_the_paired_differences() -> None:
    random = np.random.default_rng(0)
    hard = random.integers(20, 80, 400)  # what makes a frame hard does so for both methods
    scores = {"a": hard, "b": hard + random.integers(0, 2, 400)}
    ones = np.ones(400)
    frames = {name: figures(ones, correct) for name, correct in scores.items()}
    methods = {name: entry(frames[name], pooled_iou(scores[name])) for name in scores}
    found = spread(frames, methods)
    assert (found["blocks"], found["frames_per_block"]) == (400, 1)
    accuracy = found["differences"]["miou_of_labelled_classes"]
    assert accuracy["best"] == "b"
    a = accuracy["others"]["a"]
    assert a["difference"] == pytest.approx(pooled_iou(scores["a"]) - pooled_iou(scores["b"]))
    # The slope of x / (200 - x) takes the standard error of the mean paired difference to IoU.
    slope = 200 / (200 - hard.mean()) ** 2
    error = (scores["b"] - scores["a"]).std() / np.sqrt(400) * slope
    assert a["high"] - a["low"] == pytest.approx(2 * 1.96 * error, rel=0.25)
    assert a["low"] < a["difference"] < a["high"] < 0  # unpaired, the frames would hide it
    assert scores["a"].std() / np.sqrt(400) * slope > abs(a["difference"]) / 2


def test_a_difference_within_the_spread_has_an_interval_that_holds_0() -> None:
    random = np.random.default_rng(1)
    frames = {name: figures(random.normal(100, 10, 60)) for name in "ab"}
    methods = {name: entry(group) for name, group in frames.items()}
    found = spread(frames, methods)["differences"]
    assert set(found) == {"frames_per_second", "latency_ms.p50", "latency_ms.p95"}
    for metric in found.values():
        (other,) = metric["others"].values()
        assert other["low"] <= 0 <= other["high"]


def test_slower_frames_are_told_apart_in_every_speed() -> None:
    random = np.random.default_rng(2)
    frames = {
        name: figures(random.normal(mean, 5, 60)) for name, mean in (("slow", 100), ("fast", 80))
    }
    methods = {name: entry(group) for name, group in frames.items()}
    found = spread(frames, methods)["differences"]
    assert {metric["best"] for metric in found.values()} == {"fast"}
    assert found["frames_per_second"]["others"]["slow"]["high"] < 0
    for key in ("latency_ms.p50", "latency_ms.p95"):
        slow = found[key]["others"]["slow"]
        assert 0 < slow["low"] < slow["difference"] < slow["high"]
        assert slow["difference"] == pytest.approx(20, abs=6)


def test_frames_that_follow_each_other_are_drawn_in_blocks() -> None:
    """Runs of equal frames: drawn one by one, the interval would be far too narrow."""
    runs = np.repeat(np.random.default_rng(3).integers(20, 80, 27), 8)  # 216 frames
    noise = np.repeat(np.random.default_rng(4).integers(-9, 10, 27), 8)
    widths = []
    for step_ns in (None, 10**8):
        scores = {"a": runs, "b": runs + noise}
        frames = {name: figures(np.ones(216), correct, step_ns) for name, correct in scores.items()}
        methods = {name: entry(frames[name], pooled_iou(scores[name])) for name in scores}
        found = spread(frames, methods)
        assert found["frames_per_block"] == (1 if step_ns is None else 6)
        (other,) = found["differences"]["miou_of_labelled_classes"]["others"].values()
        widths.append(other["high"] - other["low"])
    assert widths[1] > 1.7 * widths[0]


def test_one_method_or_few_frames_have_no_spread() -> None:
    frames = {name: figures(np.ones(7)) for name in "ab"}
    assert spread(frames, {name: entry(group) for name, group in frames.items()}) is None
    alone = {"a": figures(np.ones(50))}
    assert spread(alone, {"a": entry(alone["a"])}) is None


def test_many_frames_are_drawn_in_a_bounded_number_of_blocks() -> None:
    frames = {name: figures(np.ones(2 * MAX_BLOCKS + 1)) for name in "ab"}
    found = spread(frames, {name: entry(group) for name, group in frames.items()})
    assert (found["blocks"], found["frames_per_block"]) == (667, 3)
