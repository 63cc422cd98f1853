"""The main table of the report: the figures of each method, and which differences are real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from activesam_ros.evaluation.scoring.results import number, percent, ratio_text


@dataclass(frozen=True, slots=True)
class HeadlineRow:
    """A row of the main table. cells, differences, best: by method.

    definition: what the figure is. differences: from the best method, and their interval; empty
    where none is known. best: the methods that are not distinguishable from the best one, where
    another one is; none otherwise.
    """

    title: str
    unit: str
    definition: str
    cells: tuple[str, ...]
    differences: tuple[tuple[str, ...], ...]
    best: tuple[bool, ...]
    published: bool = False


@dataclass(frozen=True, slots=True)
class _Figure:
    title: str
    unit: str
    metric: str  # its dotted key in results.json
    scale: float
    digits: int
    definition: str


_HEADLINE = (
    _Figure(
        *("Mean IoU of labelled classes", "%", "miou_of_labelled_classes", 100, 1),
        "Intersection over union of each class that is labelled somewhere, over all frames "
        "together; the mean over these classes.",
    ),
    _Figure(
        *("Classes lost by pruning", "", "classes_lost_by_pruning", 1, 0),
        "Labelled classes that full finds (IoU of 5 % or more) and of which the method keeps less "
        "than a tenth of that IoU. Known only if full is among the methods.",
    ),
    _Figure(
        *("Pixel accuracy", "%", "pixel_accuracy", 100, 1),
        "Share of the labelled pixels with the right class.",
    ),
    _Figure(
        *("Mean IoU, all classes", "%", "miou", 100, 1),
        "As benchmarks publish it: a class that is predicted but labelled nowhere counts as 0. "
        "With a vocabulary larger than the world it rises when less is predicted, so that it does "
        "not rank methods here.",
    ),
    _Figure(
        *("Agreement with full", "%", "agreement_with_full", 100, 1),
        "Share of the pixels with the label that full, the method without pruning, gives them.",
    ),
    _Figure(
        *("Presence recall", "%", "presence_recall", 100, 1),
        "Of the classes that cover more than 0.5 % of a frame's labelled pixels, the share that is "
        "active, over all frames.",
    ),
    _Figure(
        *("Presence recall against full", "%", "presence_recall_of_full", 100, 1),
        "The same with the labels of full in place of the ground truth.",
    ),
    _Figure(
        *("Temporal flicker", "%", "temporal_flicker", 100, 1),
        "Share of the pixels whose label differs from that of the same pixel one frame before. "
        "Motion flickers too.",
    ),
    _Figure(
        *("Frames per second", "", "frames_per_second", 1, 2),
        "Frames divided by the time of network and method, without decoding the image.",
    ),
    _Figure(
        *("Latency, median", "ms", "latency_ms.p50", 1, 0),
        "Time of one image, from its pixels to its labels.",
    ),
    _Figure(
        *("Latency, 95th percentile", "ms", "latency_ms.p95", 1, 0),
        "Nineteen images in twenty take no longer.",
    ),
    _Figure(
        *("Active classes", "", "active_classes_mean", 1, 1),
        "Classes with a query that was decoded at full resolution, mean over the frames.",
    ),
    _Figure(
        *("Admitted classes", "", "admitted_classes_mean", 1, 1),
        "Classes with a query that the preview admitted, mean over the frames. Screening, after "
        "one decoder layer at full resolution, leaves the active ones.",
    ),
    _Figure(
        *("Classes screened out", "", "screened_out_classes_mean", 1, 1),
        "Admitted classes of which screening left no query, mean over the frames.",
    ),
    _Figure(
        *("Peak memory", "MiB", "peak_memory_mib", 1, 0),
        "On a GPU the most that one image allocated, on a CPU the most of the whole process.",
    ),
)

METRIC_TEXTS = {figure.metric: figure.definition for figure in _HEADLINE}
"""What each metric of the table is, by its key in results.json."""


def headline(content: Mapping[str, Any]) -> tuple[HeadlineRow, ...]:
    """Measured figures of every method, each followed by the published figures if there are any."""
    methods = content["methods"]
    rows: list[HeadlineRow] = []
    for figure in _HEADLINE:
        values = [_value(entry, figure.metric) for entry in methods.values()]
        if any(value is not None for value in values):
            spread = ((content.get("spread") or {}).get("differences") or {}).get(figure.metric)
            rows.append(
                HeadlineRow(
                    figure.title,
                    figure.unit,
                    figure.definition,
                    tuple(_shown(value, figure) for value in values),
                    tuple(_difference(name, spread, figure) for name in methods),
                    _best(tuple(methods), spread),
                )
            )
        rows += _published_rows(content, figure)
    return tuple(rows)


def spread_text(content: Mapping[str, Any]) -> str:
    """How differences were held against the frames' spread; one or two sentences."""
    spread = content.get("spread")
    if len(content["methods"]) < 2:
        return ""
    if spread is None:
        return "There are too few frames to tell the methods' differences from the frames' spread."
    per_block = spread["frames_per_block"]
    drawn = f"blocks of {per_block} consecutive frames" if per_block > 1 else "single frames"
    return (
        f"In small type, the difference from the best method with the {spread['level']:.0%} "
        f"interval of a {spread['way']} ({spread['resamples']} resamples of {spread['blocks']} "
        f"{drawn}). "
        "A figure is bold if it is the best or its interval contains 0, so that it cannot be told "
        "from the best, and another method's does not."
    )


