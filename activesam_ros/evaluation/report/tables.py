"""The lesser tables of the report, as text: corruptions, confusion matrices and stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from activesam_ros.evaluation.corruption_results import LEADING
from activesam_ros.evaluation.scoring.results import number, percent

MATRIX_CLASSES = 24


@dataclass(frozen=True, slots=True)
class CorruptionTable:
    """The figure of each method under each corruption, in per cent.

    title: the name of the figure. rows: the corruption, and by method the figure and its difference
    from clean images, "" if unknown.
    """

    title: str
    rows: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


def corruption_figures(content: Mapping[str, Any]) -> CorruptionTable | None:
    """Mean IoU of the labelled classes, or without ground truth the share of pixels that keep the
    label of the clean image.

    None without corruptions.
    """
    if "corruptions" not in content:
        return None
    methods, corruptions = content["methods"], content["corruptions"]
    labelled = any(entry[LEADING] is not None for entry in methods.values())
    key = LEADING if labelled else "agreement_with_clean"

    def row(name: str, entries: Mapping[str, Any]) -> tuple[str, tuple[tuple[str, str], ...]]:
        cells = []
        for method, clean in methods.items():
            value = entries[method][key]
            known = labelled and value is not None and clean[LEADING] is not None
            drop = f"{(value - clean[LEADING]) * 100:+.1f}" if known else ""
            cells.append((percent(value), drop))
        return name, tuple(cells)

    rows = [row(name, run["methods"]) for name, run in corruptions["runs"].items()]
    rows.append(row("mean", corruptions["mean"]))
    if labelled:
        clean = tuple((percent(entry[LEADING]), "") for entry in methods.values())
        rows.insert(0, ("clean", clean))
    title = (
        "Mean IoU of labelled classes, %"
        if labelled
        else "Pixels with the label of the clean image, %"
    )
    return CorruptionTable(title, tuple(rows))


@dataclass(frozen=True, slots=True)
class Matrix:
    """A confusion matrix; each row gives the shares of predicted classes for one label.

    rows: name, and cells in per cent as number and text. left_out: number of classes not shown.
    """

    method: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[float, str], ...]], ...]
    left_out: int


def matrices(content: Mapping[str, Any], most: int = MATRIX_CLASSES) -> tuple[Matrix, ...]:
    """One matrix per method with ground truth, of the ``most`` classes with most labelled pixels.

    Predictions of all other classes share one column.
    """
    return tuple(
        _matrix(name, entry["confusion_matrix"], most)
        for name, entry in content["methods"].items()
        if entry["confusion_matrix"]
    )


def _matrix(method: str, matrix: Mapping[str, Any], most: int) -> Matrix:
    counts = np.array(matrix["counts"], np.int64)
    pixels = counts.sum(axis=1)[:-1]
    labelled = [index for index in np.argsort(-pixels, kind="stable").tolist() if pixels[index]]
    shown = labelled[:most]
    names = matrix["classes"]
    others = np.setdiff1d(np.arange(len(counts)), shown)
    columns = [names[index] for index in shown]
    values = counts[np.ix_(shown, shown)]
    if counts[np.ix_(shown, others)].any():
        columns.append("all others")
        values = np.hstack([values, counts[np.ix_(shown, others)].sum(axis=1, keepdims=True)])
    rows = []
    for place, index in enumerate(shown):
        shares = values[place] / pixels[index]
        cells = tuple((round(float(s) * 100, 1), _cell(float(s))) for s in shares)
        rows.append((names[index], cells))
    return Matrix(method, tuple(columns), tuple(rows), len(labelled) - len(shown))


def _cell(share: float) -> str:
    if share == 0:
        return ""
    return "<1" if share < 0.01 else f"{share * 100:.0f}"


def stage_rows(content: Mapping[str, Any]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The median and the 95th percentile of each stage, by method, in milliseconds."""
    methods = [entry["stage_latency_ms"] for entry in content["methods"].values()]
    stages = dict.fromkeys(stage for entry in methods for stage in entry)
    return tuple(
        (
            stage,
            tuple(
                number(entry[stage][key], 1) if stage in entry else "-"
                for entry in methods
                for key in ("p50", "p95")
            ),
        )
        for stage in stages
    )
