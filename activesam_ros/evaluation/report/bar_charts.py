"""Bar charts of the report: IoU of each class, latency histogram, and when classes were active.

This module computes the bars; ``page/page.html`` places them and ``page/page.css`` colors them.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from activesam_ros.evaluation.report.axes import MAX_COLUMNS, Scale, Tick
from activesam_ros.evaluation.report.line_charts import time_axis
from activesam_ros.evaluation.scoring.frame_figures import FrameFigures
from activesam_ros.evaluation.scoring.results import percent
from activesam_ros.prompts.colors import Color

HISTOGRAM_BINS = 48
SHOWN_ACTIVE_CLASSES = 40


@dataclass(frozen=True, slots=True)
class ClassBars:
    """The IoU of one class: for each method the text and the width of its bar, in per cent.

    widths: None for a label that does not count. share: of all labelled pixels, as text.
    """

    name: str
    color: str
    share: str
    iou: tuple[str, ...]
    widths: tuple[float | None, ...]


def class_bars(content: Mapping[str, Any], colors: Mapping[str, Color]) -> tuple[ClassBars, ...]:
    """Bars for the classes that are labelled, most labelled pixels first.

    After them come the labels of a recording that are no class of the vocabulary.
    """
    methods = [entry for entry in content["methods"].values() if entry["per_class_iou"]]
    if not methods:
        return ()
    matrix = methods[0]["confusion_matrix"]
    pixels = np.array(matrix["counts"]).sum(axis=1)[:-1]  # [classes]
    recording = content.get("recording", {})
    total = recording.get("label_pixels") or pixels.sum()
    bars = []
    for index in np.argsort(-pixels, kind="stable").tolist():
        if not pixels[index]:
            break
        name = matrix["classes"][index]
        values = [entry["per_class_iou"][name] for entry in methods]
        bars.append(
            ClassBars(
                name=name,
                color=css_color(colors[name]),
                share=percent(pixels[index] / total),
                iou=tuple(percent(value) for value in values),
                widths=tuple(round(value * 100, 2) for value in values),
            )
        )
    for label, uncounted in recording.get("uncounted_labels", {}).items():
        texts, none = ("does not count",) * len(methods), (None,) * len(methods)
        bars.append(ClassBars(label, "transparent", percent(uncounted / total), texts, none))
    return tuple(bars)


def labelled_nowhere(content: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """By method the classes that it predicts and that are labelled nowhere, in the order of ids."""
    found = {}
    for method, entry in content["methods"].items():
        if entry["per_class_iou"]:
            counts = np.array(entry["confusion_matrix"]["counts"])
            names = zip(entry["confusion_matrix"]["classes"], counts.sum(axis=1), strict=False)
            iou = entry["per_class_iou"]
            found[method] = tuple(n for n, pixels in names if not pixels and iou[n] is not None)
    return {method: names for method, names in found.items() if names}


@dataclass(frozen=True, slots=True)
class Histogram:
    """paths: by method an SVG path, each in a box of its own on one x axis."""

    paths: Mapping[str, str]
    x_ticks: tuple[Tick, ...]


def latency_histogram(frames: Mapping[str, Sequence[FrameFigures]]) -> Histogram:
    """How often each latency occurs, by method."""
    latencies_ms = {name: [entry.latency_ms for entry in group] for name, group in frames.items()}
    scale = Scale.of([value for group in latencies_ms.values() for value in group], from_zero=True)
    paths = {name: histogram_path(group, scale) for name, group in latencies_ms.items()}
    return Histogram(paths, scale.ticks("ms"))


def histogram_path(values: Sequence[float], scale: Scale) -> str:
    """A bar for each bin; the height of the tallest is the height of the box."""
    bins = [0] * HISTOGRAM_BINS
    for value in values:
        bins[min(int(scale(value) * HISTOGRAM_BINS), HISTOGRAM_BINS - 1)] += 1
    tallest, width = max(bins), 100 / HISTOGRAM_BINS
    return "".join(
        f"M{place * width + 0.15:.2f} 100v{-count / tallest * 100:.2f}h{width - 0.3:.2f}V100z"
        for place, count in enumerate(bins)
        if count
    )


@dataclass(frozen=True, slots=True)
class ActivityRow:
    """A class: when it was active and when it was screened out, as SVG paths.

    share: of the frames in which it was active, as text.
    """

    index: int
    active: str
    screened_out: str
    share: str


@dataclass(frozen=True, slots=True)
class ActivityStrip:
    """When each class was active with one method, the most often active class first.

    left_out: number of classes that are not shown. always_all: every class is active in every
    frame. screens: whether the method rejects admitted classes.
    """

    method: str
    rows: tuple[ActivityRow, ...]
    left_out: int
    always_all: bool
    screens: bool
    x_ticks: tuple[Tick, ...]


def activity_strips(
    frames: Mapping[str, Sequence[FrameFigures]], class_count: int
) -> list[ActivityStrip]:
    """One strip per method, of at most SHOWN_ACTIVE_CLASSES classes.

    Classes that are active in every frame are left out first, then those that are active least.
    """
    strips = []
    for method, group in frames.items():
        times, _, ticks = time_axis(group)
        edges = frame_edges(times)
        active = [entry.active for entry in group]
        rejected = [entry.screened_out or () for entry in group]
        counts, rejections = Counter(chain(*active)), Counter(chain(*rejected))
        often = sorted(
            counts | rejections, key=lambda index: (-counts[index], -rejections[index], index)
        )
        # Those that are active all the time show least.
        telling = sorted(often, key=lambda index: counts[index] == len(group))
        kept = set(telling[:SHOWN_ACTIVE_CLASSES])
        paths, rejected_paths = activity_paths(active, edges), activity_paths(rejected, edges)
        rows = tuple(
            ActivityRow(
                index,
                paths.get(index, ""),
                rejected_paths.get(index, ""),
                percent(counts[index] / len(group)),
            )
            for index in often
            if index in kept
        )
        strips.append(
            ActivityStrip(
                method,
                rows,
                left_out=len(often) - len(rows),
                always_all=all(len(frame) == class_count for frame in active),
                screens=any(entry.admitted is not None for entry in group),
                x_ticks=ticks,
            )
        )
    return strips


def activity_paths(active: Sequence[tuple[int, ...]], edges: Sequence[float]) -> dict[int, str]:
    """For each class that is ever active, a path of bars over the frames it is active in.

    active: class indices by frame. edges: the start of each frame and the end of the last, 0 to
    100. Of many frames, neighbors share a column, which shows a class active in any of them.
    """
    columns = min(len(active), MAX_COLUMNS)
    members: list[set[int]] = [set() for _ in range(columns)]
    lefts = [0.0] * columns
    for frame in reversed(range(len(active))):
        column = frame * columns // len(active)
        members[column].update(active[frame])
        lefts[column] = edges[frame]
    bounds = [*lefts, edges[-1]]
    paths: dict[int, str] = {}
    for index in sorted(set().union(*members)):
        begin = 0
        paths[index] = ""
        for inside, run in itertools.groupby(index in member for member in members):
            end = begin + len(list(run))
            if inside:
                left, right = bounds[begin], bounds[end]
                paths[index] += f"M{left:.2f} 0H{right:.2f}V100H{left:.2f}z"
            begin = end
    return paths


def frame_edges(times: Sequence[float]) -> list[float]:
    """The start of each frame and the end of the last, 0 to 100: each lasts until the next."""
    if len(times) == 1:
        return [0.0, 100.0]
    typical = float(np.median(np.diff(times)))
    ends = [*times, times[-1] + max(typical, 1e-9)]
    span = ends[-1] - ends[0]
    if span <= 0 or any(later < earlier for earlier, later in itertools.pairwise(ends)):
        return [place * 100 / len(times) for place in range(len(times) + 1)]
    return [(end - ends[0]) / span * 100 for end in ends]


def css_color(color: Color) -> str:
    """(255, 0, 16) becomes #ff0010."""
    return "#" + bytes(color).hex()
