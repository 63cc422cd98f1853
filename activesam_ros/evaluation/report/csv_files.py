"""The CSV files of the report: one line per method, class, frame or corruption."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from activesam_ros.evaluation.scoring.frame_figures import FrameFigures, class_count
from activesam_ros.prompts.vocabulary import Vocabulary

METHODS_NAME = "methods.csv"
CLASSES_NAME = "classes.csv"
FRAMES_NAME = "frames.csv"
CORRUPTIONS_NAME = "corruptions.csv"

# Groups of a method in results.json that are not figures of the method as a whole.
_CLASSES_OR_FRAMES = (
    "per_class_iou", "confusion_matrix", "active_classes_over_time", "lost_classes",
)  # fmt: skip

_Cell = str | int | float | None
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_files(
    content: Mapping[str, Any],
    frames: Mapping[str, Sequence[FrameFigures]],
    vocabulary: Vocabulary,
) -> dict[str, str]:
    """Text by file name. Values are fractions and milliseconds; a cell without a value is empty.

    content: of results.json. frames: the figures of every frame by method.
    """
    files = {
        METHODS_NAME: _text(_methods(content["methods"])),
        CLASSES_NAME: _text(_classes(content["methods"])),
        FRAMES_NAME: _text(_frames(frames, [entry.name for entry in vocabulary.classes])),
    }
    if "corruptions" in content:
        files[CORRUPTIONS_NAME] = _text(_corruptions(content))
    return files


def _methods(methods: Mapping[str, Any]) -> Iterable[Sequence[_Cell]]:
    flat = {name: _flattened(entry) for name, entry in methods.items()}
    keys = list(dict.fromkeys(key for entry in flat.values() for key in entry))
    yield ["method", *keys]
    for name, entry in flat.items():
        yield [name, *(entry.get(key) for key in keys)]


def _flattened(entry: Mapping[str, Any], prefix: str = "") -> dict[str, _Cell]:
    """Single values; those of groups as ``latency_ms.p50``. Classes are in a file of their own."""
    flat: dict[str, _Cell] = {}
    for key, value in entry.items():
        if isinstance(value, Mapping):
            if key not in _CLASSES_OR_FRAMES:
                flat |= _flattened(value, f"{prefix}{key}.")
        elif value is None or isinstance(value, (str, int, float)):
            flat[prefix + key] = value
    return flat


def _classes(methods: Mapping[str, Any]) -> Iterable[Sequence[_Cell]]:
    yield ["method", "class", "iou", "labelled_pixels", "predicted_pixels", "correct_pixels"]
    for method, entry in methods.items():
        if not entry["confusion_matrix"]:
            continue
        counts = entry["confusion_matrix"]["counts"]
        for index, name in enumerate(entry["confusion_matrix"]["classes"]):
            labelled, predicted = sum(counts[index]), sum(row[index] for row in counts)
            iou = entry["per_class_iou"][name]
            yield [method, name, iou, labelled, predicted, counts[index][index]]


def _corruptions(content: Mapping[str, Any]) -> Iterable[Sequence[_Cell]]:
    corruptions = content["corruptions"]
    averaged, labelled = ("miou", "pixel_accuracy"), "miou_of_labelled_classes"
    yield [
        "method", "corruption", "severity", *averaged, *(f"{key}_drop" for key in averaged),
        "agreement_with_clean", labelled, f"{labelled}_drop",
    ]  # fmt: skip
    for method, clean in content["methods"].items():
        runs = {name: run["methods"][method] for name, run in corruptions["runs"].items()}
        for title, entry in (*runs.items(), ("mean", corruptions["mean"][method])):
            name, _, severity = title.partition(":")
            drops = {
                key: None if None in (clean[key], entry[key]) else clean[key] - entry[key]
                for key in (*averaged, labelled)
            }
            yield [
                *(method, name, severity, *(entry[key] for key in averaged)),
                *(*(drops[key] for key in averaged), entry["agreement_with_clean"]),
                *(entry[labelled], drops[labelled]),
            ]


def _frames(
    frames: Mapping[str, Sequence[FrameFigures]], names: Sequence[str]
) -> Iterable[Sequence[_Cell]]:
    stages = list(
        dict.fromkeys(stage for group in frames.values() for f in group for stage in f.stages_ms)
    )
    yield [
        "method", "place", "name", "stamp_ns", "latency_ms", *(f"{stage}_ms" for stage in stages),
        "active_classes", "admitted_classes", "screened_out_classes", "miou", "pixel_accuracy",
        "agreement_with_full", "flicker", "active", "screened_out",
    ]  # fmt: skip
    for method, group in frames.items():
        for entry in group:
            yield [
                method,
                entry.place,
                entry.name,
                entry.stamp_ns,
                entry.latency_ms,
                *(entry.stages_ms.get(stage) for stage in stages),
                *map(class_count, (entry.active, entry.admitted, entry.screened_out)),
                entry.miou,
                entry.pixel_accuracy,
                entry.agreement_with_full,
                entry.flicker,
                "; ".join(names[index] for index in entry.active),
                "; ".join(names[index] for index in entry.screened_out or ()),
            ]


def _inert(cell: _Cell) -> _Cell:
    """``cell``; a text that a spreadsheet would take for a formula begins with an apostrophe."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _text(rows: Iterable[Sequence[_Cell]]) -> str:
    stream = io.StringIO()
    csv.writer(stream).writerows([_inert(cell) for cell in row] for row in rows)
    return stream.getvalue()
