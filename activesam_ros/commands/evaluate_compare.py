"""Compare two runs; exit with 1 when a stated metric got worse by more than a stated amount."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from activesam_ros.console import tell
from activesam_ros.evaluation.scoring.compare_runs import (
    CLASS_PREFIX,
    Difference,
    differences,
    limit_of,
    read_run,
    unlike,
    violations,
)
from activesam_ros.evaluation.scoring.results import text_table

EXIT_WORSE = 1
SHOWN_CLASSES = 10
SHOWN_UNLIKE = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``activesam evaluate compare``."""
    for run, role in (("A", "before"), ("B", "after")):
        parser.add_argument(
            run.lower(), type=Path, metavar=run, help=f"the run {role}: results.json, or its folder"
        )
    parser.add_argument(
        "--fail-if",
        action="append",
        default=[],
        metavar="LIMIT",
        help="METRIC:AMOUNT or METHOD/METRIC:AMOUNT: exit with 1 when the metric is worse in B by "
        "more than AMOUNT, in its own unit or, with a per cent sign, as a share of A's value; may "
        "be given several times (miou:0.01, activesam/latency_ms.p95:10%%, "
        "per_class_iou.person:0.02)",
    )


def run(args: argparse.Namespace) -> int:
    """Print the comparison; raises ActiveSamError on bad input."""
    first, second = read_run(args.a), read_run(args.b)
    found = differences(first, second)
    methods = [*first["methods"], *second["methods"]]
    worse = violations([limit_of(text, methods) for text in args.fail_if], found)
    differing = unlike(first, second)
    if differing:
        hidden = len(differing) - SHOWN_UNLIKE
        more = f" and {hidden} more" if hidden > 0 else ""
        tell(
            f"the runs differ in {', '.join(differing[:SHOWN_UNLIKE])}{more}.",
        )
    for method in dict.fromkeys((*first["methods"], *second["methods"])):
        if method not in first["methods"] or method not in second["methods"]:
            run_name = "A" if method in first["methods"] else "B"
            tell(f"only {run_name} has the method {method}.")
    print(difference_table(found))
    for sentence in worse:
        tell(sentence)
    return EXIT_WORSE if worse else 0


def difference_table(found: Sequence[Difference]) -> str:
    """One line per metric; of classes, the SHOWN_CLASSES per method that changed most."""
    classes = [e for e in found if e.metric.startswith(CLASS_PREFIX) and e.worsening]
    changed = sorted(classes, key=lambda entry: -abs(entry.worsening or 0.0))
    shown = [
        entry
        for method in {entry.method for entry in classes}
        for entry in [e for e in changed if e.method == method][:SHOWN_CLASSES]
    ]
    rows = [
        (e.metric, e.method, _text(e.first), _text(e.second), _change(e), _verdict(e))
        for e in found
        if not e.metric.startswith(CLASS_PREFIX) or e in shown
    ]
    return text_table([("metric", "method", "A", "B", "change", ""), *rows])


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.4g}"


def _change(entry: Difference) -> str:
    if entry.first is None or entry.second is None:
        return "-"
    return f"{entry.second - entry.first:+.4g}"


def _verdict(entry: Difference) -> str:
    if not entry.worsening:
        return ""
    return "worse" if entry.worsening > 0 else "better"
