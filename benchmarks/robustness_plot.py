"""Labelled mIoU of each method, clean and under corruptions: a Markdown table and a plot.

    python -m benchmarks.robustness_plot out/driving out/driving-signatures --output out/driving

Each argument is a folder of `activesam evaluate bag ... --paper-corruptions`. Runs of the same
vocabulary share a table and a panel; a run with signatures is named so. OUTPUT.png, OUTPUT.md and
OUTPUT.json are written; the last has the figures, and which settings, recording and computer they
come from.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.errors import ActiveSamError, UsageError
from activesam_ros.evaluation.corruption_results import LEADING
from activesam_ros.evaluation.scoring.compare_runs import read_run
from activesam_ros.image_files import write_png
from activesam_ros.output_files import check_output_file, write_whole

EXIT_BAD_INPUT = 2
CLEAN = "clean"
WITH_SIGNATURES = " + signatures"
WIDTH, LEFT, RIGHT, TOP, HEIGHT, BELOW = 900, 48, 12, 46, 190, 34
INK, PAPER, GRID = (40, 40, 40), (255, 255, 255), (228, 228, 228)
COLORS = {
    "full": (150, 150, 150),
    "segearth": (120, 80, 160),
    "sam3": (110, 70, 50),
    "activesam": (235, 150, 40),
    "activesam2": (40, 110, 200),
    "activesam2" + WITH_SIGNATURES: (20, 150, 90),
}

# By name of the series and condition: labelled mIoU.
Panel = dict[str, dict[str, float]]


def main(argv: Sequence[str] | None = None) -> int:
    """Read the runs, write the files and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robustness_plot")
    parser.add_argument("results", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--output", type=Path, required=True, help="without suffix")
    args = parser.parse_args(argv)
    try:
        files = [args.output.with_name(args.output.name + end) for end in (".md", ".json", ".png")]
        for file in files:
            check_output_file(file, "--output")
        runs = [read_run(folder) for folder in args.results]
        panels = series(runs)
        text = "\n".join(table(name, panel) for name, panel in panels.items())
        write_whole(files[0], text)
        write_whole(
            files[1], json.dumps({"labelled_miou": panels, "runs": _origins(runs)}, indent=1) + "\n"
        )
        plot(panels, files[2])
    except ActiveSamError as error:
        print(f"benchmarks.robustness_plot: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    print(text)
    return 0


def series(runs: Sequence[Mapping[str, Any]]) -> dict[str, Panel]:
    """By vocabulary the figures of every run.

    Raises UsageError for a run without ground truth, and for two runs of the same series.
    """
    panels: dict[str, Panel] = {}
    for run in runs:
        panel = panels.setdefault(run["vocabulary"]["name"], {})
        conditions = {CLEAN: run["methods"]} | {
            name: entry["methods"]
            for name, entry in run.get("corruptions", {"runs": {}})["runs"].items()
        }
        for method, clean in run["methods"].items():
            name = method + (WITH_SIGNATURES if run["settings"][method]["signatures"] else "")
            if clean[LEADING] is None:
                raise UsageError(
                    f"The run of {name} has no ground truth; give --label-topic to evaluate."
                )
            if name in panel:
                raise UsageError(
                    f"Two runs are of {name} with {run['vocabulary']['name']}; give one."
                )
            panel[name] = {
                condition: methods[method][LEADING] for condition, methods in conditions.items()
            }
    return panels


def table(vocabulary: str, panel: Panel) -> str:
    """Labelled mIoU in per cent as Markdown, a line for each series."""
    conditions = _conditions(panel)
    lines = [f"| {vocabulary} | {' | '.join(conditions)} |", "|---|" + "---|" * len(conditions)]
    for name, values in panel.items():
        cells = [f"{values[c] * 100:.1f}" if c in values else "-" for c in conditions]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(panels: Mapping[str, Panel], file: Path) -> None:
    """A panel below another for each vocabulary, with a group of bars for each condition."""
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    picture = np.full((len(panels) * (TOP + HEIGHT + BELOW) + 26, WIDTH, 3), PAPER, np.uint8)
    x = LEFT
    for name in names:
        cv2.rectangle(picture, (x, 8), (x + 11, 19), COLORS[name], -1)
        _text(picture, name, x + 16, 18)
        x += 36 + 8 * len(name)
    most = max(len(_conditions(panel)) for panel in panels.values())
    for row, (vocabulary, panel) in enumerate(panels.items()):
        top = row * (TOP + HEIGHT + BELOW) + 26 + TOP
        _text(picture, f"labelled mIoU [%], vocabulary {vocabulary}", LEFT, top - 14)
        _panel(picture, top, panel, names, (WIDTH - LEFT - RIGHT) / most)
    write_png(file, picture)


def _panel(
    picture: NDArray[np.uint8], top: int, panel: Panel, names: Sequence[str], group: float
) -> None:
    """Draw a panel; ``group`` is the width of a condition's bars [px]."""
    bottom = top + HEIGHT
    most = max(max(values.values()) for values in panel.values())
    step = next(step for step in (0.02, 0.05, 0.1, 0.2) if most / step <= 7)
    for level in range(int(most / step) + 1):
        y = round(bottom - HEIGHT * level * step / most)
        cv2.line(picture, (LEFT, y), (WIDTH - RIGHT, y), GRID, 1)
        _text(picture, f"{level * step * 100:.0f}", LEFT - 30, y + 4)
    conditions = _conditions(panel)
    bar = group * 0.8 / len(names)
    for place, condition in enumerate(conditions):
        left = LEFT + group * (place + 0.1)
        _text(picture, condition, round(left), bottom + 18)
        for order, name in enumerate(names):
            value = panel.get(name, {}).get(condition)
            if value is None:
                continue
            corner = (round(left + bar * order), round(bottom - HEIGHT * value / most))
            cv2.rectangle(
                picture, corner, (round(left + bar * (order + 1)) - 2, bottom), COLORS[name], -1
            )


def _conditions(panel: Panel) -> list[str]:
    return list(dict.fromkeys(condition for values in panel.values() for condition in values))


def _origins(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Where the figures come from, and the classes' IoU on clean images."""
    kept = ("recording", "vocabulary", "weights", "machine", "finished", "settings")
    shown = ("frames", "active_classes_mean", "pixel_accuracy", "classes_lost_by_pruning")
    return [
        {name: run[name] for name in kept}
        | {
            "clean": {
                method: {name: entry[name] for name in (LEADING, *shown)}
                | {"iou": {name: round(v, 4) for name, v in entry["per_class_iou"].items() if v}}
                for method, entry in run["methods"].items()
            }
        }
        for run in runs
    ]


def _text(picture: NDArray[np.uint8], text: str, x: int, y: int) -> None:
    cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, INK, 1, cv2.LINE_AA)


if __name__ == "__main__":
    sys.exit(main())
