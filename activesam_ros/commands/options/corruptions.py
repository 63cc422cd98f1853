"""The options that choose corruptions."""

from __future__ import annotations

import argparse
from pathlib import Path

from activesam_ros.errors import UsageError
from activesam_ros.evaluation.corruptions.catalogue import (
    ALL,
    DEFAULT_SEVERITY,
    NAMES,
    PAPER_CORRUPTIONS,
    Corrupter,
    CorruptionPlan,
    parse_corruptions,
)


def add_corruption_arguments(parser: argparse.ArgumentParser) -> None:
    """--corruption, --paper-corruptions, --corruption-seed and --frost-images."""
    parser.add_argument(
        "--corruption",
        action="append",
        default=[],
        metavar="NAME[:SEVERITY]",
        help="also evaluate under a corruption of ImageNet-C, with a severity from 1 to 5 (default "
        f"{DEFAULT_SEVERITY}); may be given several times, or as a list with commas: "
        f"{', '.join(NAMES)}, or {ALL}",
    )
    parser.add_argument(
        "--paper-corruptions",
        action="store_true",
        help="the corruptions of the ActiveSAM paper: "
        + ", ".join(str(corruption) for corruption in PAPER_CORRUPTIONS),
    )
    parser.add_argument(
        "--corruption-seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the random numbers of corruptions (default: %(default)s)",
    )
    parser.add_argument(
        "--frost-images",
        type=Path,
        metavar="DIR",
        help="ImageNet-C's pictures of frost (default: those of the package imagecorruptions)",
    )


def corruption_plan(args: argparse.Namespace) -> CorruptionPlan | None:
    """The corruptions that the options choose, None for none.

    Raises UsageError, and MissingDependencyError when a corruption lacks something it needs.
    """
    paper = PAPER_CORRUPTIONS if args.paper_corruptions else ()
    wanted = tuple(dict.fromkeys((*paper, *parse_corruptions(args.corruption))))
    if args.corruption_seed < 0:
        raise UsageError(f"--corruption-seed {args.corruption_seed} must be 0 or more.")
    if not wanted:
        return None
    plan = CorruptionPlan(wanted, args.corruption_seed, args.frost_images)
    Corrupter(plan)  # raises now what it would raise later in a worker
    return plan
