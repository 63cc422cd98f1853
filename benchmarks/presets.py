"""What compilation and each part of the preset fast cost and gain against the exact computation.

    python -m benchmarks.presets --frames 8 --json presets.json

Measured on frames of test drives: mIoU, the share of pixels with the exact label, and time as a
share of the exact computation's. Frames take turns, so that other work on the computer affects all
alike. Time is CPU time, on a GPU wall time.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from activesam_ros.allocator import keep_freed_memory
from activesam_ros.demo.world.classes import ClassId
from activesam_ros.errors import ActiveSamError
from activesam_ros.evaluation.scoring.metrics import ConfusionMatrix, IdMap
from activesam_ros.evaluation.scoring.results import text_table
from activesam_ros.output_files import check_output_file, write_whole
from activesam_ros.pipeline import Network, NetworkOptions, load_network
from activesam_ros.resources import weights_dir
from activesam_ros.segmentation.methods import Method
from activesam_ros.segmentation.result import Segmentation
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.settings import Settings
from benchmarks.clock import timed_ms
from training.measure import ask, test_frames

EXIT_BAD_INPUT = 2
EXACT = "exact"
# For each technique the settings of the segmenter, and those that choose its network.
TECHNIQUES: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    EXACT: ({}, {}),
    "compiled": ({}, {"compile": "always"}),
    "eight-bit linear layers": ({}, {"preset": "fast"}),
    "fusion_density 0.4": ({"fusion_density": 0.4}, {}),
    "fusion_mlp_density 0.4": ({"fusion_mlp_density": 0.4}, {}),
    "encoder_attention_density 0.7": ({"encoder_attention_density": 0.7}, {}),
    "preset fast": ({"preset": "fast"}, {"preset": "fast"}),
}


@dataclass
class Tally:
    """What was measured of one technique, frame by frame."""

    confusion: ConfusionMatrix
    agreements: list[float] = field(default_factory=list)
    times_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Result:
    """time_share: of the exact computation's time, the median over the frames."""

    technique: str
    miou: float
    agreement: float
    time_share: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table and write the JSON file if one is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.presets", description=__doc__)
    parser.add_argument("--weights", type=Path, default=weights_dir() / "demo/model.safetensors")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--frames", type=int, default=8)
    others = [name for name in TECHNIQUES if name != EXACT]
    parser.add_argument("--technique", action="append", choices=others, help="default: all")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    keep_freed_memory()
    try:
        if args.json is not None:
            check_output_file(args.json, "--json")
        network = load_network(NetworkOptions(weights=args.weights, device=args.device))
        results = measure(network, args.frames, args.technique or others)
        rows = [
            (row.technique, f"{row.miou:.4f}", f"{row.agreement:.4f}", f"{row.time_share:.2f}")
            for row in results
        ]
        print(text_table([("", "mIoU", "labels kept", "share of the time"), *rows]))
        if args.json is not None:
            text = json.dumps([asdict(row) for row in results], indent=1)
            write_whole(args.json, text + "\n")
    except ActiveSamError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


def measure(network: Network, frames: int, techniques: Sequence[str]) -> list[Result]:
    """Segment ``frames`` frames exactly and with each technique, with 150 names and no pruning."""
    question = ask("wide")
    table = network.compile(question.vocabulary, Settings(), Method.FULL).table
    table = table.to(network.device, network.dtype)
    segmenters = {
        name: Segmenter(
            network.model_for(Settings().replace(chosen)),
            table,
            Settings().replace(values),
            Method.FULL,
            support=network.support,
        )
        for name, (values, chosen) in TECHNIQUES.items()
        if name == EXACT or name in techniques
    }
    count = len(question.vocabulary.classes)
    truth = IdMap.of(question.truth, count, (ClassId.UNLABELLED,))
    ids = IdMap.of(
        {entry.id: index for index, entry in enumerate(question.vocabulary.classes)}, count
    )
    tallies = {name: Tally(ConfusionMatrix.empty(count)) for name in segmenters}
    for place, sample in enumerate(test_frames(frames)):
        exact = None
        for name, segmenter in segmenters.items():
            if place == 0:
                segmenter.segment(sample.image)
            tally = tallies[name]
            results: list[Segmentation] = []
            work = functools.partial(_segment, segmenter, sample.image, results)
            tally.times_ms.append(timed_ms(work, network.device))
            (result,) = results
            exact = result.labels if exact is None else exact
            tally.agreements.append(float((result.labels == exact).mean()))
            tally.confusion += ConfusionMatrix.of(sample.labels, result.labels, truth, ids)
    return [_result(name, tally, tallies[EXACT]) for name, tally in tallies.items()]


def _segment(segmenter: Segmenter, image: NDArray[np.uint8], results: list[Segmentation]) -> None:
    results.append(segmenter.segment(image))


def _result(name: str, tally: Tally, exact: Tally) -> Result:
    shares = [ours / theirs for ours, theirs in zip(tally.times_ms, exact.times_ms, strict=True)]
    return Result(
        name,
        tally.confusion.miou_of_labelled(),
        statistics.fmean(tally.agreements),
        statistics.median(shares),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
