"""The tables of the report, as text: methods, corruptions, confusion matrices and stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from activesam_ros.evaluation.scoring.results import number, percent

MATRIX_CLASSES = 24


@dataclass(frozen=True, slots=True)
class HeadlineRow:
    """A row of the main table. cells: by method. best: which cells show the best value.

    No cell is best if all show the same text.
    """

    title: str
    unit: str
    cells: tuple[str, ...]
    best: tuple[bool, ...]
    published: bool = False


@dataclass(frozen=True, slots=True)
class _Figure:
    title: str
    unit: str
    keys: tuple[str, ...]
    shown: Callable[[float | None], str]
    higher_is_better: bool | None


_HEADLINE = (
    _Figure("Mean IoU", "%", ("miou",), percent, True),
    _Figure("Mean IoU of labelled classes", "%", ("miou_of_labelled_classes",), percent, True),
    _Figure("Pixel accuracy", "%", ("pixel_accuracy",), percent, True),
    _Figure("Agreement with full", "%", ("agreement_with_full",), percent, True),
    _Figure("Presence recall", "%", ("presence_recall",), percent, True),
    _Figure("Presence recall against full", "%", ("presence_recall_of_full",), percent, True),
    _Figure("Temporal flicker", "%", ("temporal_flicker",), percent, False),
    _Figure("Frames per second", "", ("frames_per_second",), lambda v: number(v, 2), True),
    _Figure("Latency, median", "ms", ("latency_ms", "p50"), lambda v: number(v, 0), False),
    _Figure("Latency, 95th percentile", "ms", ("latency_ms", "p95"), lambda v: number(v, 0), False),
    _Figure("Active classes", "", ("active_classes_mean",), lambda v: number(v, 1), None),
    _Figure("Peak memory", "MiB", ("peak_memory_mib",), lambda v: number(v, 0), False),
)


def headline(content: Mapping[str, Any]) -> tuple[HeadlineRow, ...]:
    """Measured figures of every method, each followed by the published figures if there are any."""
    methods = content["methods"]
    rows: list[HeadlineRow] = []
    for figure in _HEADLINE:
        values = [_value(entry, figure.keys) for entry in methods.values()]
        if any(value is not None for value in values):
            rows.append(
                HeadlineRow(
                    figure.title,
                    figure.unit,
                    tuple(figure.shown(value) for value in values),
                    _best(values, figure),
                )
            )
        rows += _published_row(content, figure)
    return tuple(rows)


def _published_row(content: Mapping[str, Any], figure: _Figure) -> list[HeadlineRow]:
    key = figure.keys[0]
    if key not in ("miou", "frames_per_second") or "published" not in content:
        return []
    values = [content["published"].get(name, {}).get(key) for name in content["methods"]]
    if all(value is None for value in values):
        return []
    title = "published" if key == "miou" else "published, on an RTX 5090"
    cells = tuple(figure.shown(value) for value in values)
    return [HeadlineRow(title, figure.unit, cells, (False,) * len(cells), published=True)]


def _value(entry: Mapping[str, Any], keys: Sequence[str]) -> float | None:
    value: Any = entry
    for key in keys:
        value = value[key]
    return None if value is None else float(value)


def _best(values: Sequence[float | None], figure: _Figure) -> tuple[bool, ...]:
    known = [value for value in values if value is not None]
    if figure.higher_is_better is None or len({figure.shown(value) for value in known}) < 2:
        return (False,) * len(values)
    best = figure.shown(max(known) if figure.higher_is_better else min(known))
    return tuple(figure.shown(value) == best for value in values)


@dataclass(frozen=True, slots=True)
class CorruptionTable:
    """The figure of each method under each corruption, in per cent.

    title: the name of the figure. rows: the corruption, and by method the figure and its difference
    from clean images, "" if unknown.
    """

    title: str
    rows: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


def corruption_figures(content: Mapping[str, Any]) -> CorruptionTable | None:
    """Mean IoU, or without ground truth the share of pixels that keep the label of the clean image.

    None without corruptions.
    """
    if "corruptions" not in content:
        return None
    methods, corruptions = content["methods"], content["corruptions"]
    labelled = any(entry["miou"] is not None for entry in methods.values())
    key = "miou" if labelled else "agreement_with_clean"

    def row(name: str, entries: Mapping[str, Any]) -> tuple[str, tuple[tuple[str, str], ...]]:
        cells = []
        for method, clean in methods.items():
            value = entries[method][key]
            known = labelled and value is not None and clean["miou"] is not None
            drop = f"{(value - clean['miou']) * 100:+.1f}" if known else ""
            cells.append((percent(value), drop))
        return name, tuple(cells)

    rows = [row(name, run["methods"]) for name, run in corruptions["runs"].items()]
    rows.append(row("mean", corruptions["mean"]))
    if labelled:
        clean = tuple((percent(entry["miou"]), "") for entry in methods.values())
        rows.insert(0, ("clean", clean))
    title = "Mean IoU, %" if labelled else "Pixels with the label of the clean image, %"
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
