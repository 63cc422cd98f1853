"""Estimate the signatures of a vocabulary's classes from images without labels (ActiveSAM 2).

The file goes into the setting signatures, of the node or by --set.
"""

from __future__ import annotations

import argparse
import dataclasses
import textwrap
from collections.abc import Sequence
from pathlib import Path

from activesam_ros.calibration.estimator import (
    CALIBRATION_SETTINGS,
    CalibrationSettings,
    Group,
    signatures_of,
)
from activesam_ros.calibration.images import CalibrationImages
from activesam_ros.calibration.signature_files import write_signatures
from activesam_ros.calibration.worker import CalibrationResult, CalibrationTask
from activesam_ros.commands.options.executors import add_executor_arguments, executor_from
from activesam_ros.commands.options.network import (
    add_network_arguments,
    network_options,
    vocabulary_from,
)
from activesam_ros.console import answer, tell
from activesam_ros.errors import RecordingError, UsageError
from activesam_ros.execution.journaled_run import journaled_run, task_identity
from activesam_ros.execution.part_journal import PartJournal
from activesam_ros.output_files import check_output_file
from activesam_ros.progress import working
from activesam_ros.recordings.formats.decompression import add_max_message_argument
from activesam_ros.segmentation.background import background_class
from activesam_ros.segmentation.methods import Method, default_settings
from activesam_ros.segmentation.signatures import Signatures
from activesam_ros.setting_table import SettingValue, split_assignment
from activesam_ros.settings import Settings

SHOWN_CLASSES = 20
SHOWN_NAMES = 100
SHOWN_PROBLEMS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``activesam calibrate``."""
    parser.add_argument(
        "sources",
        nargs="+",
        type=Path,
        metavar="SOURCE",
        help="recordings, videos, images, folders of them, or patterns; no labels are read",
    )
    parser.add_argument(
        "--topic",
        action="append",
        default=[],
        metavar="T",
        help="an image topic; may be given several times (default: every topic of color images)",
    )
    add_network_arguments(parser)
    add_max_message_argument(parser)
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="use every N-th image (default: 1)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="use at most N images")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.npz")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the signatures of an earlier run"
    )
    add_executor_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Calibrate, or resume an interrupted calibration; raises ActiveSamError on bad input."""
    executor = executor_from(args)
    _check_arguments(args)
    settings, calibration = _settings(args.assignments)
    vocabulary = vocabulary_from(args)
    named = background_class(vocabulary, settings)
    images = CalibrationImages(
        tuple(args.sources),
        settings.bit_depth,
        settings.max_image_pixels,
        tuple(args.topic),
        args.every,
        args.limit,
        args.max_message_mib,
    )
    reader = images.open()
    network = network_options(args)
    task = CalibrationTask(images, network, vocabulary, settings, calibration, args.threads)
    with working(f"reading {network.weights}"):
        job = {
            **task_identity(network, vocabulary, reader.files),
            "part of the input": f"every {args.every}, limit {args.limit}, topics {args.topic}",
            "settings": repr(settings) + repr(calibration),
        }
    kept = args.output.with_name(args.output.name + ".partial")
    journal = PartJournal(kept, job, task.results)
    with journaled_run(
        executor, task, journal, reader.expected(), "image", "calibrating"
    ) as outcome:
        found = outcome.result
        _report_problems(found)
        if not found.images:
            raise RecordingError(f"None of the {found.unusable} images can be used.")
        background = None if named is None else vocabulary.classes.index(named)
        names = tuple(entry.name for entry in vocabulary.classes)
        signatures = signatures_of(
            found.sums, len(names), calibration, background, names, job["weights"]
        )
        origin = {
            "pool": [str(path) for path in args.sources],
            "n_images": found.images,
            "vocabulary": vocabulary.name,
            "background_label": background,
        }
        write_signatures(args.output, signatures, found.sums, calibration, origin)
    for line in summary(args.output, signatures, found, calibration).splitlines():
        answer(line)
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


def _report_problems(found: CalibrationResult) -> None:
    lines = [f"{note}." for note in found.notes]
    lines += [f"{times} x {text}" for text, times in found.problems.most_common(SHOWN_PROBLEMS)]
    for line in lines:
        tell(line)


def summary(
    path: Path, signatures: Signatures, found: CalibrationResult, settings: CalibrationSettings
) -> str:
    """Which classes are calibrated, and what to record for the others."""
    names = signatures.names or ()
    sums = found.sums
    won = dict(zip(sums.classes.tolist(), sums.sizes[Group.WON].tolist(), strict=True))
    images = dict(zip(sums.classes.tolist(), sums.images_won.tolist(), strict=True))
    short = [index for index in won if won[index] and not signatures.calibrated[index]]
    known = [name for name, good in zip(names, signatures.calibrated, strict=True) if good]
    unseen = [name for index, name in enumerate(names) if not won.get(index)]
    lines = [
        f"{path}: signatures of {len(known)} of {len(names)} classes, from {found.images} images; "
        f"{found.unusable} could not be used.",
        _listed("Calibrated", known),
    ]
    if short:
        lines.append(
            f"Not calibrated ({len(short)}), because they won fewer than {settings.least_cells} "
            "cells of 4 x 4 pixels;\n"
            "the highest score decides for them. To calibrate them, record images that show them:"
        )
        shown = sorted(short, key=lambda index: -won[index])[:SHOWN_CLASSES]
        width = max(len(names[index]) for index in shown)
        for index in shown:
            more = -(-(settings.least_cells - won[index]) * images[index] // won[index])
            lines.append(
                f"  {names[index]:<{width}}  {won[index]:>6} cells in {images[index]} images; "
                f"about {more} more such images"
            )
        if len(short) > len(shown):
            lines.append(f"  and {len(short) - len(shown)} more classes")
    if unseen:
        lines.append(_listed("Not seen; record images of them or leave them out", unseen))
    return "\n".join(lines)


def _listed(what: str, names: Sequence[str]) -> str:
    hidden = len(names) - SHOWN_NAMES
    listed = ", ".join(names[:SHOWN_NAMES]) + (f" and {hidden} more" if hidden > 0 else "")
    text = f"{what} ({len(names)}): {listed or 'none'}."
    return textwrap.fill(text, width=100, subsequent_indent="  ", break_on_hyphens=False)
