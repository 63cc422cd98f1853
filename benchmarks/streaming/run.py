"""What streaming costs and gains on a demo drive, against a full preview of every frame.

    python -m benchmarks.streaming --weights weights/demo/model.safetensors --frames 1000 \
        --names 150 --output out/streaming
    python -m benchmarks.streaming --weights weights/demo/model.safetensors --frames 200 \
        --names driving --method activesam2 --output out/streaming

The variants segment the same frames in turn, so that other work on the computer affects all alike.
Times are wall time and processor time of all threads. The frames are rendered once and kept in
OUTPUT/drive. Results are kept in OUTPUT/NAMES.VARIANT.journal, and the same command given again
continues where it was interrupted. Commands with other --names or --variants may share an OUTPUT
and run at the same time; the last one to end writes the figures of all, as --report-only does. The
figures are results.json, streaming.md and a plot for each vocabulary. Another method or other
settings need another OUTPUT.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from activesam_ros.commands.options.network import add_set_argument
from activesam_ros.demo.drive.options import TEST_SEEDS, DriveOptions
from activesam_ros.demo.world.classes import CLASS_COUNT
from activesam_ros.errors import ActiveSamError, UsageError
from activesam_ros.output_files import check_output_folder, make_folder
from activesam_ros.pipeline import Network, NetworkOptions, load_network
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.resumable_work import vocabulary_identity
from activesam_ros.segmentation.methods import METHODS, Method, default_settings
from activesam_ros.segmentation.result import Reason, Segmentation
from activesam_ros.settings import Settings
from activesam_ros.streaming.stream import StreamState
from activesam_ros.streaming.streams import StreamingSegmenter
from benchmarks.streaming.journal import SUFFIX, Record, RunJournal
from benchmarks.streaming.kept_drive import KeptDrive, KeptFrame
from benchmarks.streaming.report import write_report
from benchmarks.streaming.vocabulary import vocabulary_named

EXIT_BAD_INPUT = 2
CAMERA = "front"
PRUNING = tuple(method.value for method, steps in METHODS.items() if steps.previews)
# What a variant changes in the method's own settings.
VARIANTS: Mapping[str, Mapping[str, object]] = {
    "per_frame": {},
    "streaming": {"streaming": True},
    "streaming_shared": {"streaming": True, "preview_encoding": "shared"},
    "per_frame_shared": {"preview_encoding": "shared"},
}


class VariantRun:
    """One variant with one vocabulary; continues after the last frame of its journal."""

    def __init__(
        self,
        network: Network,
        vocabulary: Vocabulary,
        settings: Settings,
        method: Method,
        journal: RunJournal,
    ) -> None:
        """Compile the vocabulary's prompts and segment a blank image to warm up."""
        self.journal = journal
        self._vocabulary = vocabulary
        self._segmenter = network.streaming_if_enabled(vocabulary, settings, method)
        self._segmenter.segment(np.zeros((384, 640, 3), np.uint8))
        state = journal.stream()
        if isinstance(self._segmenter, StreamingSegmenter) and state is not None:
            self._segmenter.resume(CAMERA, StreamState.from_text(state))

    def add(self, frame: KeptFrame) -> None:
        """Segment the next frame and keep its result."""
        wall_s, processor_s = time.perf_counter(), time.process_time()
        result = self._segment(frame)
        processor_ms = (time.process_time() - processor_s) * 1e3
        wall_ms = (time.perf_counter() - wall_s) * 1e3
        stream = None
        if isinstance(self._segmenter, StreamingSegmenter):
            state = self._segmenter.state(CAMERA)
            stream = None if state is None else state.to_text()
        query_class = self._vocabulary.query_class
        reasons = {entry.id: entry.reason for entry in result.classes}
        active = tuple(sorted({query_class[query] for query in result.active_queries}))
        ids = [entry.id for entry in self._vocabulary.classes]
        record = Record(
            wall_ms=round(wall_ms, 2),
            processor_ms=round(processor_ms, 2),
            previewed=sum(value is not None for value in result.preview_presence),
            active=active,
            entered=tuple(index for index in active if reasons[ids[index]] is Reason.PREVIEWED),
            presence={
                entry.name: round(entry.presence, 4)
                for entry in result.classes
                if entry.presence is not None and entry.id < CLASS_COUNT
            },
        )
        self.journal.append(record, result.labels, stream)

    def _segment(self, frame: KeptFrame) -> Segmentation:
        if isinstance(self._segmenter, StreamingSegmenter):
            return self._segmenter.frame(CAMERA, frame.stamp_ns).segment(frame.image)
        return self._segmenter.segment(frame.image)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing, write the figures and print them."""
    try:
        args = _parse(arguments)
        check_output_folder(args.output)
        make_folder(args.output)
        if not args.report_only:
            measure(args)
        print(write_report(args.output))
    except ActiveSamError as error:
        print(f"benchmarks.streaming: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


def measure(args: argparse.Namespace) -> None:
    """Segment every frame with every variant that lacks it."""
    torch.set_num_threads(args.threads)
    network = load_network(NetworkOptions(weights=args.weights, device=args.device))
    options = DriveOptions(seed=args.seed, frames=args.frames, rate_hz=args.rate)
    drive = KeptDrive(args.output / "drive", options)
    stop = min(args.stop or args.frames, args.frames)
    runs = [
        _run(args, network, vocabulary, name, drive)
        for vocabulary in args.names
        for name in args.variants
    ]
    first = min(run.journal.done for run in runs)
    try:
        for index in tqdm(range(first, stop), initial=first, total=stop, unit="frame"):
            frame = drive.frame(index)
            for run in runs:
                if run.journal.done == index:
                    run.add(frame)
    finally:
        for run in runs:
            run.journal.close()


def _run(
    args: argparse.Namespace, network: Network, vocabulary: Vocabulary, name: str, drive: KeptDrive
) -> VariantRun:
    method = Method(args.method)
    settings = default_settings(method).replace(VARIANTS[name]).assign(args.assignments)
    job: Mapping[str, object] = {
        "vocabulary": vocabulary.name,
        "classes": vocabulary_identity(vocabulary),
        "queries": len(vocabulary.queries),
        "variant": name,
        "method": method.value,
        "weights": network.fingerprint,
        "weights_file": str(args.weights),
        "drive": dataclasses.asdict(drive.options),
        "drive_folder": str(drive.folder.relative_to(args.output)),
        "settings": args.assignments,
        "all_settings": repr(settings),
        "device": str(network.device),
        "dtype": str(network.dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "threads": args.threads,
    }
    path = args.output / f"{vocabulary.name}.{name}{SUFFIX}"
    return VariantRun(network, vocabulary, settings, method, RunJournal(path, job))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.streaming", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--frames", type=int, default=1000, help="of the drive (%(default)s)")
    parser.add_argument("--stop", type=int, help="stop after this many frames of the drive")
    parser.add_argument("--rate", type=float, default=10.0, help="Hz (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=TEST_SEEDS[0])
    parser.add_argument(
        "--names",
        default="150,1000",
        help="vocabularies: numbers of names, or bundled ones that begin with the demo's classes "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--method", default="activesam2", choices=PRUNING, help="default: %(default)s"
    )
    parser.add_argument("--variants", default="per_frame,streaming", help=", ".join(VARIANTS))
    add_set_argument(parser)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--report-only", action="store_true", help="segment nothing")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    if args.weights is None and not args.report_only:
        raise UsageError("--weights is missing; give the path of the weights.")
    args.names = [vocabulary_named(text.strip()) for text in args.names.split(",")]
    args.variants = args.variants.split(",")
    for name in args.variants:
        if name not in VARIANTS:
            raise UsageError(f"--variants {name!r} is unknown; give some of {', '.join(VARIANTS)}.")
    return args


if __name__ == "__main__":
    sys.exit(main())
