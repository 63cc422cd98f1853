"""Estimate the signatures of a vocabulary's classes from images without labels (ActiveSAM 2).

The file goes into the setting signatures, of the node or by --set.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from activesam_ros.calibration.calibrate import calibrate
from activesam_ros.calibration.estimator import (
    CALIBRATION_SETTINGS,
    CalibrationSettings,
    signatures_of,
)
from activesam_ros.calibration.signature_files import Checkpoint, write_signatures
from activesam_ros.commands.options.network import (
    add_network_arguments,
    network_options,
    vocabulary_from,
)
from activesam_ros.errors import RecordingError, UsageError
from activesam_ros.output_files import check_output_file, make_folder
from activesam_ros.pipeline import load_network
from activesam_ros.progress import Progress, working
from activesam_ros.recordings.input_files import expand_inputs
from activesam_ros.recordings.picture_frames import TOPIC, FrameSource, open_frames
from activesam_ros.recordings.recorded_frames import RecordedFrame, Recording
from activesam_ros.recordings.topic_choice import chosen_topics
from activesam_ros.resumable_work import files_identity, vocabulary_identity
from activesam_ros.sam3.checkpoint import weights_fingerprint
from activesam_ros.segmentation.background import background_class
from activesam_ros.segmentation.methods import Method, default_settings
from activesam_ros.segmentation.signatures import Signatures
from activesam_ros.setting_table import SettingValue, split_assignment
from activesam_ros.settings import Settings

SHOWN_CLASSES = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``activesam calibrate``."""
    parser.add_argument(
        "sources",
        nargs="+",
        type=Path,
        metavar="SOURCE",
        help="recordings, videos, images, folders of them, or patterns; no labels are read",
    )
    add_network_arguments(parser)
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="use every N-th image (default: 1)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="use at most N images")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.npz")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the signatures of an earlier run"
    )


def run(args: argparse.Namespace) -> int:
    """Calibrate, or resume an interrupted calibration; raises ActiveSamError on bad input."""
    _check_arguments(args)
    settings, calibration = _settings(args.assignments)
    sources = _sources(args.sources, settings)
    vocabulary = vocabulary_from(args)
    options = network_options(args)
    with working(f"loading {options.weights}"):
        network = load_network(options)
        fingerprint = weights_fingerprint(options.weights)
    with working(f"compiling the vocabulary {vocabulary.name}"):
        segmenter = network.segmenter(vocabulary, settings.per_image(), Method.ACTIVESAM2)
    job = {
        "input": files_identity(file for source in sources for file in source.frames.files),
        "part of the input": f"every {args.every}, limit {args.limit}",
        "weights": fingerprint,
        "configuration": repr(network.config),
        "vocabulary": vocabulary_identity(vocabulary),
        "settings": repr(settings) + repr(calibration),
        "dtype": str(network.dtype),
    }
    make_folder(args.output.parent)
    kept = args.output.with_name(args.output.name + ".partial")
    begun = Checkpoint.read(kept, job, len(vocabulary.classes))
    frames = islice(_frames(sources), 0, None, args.every)
    try:
        with Progress(_expected(sources, args), "image", "calibrating", begun.images) as progress:
            done = calibrate(
                segmenter,
                islice(frames, args.limit),
                calibration,
                begun,
                lambda done: done.write(kept, job),
                progress.update,
            )
    except KeyboardInterrupt:
        print(
            f"activesam: what is done is kept in {kept}; repeat the command to resume from there.",
            file=sys.stderr,
        )
        raise
    usable = done.images - done.unusable
    if not usable:
        kept.unlink(missing_ok=True)
        raise RecordingError(f"None of the {done.images} images can be used.")
    named = background_class(vocabulary, settings)
    background = None if named is None else vocabulary.classes.index(named)
    names = tuple(entry.name for entry in vocabulary.classes)
    signatures = signatures_of(done.totals, calibration, background, names, fingerprint)
    origin = {
        "pool": [str(path) for path in args.sources],
        "n_images": usable,
        "vocabulary": vocabulary.name,
        "background_label": background,
    }
    write_signatures(args.output, signatures, done.totals, calibration, origin)
    kept.unlink(missing_ok=True)
    _report(args.output, signatures, done, calibration)
    return 0


def _check_arguments(args: argparse.Namespace) -> None:
    if args.every < 1:
        raise UsageError(f"--every {args.every} must be 1 or more.")
    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit {args.limit} must be 1 or more.")
    check_output_file(args.output, longest_suffix=".partial")
    if args.output.exists() and not args.overwrite:
        raise UsageError(f"{args.output} exists; give another --output, or --overwrite.")


def _settings(assignments: Sequence[str]) -> tuple[Settings, CalibrationSettings]:
    """The settings of the method and of the calibration that --set names."""
    rows = {row.name: row for row in CALIBRATION_SETTINGS}
    values: dict[str, SettingValue] = {}
    others: list[str] = []
    for assignment in assignments:
        name, text = split_assignment(assignment)
        if name in rows:
            values[name] = rows[name].parse(text)
        else:
            others.append(assignment)
    settings = default_settings(Method.ACTIVESAM2).assign(others)
    # Signatures do not change the scores from which others are estimated.
    settings = settings.replace({"signatures": ""})
    return settings, dataclasses.replace(CalibrationSettings(), **values)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Source:
    frames: FrameSource
    topics: tuple[str, ...]


def _sources(given: Sequence[Path], settings: Settings) -> list[_Source]:
    found = []
    for file in expand_inputs(given):
        frames = open_frames([file.path], settings.bit_depth, settings.max_image_pixels)
        topics = chosen_topics(frames, ()) if isinstance(frames, Recording) else (TOPIC,)
        found.append(_Source(frames, topics))
    return found


def _frames(sources: Sequence[_Source]) -> Iterator[RecordedFrame]:
    for source in sources:
        yield from source.frames.frames(source.topics)


def _expected(sources: Sequence[_Source], args: argparse.Namespace) -> int | None:
    """The number of images to use, None when a source does not tell."""
    counts = [source.frames.message_count(source.topics) for source in sources]
    if any(count is None for count in counts):
        return None
    total: int = -(-sum(count or 0 for count in counts) // args.every)
    limit: int | None = args.limit
    return total if limit is None else min(total, limit)


def _report(
    path: Path, signatures: Signatures, done: Checkpoint, settings: CalibrationSettings
) -> None:
    names = signatures.names or ()
    known = [name for name, good in zip(names, signatures.calibrated, strict=True) if good]
    short = [name for name, good in zip(names, signatures.calibrated, strict=True) if not good]
    print(
        f"{path}: signatures from {done.images - done.unusable} images, {done.unusable} could not "
        f"be used; {len(known)} of {len(names)} classes are calibrated: {_listed(known)}."
    )
    if short:
        print(
            f"{len(short)} classes won fewer than {settings.min_pixels} cells of 4 x 4 pixels and "
            f"keep plain arg max: {_listed(short)}. Record more images that show them."
        )


def _listed(names: Sequence[str]) -> str:
    hidden = len(names) - SHOWN_CLASSES
    return ", ".join(names[:SHOWN_CLASSES]) + (f" and {hidden} more" if hidden > 0 else "")
