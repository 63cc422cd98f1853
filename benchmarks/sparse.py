"""What sparse attention and MLPs cost in accuracy and save in time, switch by switch.

    python -m benchmarks.sparse --weights weights/demo/model.safetensors --output out/sparse

Segments unseen frames of the demo world with every class decoded (method full), once densely and
once for each switch, density and way of choosing tokens: Stripe-Sort by content, its static order,
random tokens, and token merging (ToMe). Every frame goes through all of them in turn, so that
whatever else the computer does disturbs all alike. Writes sparse.json, sparse.md and sparse.png:
mIoU against the ground truth, share of pixels with the dense label, and times as a share of the
dense ones (medians over frames).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from activesam_ros.demo.classes import CLASS_COUNT, VOCABULARY_NAME, ClassId
from activesam_ros.demo.measure import Sample, test_frames
from activesam_ros.evaluation.metrics import ConfusionMatrix, IdMap
from activesam_ros.pipeline import Network, NetworkOptions, load_network
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.sam3.plan import ImagePlan
from activesam_ros.segmentation.baselines import Method
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.settings import Settings
from activesam_ros.sparsity.plan import Densities, SparsePlan, by_content, evenly
from benchmarks.sparse_plans import MergingPlan, at_random

SWITCHES = ("encoder_attention", "encoder_mlp", "fusion", "fusion_mlp")
DENSITIES = (0.7, 0.5, 0.4, 0.3)
COLORS = {
    "content": (40, 90, 200),
    "static": (40, 130, 60),
    "random": (140, 140, 140),
    "tome": (200, 60, 40),
}
WAYS = tuple(COLORS)
PANEL, HEIGHT = 330, 320
INK, GRID = (70, 70, 70), (225, 225, 225)
SEED = 0


class Row:
    """One configuration and what was counted."""

    def __init__(self, switch: str, density: float, way: str, segmenter: Segmenter) -> None:
        self.switch, self.density, self.way = switch, density, way
        self.segmenter = segmenter
        self.confusion = ConfusionMatrix.empty(CLASS_COUNT)
        self.agreement: list[float] = []
        self.encode_ms: list[float] = []
        self.decode_ms: list[float] = []

    def add(self, sample: Sample, dense: NDArray[np.integer] | None) -> NDArray[np.integer]:
        """Segment a frame and count; returns its labels."""
        result = self.segmenter.segment(sample.image)
        ids = {identity: identity for identity in range(CLASS_COUNT)}
        truth = IdMap.of(ids, CLASS_COUNT, (ClassId.UNLABELLED,))
        self.confusion += ConfusionMatrix.of(
            sample.labels, result.labels, truth, IdMap.of(ids, CLASS_COUNT)
        )
        self.agreement.append(1.0 if dense is None else float((result.labels == dense).mean()))
        self.encode_ms.append(result.timings_ms["encode"])
        self.decode_ms.append(result.timings_ms["decode"])
        return result.labels

    def figures(self, dense: Row) -> dict[str, Any]:
        """The row of the table, times as a share of the dense ones."""
        return {
            "switch": self.switch,
            "density": self.density,
            "way": self.way,
            "miou": self.confusion.miou_of_labelled(),
            "agreement": statistics.mean(self.agreement),
            "encode_share": statistics.median(self.encode_ms) / statistics.median(dense.encode_ms),
            "decode_share": statistics.median(self.decode_ms) / statistics.median(dense.decode_ms),
        }


def plan_of(network: Network, switch: str, density: float, way: str) -> ImagePlan:
    """The plan with one switch at a density."""
    config = network.config
    densities = dataclasses.replace(Densities(), **{switch: density})
    first = min(config.global_attention_blocks) + 1
    if way == "tome":
        return MergingPlan(config, densities, first)
    order = {"content": by_content, "static": evenly, "random": at_random}[way]
    return SparsePlan(config, densities, first, order)


def measure(network: Network, samples: Sequence[Sample], ways: Sequence[str]) -> list[Row]:
    """The dense row first, then one for each switch, density and way."""
    first = network.segmenter(load_vocabulary(VOCABULARY_NAME), Settings(), Method.FULL)
    rows = [Row("dense", 1.0, "dense", first)]
    for switch in SWITCHES:
        for density in DENSITIES:
            for way in ways:
                plan = plan_of(network, switch, density, way)
                segmenter = Segmenter(
                    network.model, first.prompts, first.settings, Method.FULL, plan
                )
                rows.append(Row(switch, density, way, segmenter))
    first.segment(samples[0].image)  # the first frame pays for what later ones find ready
    for sample in samples:
        dense = rows[0].add(sample, None)
        for row in rows[1:]:
            row.add(sample, dense)
    return rows


def table(figures: Sequence[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = [
        "| switch | density | tokens by | mIoU | dense labels kept | encode time | decode time |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        "| {switch} | {density} | {way} | {miou:.4f} | {agreement:.4f} | {encode_share:.2f} | "
        "{decode_share:.2f} |".format(**row)
        for row in figures
    ]
    return "\n".join(lines) + "\n"


def plot(figures: Sequence[dict[str, Any]], path: Path) -> None:
    """Share of pixels with the dense label over density, a panel for each switch."""
    lowest = math.floor(min(row["agreement"] for row in figures) * 10) / 10
    canvas = np.full((HEIGHT, PANEL * len(SWITCHES), 3), 255, np.uint8)

    def write(text: str, where: tuple[int, int], color: tuple[int, int, int] = INK) -> None:
        cv2.putText(canvas, text, where, cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, 1, cv2.LINE_AA)

    for panel, switch in enumerate(SWITCHES):
        left = PANEL * panel + 55

        def place(density: float, agreement: float, left: int = left) -> tuple[int, int]:
            across = (density - 0.25) / 0.75 * (PANEL - 75)
            down = (1 - agreement) / (1 - lowest) * (HEIGHT - 100)
            return left + round(across), 40 + round(down)

        write(f"{switch.replace('_', ' ')}: pixels with the dense label", (left - 45, 20))
        for value in np.linspace(lowest, 1, 5):
            cv2.line(canvas, place(0.25, value), place(1, value), GRID, 1)
            write(f"{value:.2f}", (left - 45, place(0, value)[1] + 5))
        for density in (*DENSITIES, 1.0):
            write(f"{density:g}", (place(density, 1)[0] - 10, HEIGHT - 38))
        write("density", (left + 100, HEIGHT - 12))
        for number, (way, color) in enumerate(COLORS.items()):
            kept = [row for row in figures if row["switch"] == switch and row["way"] == way]
            points = [(1.0, 1.0), *((row["density"], row["agreement"]) for row in kept)]
            line = np.array([place(*point) for point in points], np.int32)
            cv2.polylines(canvas, [line], False, color, 2, cv2.LINE_AA)
            if kept:
                write(way, (PANEL * (panel + 1) - 85, HEIGHT - 130 + 20 * number), color)
    cv2.imwrite(str(path), canvas[..., ::-1])


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(SEED)
    network = load_network(NetworkOptions(weights=arguments.weights, device=arguments.device))
    rows = measure(network, list(test_frames(arguments.frames)), arguments.ways)
    figures = [row.figures(rows[0]) for row in rows]
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "sparse.json").write_text(json.dumps(figures, indent=1) + "\n")
    (arguments.output / "sparse.md").write_text(table(figures))
    plot(figures, arguments.output / "sparse.png")
    print(table(figures))


if __name__ == "__main__":
    main()
