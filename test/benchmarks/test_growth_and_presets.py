"""The benchmarks of growth and of presets, on a network that takes no time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2

from activesam_ros.demo.untrained import write_untrained

ROOT = Path(__file__).parents[2]
GROWTH = """
import json, sys
from dataclasses import asdict
from benchmarks.growth import Load, measure
from benchmarks.options import BenchmarkOptions
options = BenchmarkOptions(weights=sys.argv[1], frames=1, device="cpu")
loads = (Load(6, 2, 120, cameras=1), Load(12, 2, 120, cameras=2))
print(json.dumps([asdict(measure(options, load)) for load in loads]))
"""
PLOT = """
import json, sys
from pathlib import Path
from benchmarks.growth_plot import plot
plot(json.loads(sys.argv[1]), Path(sys.argv[2]))
"""


def python(*arguments: str) -> str:
    """What the interpreter prints in the checkout, where the benchmarks are found."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_growth_is_measured_and_drawn(tmp_path: Path) -> None:
    weights, picture = write_untrained(tmp_path), tmp_path / "growth.png"
    points = json.loads(python("-c", GROWTH, str(weights)).splitlines()[-1])
    assert [point["load"]["cameras"] for point in points] == [1, 2]
    for point in points:
        assert point["preview_s"] > 0
        assert point["other_s"] > 0
        assert point["peak_memory_mib"] > 0
    python("-c", PLOT, json.dumps({"vocabulary": points, "cameras": points}), str(picture))
    drawn = cv2.imread(str(picture))
    assert drawn is not None
    assert len({tuple(color) for color in drawn.reshape(-1, 3)[::7].tolist()}) > 3


def test_presets_are_compared_with_the_exact_computation(tmp_path: Path) -> None:
    weights, file = write_untrained(tmp_path), tmp_path / "presets.json"
    arguments = ["--weights", str(weights), "--device", "cpu", "--frames", "1"]
    techniques = ["--technique", "preset fast", "--technique", "fusion_density 0.4"]
    printed = python("-m", "benchmarks.presets", *arguments, *techniques, "--json", str(file))
    exact, *others = json.loads(file.read_text())
    assert (exact["technique"], exact["agreement"], exact["time_share"]) == ("exact", 1, 1)
    assert [row["technique"] for row in others] == ["fusion_density 0.4", "preset fast"]
    assert all(0 <= row["agreement"] <= 1 for row in others)
    assert others[0]["agreement"] < 1
    assert "preset fast" in printed
