"""What each part of the preset fast costs and gains, frame by frame beside the exact computation.

    python -m benchmarks.presets --frames 8 --json presets.json

On frames of test drives: mIoU, share of the pixels with the exact label, and CPU time as a share of
the exact computation's (of frames in turn, so that other work on the computer meets all alike).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from activesam_ros.allocator import keep_freed_memory
from activesam_ros.demo.classes import ClassId
from activesam_ros.demo.measure import ask, test_frames
from activesam_ros.errors import ActiveSamError
from activesam_ros.evaluation.metrics import ConfusionMatrix, IdMap
from activesam_ros.evaluation.results import text_table
from activesam_ros.pipeline import Network, NetworkOptions, load_network
from activesam_ros.resources import weights_dir
from activesam_ros.sam3.quantized import quantized
from activesam_ros.segmentation.baselines import Method
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.settings import Settings

EXIT_BAD_INPUT = 2
EXACT = "exact"
# Each with the settings that differ and whether linear layers have eight bits.
TECHNIQUES: dict[str, tuple[dict[str, object], bool]] = {
    EXACT: ({}, False),
    "eight-bit linear layers": ({}, True),
    "fusion_density 0.4": ({"fusion_density": 0.4}, False),
    "fusion_mlp_density 0.4": ({"fusion_mlp_density": 0.4}, False),
    "encoder_attention_density 0.7": ({"encoder_attention_density": 0.7}, False),
    "preset fast": ({"preset": "fast"}, True),
}


@dataclass
class Tally:
    """Figures of one technique, frame by frame."""

    confusion: ConfusionMatrix
    agreements: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Result:
    """cpu_share: median over the frames of CPU time over that of the exact computation."""

    technique: str
    miou: float
    agreement: float
    cpu_share: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table and, where asked for, write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.presets", description=__doc__)
    parser.add_argument("--weights", type=Path, default=weights_dir() / "demo/model.safetensors")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    keep_freed_memory()
    try:
        network = load_network(NetworkOptions(weights=args.weights, device=args.device))
        results = measure(network, args.frames)
    except ActiveSamError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    rows = [
        (row.technique, f"{row.miou:.4f}", f"{row.agreement:.4f}", f"{row.cpu_share:.2f}")
        for row in results
    ]
    print(text_table([("", "mIoU", "labels kept", "share of CPU time"), *rows]))
    if args.json is not None:
        text = json.dumps([asdict(row) for row in results], indent=1)
        args.json.write_text(text + "\n", encoding="utf-8")
    return 0


def measure(network: Network, frames: int) -> list[Result]:
    """Segment ``frames`` frames with every technique, with 150 names and no pruning."""
    question = ask("wide")
    fast = quantized(network.model)
    table = network.compile(question.vocabulary, Settings(), Method.FULL).table
    table = table.to(network.device, network.dtype)
    segmenters = {
        name: Segmenter(
            fast if eight_bits else network.model, table, Settings().replace(values), Method.FULL
        )
        for name, (values, eight_bits) in TECHNIQUES.items()
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
            begin_s = time.process_time()
            result = segmenter.segment(sample.image)
            tally = tallies[name]
            tally.seconds.append(time.process_time() - begin_s)
            exact = result.labels if exact is None else exact
            tally.agreements.append(float((result.labels == exact).mean()))
            tally.confusion += ConfusionMatrix.of(sample.labels, result.labels, truth, ids)
    return [_result(name, tally, tallies[EXACT]) for name, tally in tallies.items()]


def _result(name: str, tally: Tally, exact: Tally) -> Result:
    shares = [ours / theirs for ours, theirs in zip(tally.seconds, exact.seconds, strict=True)]
    return Result(
        name,
        tally.confusion.miou_of_labelled(),
        statistics.fmean(tally.agreements),
        statistics.median(shares),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
