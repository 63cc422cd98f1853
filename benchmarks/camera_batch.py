"""What it saves to encode the images of several cameras at once (parameter camera_batch).

    python -m benchmarks.camera_batch --weights test/data/golden/model.pt --vocabulary driving

Segments the same images one by one and in batches, in turn, so that other work on the computer
affects both alike. Prints medians: processor time of all threads per image [ms], and how many times
as fast the batch was, in wall time and in processor time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from activesam_ros.commands.options.network import (
    add_method_argument,
    add_network_arguments,
    method_from,
    network_options,
    settings_from,
    vocabulary_from,
)
from activesam_ros.errors import ActiveSamError
from activesam_ros.pipeline import load_network
from activesam_ros.segmentation.result import Wanted
from activesam_ros.segmentation.segmenter import Segmenter

EXIT_BAD_INPUT = 2
SIZES = ((540, 960), (720, 1280), (480, 640))


def cost(segmenter: Segmenter, images: list[NDArray[np.uint8]], batch: int) -> tuple[float, float]:
    """Wall time and processor time to segment ``images`` in batches [s]."""
    began = time.perf_counter(), time.process_time()
    for start in range(0, len(images), batch):
        some = images[start : start + batch]
        for _ in segmenter.segment_batch(some, [Wanted()] * len(some), [None] * len(some)):
            pass
    return time.perf_counter() - began[0], time.process_time() - began[1]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a line for each batch size."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.camera_batch", description=(__doc__ or "").splitlines()[0]
    )
    add_network_arguments(parser)
    add_method_argument(parser)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batches", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args(argv)
    try:
        measure(arguments)
    except ActiveSamError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


def measure(arguments: argparse.Namespace) -> None:
    """Segment the images one by one and in batches; prints a line for each batch size."""
    torch.set_num_threads(arguments.threads)
    network = load_network(network_options(arguments))
    method = method_from(arguments)
    segmenter = network.segmenter(
        vocabulary_from(arguments), settings_from(arguments, method), method
    )
    numbers = np.random.default_rng(0)
    images = [
        numbers.integers(0, 256, (*SIZES[place % len(SIZES)], 3), dtype=np.uint8)
        for place in range(max(arguments.batches))
    ]
    print(f"{network.device} ({network.dtype}), resolution {segmenter.resolution}")
    for batch in arguments.batches:
        some = images[:batch]
        cost(segmenter, some, batch)  # warms up
        pairs = [
            (cost(segmenter, some, 1), cost(segmenter, some, batch))
            for _ in range(arguments.rounds)
        ]
        alone_ms = statistics.median(one[1] for one, _ in pairs) / batch * 1e3
        together_ms = statistics.median(many[1] for _, many in pairs) / batch * 1e3
        clock, processor = (
            statistics.median(one[kind] / many[kind] for one, many in pairs) for kind in (0, 1)
        )
        print(
            f"{batch} images: {alone_ms:.0f} ms alone, {together_ms:.0f} ms together; "
            f"{clock:.2f} times as fast in wall time, {processor:.2f} in processor time",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
