"""The options that say under which corruptions to evaluate, and what is told of them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
from activesam_ros.evaluation.evaluator import Tallies
from activesam_ros.evaluation.scoring.results import percent, text_table

AVERAGED = ("miou", "pixel_accuracy")


def add_corruption_arguments(parser: argparse.ArgumentParser) -> None:
    """--corruption, --paper-corruptions, --corruption-seed and --frost-images."""
    parser.add_argument(
        "--corruption",
        action="append",
        default=[],
        metavar="NAME[:SEVERITY]",
        help="also evaluate under a corruption of ImageNet-C, at a severity of 1 to 5 (default "
        f"{DEFAULT_SEVERITY}); may be given several times or as a list with commas: "
        f"{', '.join(NAMES)}, or {ALL}",
    )
    parser.add_argument(
        "--paper-corruptions",
        action="store_true",
        help="those that ActiveSAM was published under: "
        + ", ".join(str(corruption) for corruption in PAPER_CORRUPTIONS),
    )
    parser.add_argument(
        "--corruption-seed",
        type=int,
        default=0,
        metavar="N",
        help="of the corruptions' random numbers (default: %(default)s)",
    )
    parser.add_argument(
        "--frost-images",
        type=Path,
        metavar="DIR",
        help="ImageNet-C's pictures of frost (default: those of the package imagecorruptions)",
    )


def corruption_plan(args: argparse.Namespace) -> CorruptionPlan | None:
    """What the options ask for, None for no corruption.

    Raises UsageError, and MissingDependencyError where something needed is not there.
    """
    paper = PAPER_CORRUPTIONS if args.paper_corruptions else ()
    wanted = tuple(dict.fromkeys((*paper, *parse_corruptions(args.corruption))))
    if args.corruption_seed < 0:
        raise UsageError(f"--corruption-seed {args.corruption_seed} must be 0 or more.")
    if not wanted:
        return None
    plan = CorruptionPlan(wanted, args.corruption_seed, args.frost_images)
    Corrupter(plan)  # refuses now what a worker would refuse later
    return plan


def corruption_results(tallies: Tallies, seed: int) -> dict[str, Any]:
    """The entry ``corruptions`` of results.json.

    A mean is None where the figure is not known of every corruption.
    """
    runs = {
        str(corruption): {
            "methods": {
                method.value: tally.results()
                | {"agreement_with_clean": tallies.clean_agreement[corruption][method].value}
                for method, tally in methods.items()
            }
        }
        for corruption, methods in tallies.corrupted.items()
    }
    return {
        "seed": seed,
        "runs": runs,
        "mean": {
            method.value: _mean(
                tally.results(), [run["methods"][method.value] for run in runs.values()]
            )
            for method, tally in tallies.clean.items()
        },
    }


def corruption_table(content: Mapping[str, Any]) -> str:
    """mIoU in per cent of each method (a column) under each corruption (a line), and the mean drop.

    Where nothing is labelled, the agreement with the labels of the clean image instead.
    """
    methods = content["methods"]
    labelled = any(entry["miou"] is not None for entry in methods.values())
    key = "miou" if labelled else "agreement_with_clean"
    rows = [("mIoU %" if labelled else "same as clean %", *methods)]
    if labelled:
        rows.append(("clean", *(percent(entry["miou"]) for entry in methods.values())))
    corruptions = content["corruptions"]
    for name, run in corruptions["runs"].items():
        rows.append((name, *(percent(run["methods"][method][key]) for method in methods)))
    means = [corruptions["mean"][method] for method in methods]
    rows.append(("mean", *(percent(mean[key]) for mean in means)))
    if labelled:
        rows.append(("mean drop", *(percent(mean["miou_drop"]) for mean in means)))
    return text_table(rows)


def _mean(clean: Mapping[str, Any], corrupted: list[Mapping[str, Any]]) -> dict[str, float | None]:
    mean: dict[str, float | None] = {}
    for key in (*AVERAGED, "agreement_with_clean"):
        values = [entry[key] for entry in corrupted]
        mean[key] = None if None in values else math.fsum(values) / len(values)
    for key in AVERAGED:
        value = mean[key]
        mean[f"{key}_drop"] = None if value is None or clean[key] is None else clean[key] - value
    return mean
