"""The time from the start of a process to its first label map, with cold and warm caches.

    python -m benchmarks.start --vocabulary ade20k --json start.json

Cold: no compiled prompts and no compiled kernels on the disk. Warm: those of the process before,
the median of several runs. The time includes imports, loading and, with `compile`, compilation and
the recording of CUDA graphs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from activesam_ros.commands.options.network import add_set_argument
from activesam_ros.errors import ActiveSamError, UsageError
from activesam_ros.output_files import check_output_file, write_whole
from benchmarks.engines import weights_path
from benchmarks.options import BenchmarkOptions

EXIT_BAD_INPUT = 2

# Prints the seconds since the process started, and the shape of the labels.
FIRST_MASK = """
import os, sys, time
ticks = int(open("/proc/self/stat").read().rpartition(")")[2].split()[19])
began_s = ticks / os.sysconf("SC_CLK_TCK")
from pathlib import Path
import numpy as np
from activesam_ros.pipeline import NetworkOptions, load_network
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.settings import Settings
weights, device, folder, vocabulary, *assignments = sys.argv[1:]
options = NetworkOptions(weights=Path(weights), device=device, cache_dir=Path(folder))
segmenter = load_network(options).segmenter(
    load_vocabulary(vocabulary), Settings(compile="auto").assign(assignments)
)
labels = segmenter.segment(np.zeros((384, 640, 3), np.uint8)).labels
print(time.clock_gettime(time.CLOCK_BOOTTIME) - began_s, *labels.shape)
"""


@dataclass(frozen=True)
class Starts:
    """Seconds from start to first mask."""

    cold_s: float
    warm_s: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write the JSON file if one is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument(
        "--weights", default="demo", help="demo, random-demo, random-full or a path"
    )
    parser.add_argument("--vocabulary", default="driving", metavar="NAME|FILE")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--runs", type=int, default=3, help="with warm caches")
    add_set_argument(parser)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    try:
        if args.runs < 1:
            raise UsageError(f"--runs={args.runs} must be at least 1.")
        if args.json is not None:
            check_output_file(args.json, "--json")
        with tempfile.TemporaryDirectory() as folder:
            weights = weights_path(BenchmarkOptions(weights=args.weights), Path(folder))
            arguments = (str(weights), args.device, folder, args.vocabulary, *args.assignments)
            starts = measure(arguments, Path(folder) / "compiled", args.runs)
        print(f"start to first mask: {starts.cold_s:.1f} s cold, {starts.warm_s:.1f} s warm")
        if args.json is not None:
            write_whole(args.json, json.dumps(asdict(starts), indent=1) + "\n")
    except ActiveSamError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


def measure(arguments: Sequence[str], compiled: Path, runs: int) -> Starts:
    """arguments: of FIRST_MASK; compiled: a folder for PyTorch's kernels, not there yet."""
    cold_s, *warm_s = (_start(arguments, compiled) for _ in range(1 + runs))
    return Starts(cold_s, statistics.median(warm_s))


def _start(arguments: Sequence[str], compiled: Path) -> float:
    caches = {
        "TORCHINDUCTOR_CACHE_DIR": str(compiled),
        "TRITON_CACHE_DIR": str(compiled / "triton"),
    }
    process = subprocess.run(
        [sys.executable, "-c", FIRST_MASK, *arguments],
        env=os.environ | caches,
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        reason = (process.stderr.strip().splitlines() or ["no output"])[-1]
        raise UsageError(f"The process made no mask: {reason}")
    return float(process.stdout.split()[-3])


if __name__ == "__main__":
    sys.exit(main())
