"""How time and memory grow with vocabulary, active classes, image size, resolution and cameras.

    python -m benchmarks.growth --output out/growth

Each point is measured in a process of its own, which segments the same frames after one to warm up.
Time is CPU time, since other work affects it least, divided among the stages in proportion to their
wall time. Writes growth.json and growth.png.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from activesam_ros.allocator import keep_freed_memory
from activesam_ros.errors import ActiveSamError
from activesam_ros.output_files import check_output_folder, write_whole
from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass
from activesam_ros.segmentation.methods import Method
from activesam_ros.segmentation.result import Wanted
from activesam_ros.settings import Settings
from benchmarks.engines import network
from benchmarks.growth_plot import plot
from benchmarks.measure import images, in_new_process
from benchmarks.options import BenchmarkOptions

EXIT_BAD_INPUT = 2
PREVIEW_STAGES = ("preview_encode", "preview")


@dataclass(frozen=True)
class Load:
    """One point of a sweep.

    vocabulary: queries in the vocabulary. active: queries that are decoded. width: of the images
    [px], which are 5:3. resolution: side of the square that the network sees [px], 0 for its own.
    """

    vocabulary: int = 200
    active: int = 30
    width: int = 640
    resolution: int = 0
    cameras: int = 1


@dataclass(frozen=True)
class Point:
    """The cost of one frame of every camera: CPU time of preview and rest, and memory."""

    load: Load
    preview_s: float
    other_s: float
    peak_memory_mib: float


SWEEPS: dict[str, tuple[int, ...]] = {
    "vocabulary": (10, 50, 200, 500, 1000, 2000),
    "active": (1, 10, 30, 60, 120, 200),
    "width": (320, 640, 1280, 1920),
    "resolution": (144, 192, 240, 288, 384, 480),
    "cameras": (1, 2, 4),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write the figures and plot them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--weights", default="demo", help="demo, random-demo or a path")
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    args = parser.parse_args(argv)
    try:
        check_output_folder(args.output)
        options = BenchmarkOptions(weights=args.weights, frames=args.frames, device=args.device)
        points = {
            name: [_alone(options, replace(Load(), **{name: value})) for value in values]
            for name, values in SWEEPS.items()
        }
        result = {name: [asdict(point) for point in sweep] for name, sweep in points.items()}
        write_whole(args.output / "growth.json", json.dumps(result, indent=1) + "\n")
        plot(result, args.output / "growth.png")
    except ActiveSamError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


def _alone(options: BenchmarkOptions, load: Load) -> Point:
    point = in_new_process(measure, options, load)
    print(
        f"{load}: preview {point.preview_s:.3f} s, other {point.other_s:.3f} s, "
        f"{point.peak_memory_mib:.0f} MiB"
    )
    return point


def measure(options: BenchmarkOptions, load: Load) -> Point:
    """Segment frames in this process, whose peak memory counts."""
    keep_freed_memory()
    torch.set_num_threads(1)
    options = replace(options, width=load.width, height=load.width * 3 // 5)
    with tempfile.TemporaryDirectory() as folder:
        loaded = network(options, Path(folder))
        segmenter = loaded.segmenter(names(load.vocabulary), settings(load), Method.ACTIVESAM)
    pictures = images(options, options.frames)
    shares, seconds = [], []
    for picture in [pictures[0], *pictures]:
        begin_s = time.process_time()
        *_, last = segmenter.segment_batch(
            [picture] * load.cameras, [Wanted()] * load.cameras, [None] * load.cameras
        )
        seconds.append(time.process_time() - begin_s)
        timings = last.timings_ms
        shares.append(sum(timings.get(stage, 0.0) for stage in PREVIEW_STAGES) / timings["total"])
    preview_s = [share * total for share, total in zip(shares, seconds, strict=True)][1:]
    other_s = [(1 - share) * total for share, total in zip(shares, seconds, strict=True)][1:]
    return Point(
        load,
        statistics.median(preview_s),
        statistics.median(other_s),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
    )


def names(count: int) -> Vocabulary:
    """``count`` classes of one query each."""
    classes = tuple(
        VocabularyClass(id=index, names=(f"thing {index}",), color=(0, 0, 0), hypernyms=((),))
        for index in range(count)
    )
    return Vocabulary("numbers", classes)


def settings(load: Load) -> Settings:
    """Settings with which ``load.active`` queries of the vocabulary are active."""
    share = min(1.0, (load.active + 1) / load.vocabulary)
    return Settings(max_active=load.active, quantile_alpha=share, resolution=load.resolution)


if __name__ == "__main__":
    sys.exit(main())
