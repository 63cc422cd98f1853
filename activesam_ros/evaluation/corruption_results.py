"""Results under corruptions: their entry in results.json, and the table that commands print."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from activesam_ros.evaluation.evaluator import Tallies
from activesam_ros.evaluation.scoring.results import percent, text_table

AVERAGED = ("miou", "miou_of_labelled_classes", "pixel_accuracy")

LEADING = "miou_of_labelled_classes"


def corruption_results(tallies: Tallies, seed: int) -> dict[str, Any]:
    """The entry ``corruptions`` of results.json.

    A mean is None unless the figure is known under every corruption.
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
    """mIoU of the labelled classes in per cent: a line per corruption, a column per method; then
    the mean and its drop.

    Without ground truth, the agreement with the labels of the clean image takes its place.
    """
    methods = content["methods"]
    labelled = any(entry[LEADING] is not None for entry in methods.values())
    key = LEADING if labelled else "agreement_with_clean"
    rows = [("labelled mIoU %" if labelled else "same as clean %", *methods)]
    if labelled:
        rows.append(("clean", *(percent(entry[LEADING]) for entry in methods.values())))
    corruptions = content["corruptions"]
    for name, run in corruptions["runs"].items():
        rows.append((name, *(percent(run["methods"][method][key]) for method in methods)))
    means = [corruptions["mean"][method] for method in methods]
    rows.append(("mean", *(percent(mean[key]) for mean in means)))
    if labelled:
        rows.append(("mean drop", *(percent(mean[f"{LEADING}_drop"]) for mean in means)))
    return text_table(rows)


def _mean(
    clean: Mapping[str, Any], corrupted: Sequence[Mapping[str, Any]]
) -> dict[str, float | None]:
    mean: dict[str, float | None] = {}
    for key in (*AVERAGED, "agreement_with_clean"):
        values = [entry[key] for entry in corrupted]
        mean[key] = None if None in values else math.fsum(values) / len(values)
    for key in AVERAGED:
        value = mean[key]
        mean[f"{key}_drop"] = None if value is None or clean[key] is None else clean[key] - value
    return mean