def lost_text(content: Mapping[str, Any]) -> list[str]:
    """A sentence for each method that lost classes, the largest loss first."""
    sentences = []
    for method, entry in content["methods"].items():
        lost = entry.get("lost_classes") or {}
        ranked = sorted(lost.items(), key=lambda item: -item[1]["iou_of_full"])
        if ranked:
            named = ", ".join(
                f"{name} ({percent(iou['iou_of_full'])} to {percent(iou['iou'])})"
                for name, iou in ranked
            )
            sentences.append(f"Lost by {method}, with the IoU of full and its own in %: {named}.")
    return sentences


_PUBLISHED: Mapping[str, Sequence[tuple[str, str]]] = {
    "miou": (("published", "miou"), ("published, mean of eight benchmarks", "mean_miou")),
    "frames_per_second": (
        ("published, on an RTX 5090", "frames_per_second"),
        ("published, times segearth", "times_segearth"),
    ),
}
"""Below each figure the published ones: their titles, and their keys in results.json."""


def _published_rows(content: Mapping[str, Any], figure: _Figure) -> list[HeadlineRow]:
    rows = []
    for title, key in _PUBLISHED.get(figure.metric, ()):
        values = [
            content.get("published", {}).get(name, {}).get(key) for name in content["methods"]
        ]
        if all(value is None for value in values):
            continue
        is_ratio = key == "times_segearth"
        rows.append(
            HeadlineRow(
                title,
                "" if is_ratio else figure.unit,
                "As the authors of the methods state it.",
                tuple(ratio_text(value) if is_ratio else _shown(value, figure) for value in values),
                ((),) * len(values),
                (False,) * len(values),
                published=True,
            )
        )
    return rows


def _value(entry: Mapping[str, Any], metric: str) -> float | None:
    value: Any = entry
    for key in metric.split("."):
        value = value[key]
    return None if value is None else float(value)


def _shown(value: float | None, figure: _Figure) -> str:
    return number(None if value is None else value * figure.scale, figure.digits)


def _difference(method: str, spread: Mapping[str, Any] | None, figure: _Figure) -> tuple[str, ...]:
    """The difference from the best method and its interval; empty where it is not known."""
    entry = spread["others"].get(method) if spread else None
    if entry is None:
        return ()
    signed = f"+.{figure.digits}f"
    value, low, high = (
        format(entry[key] * figure.scale, signed) for key in ("difference", "low", "high")
    )
    return value, f"({low} to {high})"


def _best(methods: Sequence[str], spread: Mapping[str, Any] | None) -> tuple[bool, ...]:
    if spread is None:
        return (False,) * len(methods)
    worse = {
        name for name, entry in spread["others"].items() if not entry["low"] <= 0 <= entry["high"]
    }
    known = {spread["best"], *spread["others"]}
    return tuple(bool(worse) and name in known and name not in worse for name in methods)
