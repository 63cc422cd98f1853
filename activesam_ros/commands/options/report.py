"""``--report DIR`` of the commands that evaluate."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from activesam_ros.evaluation.evaluator import Tallies
from activesam_ros.evaluation.scoring.results import check_output
from activesam_ros.prompts.vocabulary import Vocabulary


def add_report_argument(parser: argparse.ArgumentParser) -> None:
    """--report."""
    parser.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help="write a page to look at (index.html), results.json and CSV files there",
    )


def check_report(folder: Path | None) -> None:
    """Refuse what cannot be a folder, before any work is done; raises UsageError."""
    if folder is not None:
        check_output(folder, "--report")


def write_report_of(
    folder: Path | None, content: Mapping[str, Any], vocabulary: Vocabulary, tallies: Tallies
) -> None:
    """Write the report where one was asked for, and say so; raises UsageError."""
    if folder is None or tallies.pictures is None:
        return
    # only here: nothing else needs a template engine
    from activesam_ros.evaluation.report.write_report import Evaluated, write_report

    frames = {method.value: tally.figures for method, tally in tallies.clean.items()}
    path = write_report(folder, Evaluated(content, vocabulary, frames, tallies.pictures))
    print(f"{path} written.")
