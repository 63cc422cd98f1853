"""The figures of a demo run: frames, drops with their causes, latency, active classes, accuracy."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activesam_ros.demo.live.live import (
    ACTIVE_CLASSES_TOPIC,
    DIAGNOSTICS_TOPIC,
    MASK_TOPIC,
    LiveResult,
)
from activesam_ros.evaluation.datasets.bag_label_ids import label_meaning
from activesam_ros.evaluation.scoring.metrics import ConfusionMatrix
from activesam_ros.evaluation.scoring.tally import percentiles, prediction_ids
from activesam_ros.output_files import write_whole
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.recordings.frame_pixels import label_map
from activesam_ros.recordings.recorded_frames import RecordedFrame, Recording
from activesam_ros.recordings.serialization import ACTIVE_CLASSES

DIAGNOSTIC_ARRAY = "diagnostic_msgs/msg/DiagnosticArray"
# Published images that the node never received: lost on the way, or replaced in the queue of the
# subscription, which holds one.
NOT_RECEIVED = "not_received"
_DROP_PREFIX = "dropped_"
_CAMERA_SUFFIX = ": image"


@dataclass(frozen=True)
class Drops:
    """causes: cause -> number of dropped images. problem: the current one of the node, or None."""

    causes: Mapping[str, int]
    problem: str | None


@dataclass(frozen=True)
class ActiveSummary:
    """The active classes of all masks.

    node_latency_ms: of each mask, from the receipt of the image to the publication of the mask.
    counts: number of active classes of each mask. frames: name -> number of masks in which
    it is active. pixel_fraction: name -> mean share of the pixels over all masks.
    """

    node_latency_ms: tuple[float, ...]
    counts: tuple[int, ...]
    frames: Mapping[str, int]
    pixel_fraction: Mapping[str, float]


@dataclass(frozen=True)
class Accuracy:
    """The masks against the labels of the recording; None where undefined.

    frames: number of masks with labels. miou: mean over the classes that occur in a label image or
    a mask; miou_of_labelled_classes: over those that occur in a label image.
    """

    label_topic: str
    frames: int
    miou: float | None
    miou_of_labelled_classes: float | None
    pixel_accuracy: float | None
    per_class_iou: Mapping[str, float | None]


def read_drops(recording: Recording, result: LiveResult) -> Drops:
    """Why images have no mask, from the last diagnostics of the node."""
    values: dict[str, str] = {}
    problem = None
    for array in recording.messages(DIAGNOSTICS_TOPIC, DIAGNOSTIC_ARRAY):
        for status in array.status:
            if status.name.endswith(_CAMERA_SUFFIX):
                values = {entry.key: entry.value for entry in status.values}
                problem = status.message if status.level else None
    causes = {
        key.removeprefix(_DROP_PREFIX): int(count)
        for key, count in values.items()
        if key.startswith(_DROP_PREFIX)
    }
    missing = result.images - len(result.arrived) - sum(causes.values())
    if missing > 0:
        causes[NOT_RECEIVED] = missing
    return Drops(causes, problem)


def read_active_classes(recording: Recording) -> ActiveSummary:
    """Read the active classes that the node published with each mask."""
    latencies_ms: list[float] = []
    counts: list[int] = []
    frames: Counter[str] = Counter()
    pixels: defaultdict[str, float] = defaultdict(float)
    for message in recording.messages(ACTIVE_CLASSES_TOPIC, ACTIVE_CLASSES):
        latencies_ms.append(float(message.latency_ms))
        counts.append(len(message.classes))
        for entry in message.classes:
            frames[entry.name] += 1
            pixels[entry.name] += float(entry.pixel_fraction)
    largest_first = sorted(pixels, key=lambda name: -pixels[name])
    fractions = {name: pixels[name] / len(counts) for name in largest_first}
    return ActiveSummary(tuple(latencies_ms), tuple(counts), dict(frames), fractions)


def measure_accuracy(
    recording: Recording, source: Recording, label_topic: str, vocabulary: Vocabulary
) -> Accuracy:
    """Compare the recorded masks with the labels of the same stamp in what was played.

    Raises RecordingError if no name of the labels is in the vocabulary, UsageError if masks and
    labels differ in size.
    """
    meaning = label_meaning(source, label_topic, vocabulary)
    ids = prediction_ids(vocabulary)
    matrix = ConfusionMatrix.empty(len(vocabulary.classes))
    frames = 0
    masks = recording.frames([MASK_TOPIC])
    for mask, labels in joined_by_stamp(masks, source.frames([label_topic])):
        matrix += ConfusionMatrix.of(label_map(labels), label_map(mask), meaning.ids, ids)
        frames += 1
    names = [entry.name for entry in vocabulary.classes]
    return Accuracy(
        label_topic=label_topic,
        frames=frames,
        miou=_defined(matrix.miou()),
        miou_of_labelled_classes=_defined(matrix.miou_of_labelled()),
        pixel_accuracy=_defined(matrix.pixel_accuracy()),
        per_class_iou=dict(zip(names, map(_defined, matrix.iou().tolist()), strict=True)),
    )


def joined_by_stamp(
    first: Iterator[RecordedFrame], second: Iterator[RecordedFrame]
) -> Iterator[tuple[RecordedFrame, RecordedFrame]]:
    """Pairs of frames with the same stamp; both streams must be in the order of their stamps."""
    right = next(second, None)
    for left in first:
        while right is not None and right.stamp_ns < left.stamp_ns:
            right = next(second, None)
        if right is None:
            return
        if right.stamp_ns == left.stamp_ns:
            yield left, right


@dataclass(frozen=True)
class Summary:
    """All figures of a run."""

    trained: bool
    weights: Path
    bag: Path
    image_topic: str
    vocabulary: str
    vocabulary_size: int
    live: LiveResult
    drops: Drops
    active: ActiveSummary
    accuracy: Accuracy | None

    @property
    def latency_ms(self) -> dict[str, float | None]:
        """Percentiles of the time from the publication of an image to the arrival of its mask."""
        return percentiles(list(self.live.latencies_ms().values()))

    @property
    def frames_dropped(self) -> int:
        """The number of images without a mask."""
        return self.live.images - len(self.live.arrived)

    def fields(self) -> dict[str, Any]:
        """The content of ``summary.json``: fractions, milliseconds, None where undefined."""
        return {
            "trained": self.trained,
            "weights": str(self.weights),
            "bag": str(self.bag),
            "image_topic": self.image_topic,
            "vocabulary": self.vocabulary,
            "frames": {
                "in": self.live.images,
                "out": len(self.live.arrived),
                "dropped": self.frames_dropped,
                "drop_causes": dict(self.drops.causes),
            },
            "frames_per_second": {
                "in": rate_hz(list(self.live.played.values())),
                "out": rate_hz(list(self.live.arrived.values())),
            },
            "latency_ms": self.latency_ms,
            "node_latency_ms": percentiles(self.active.node_latency_ms),
            "active_classes": {
                "mean": _mean(self.active.counts),
                "min": min(self.active.counts, default=None),
                "max": max(self.active.counts, default=None),
                "vocabulary_size": self.vocabulary_size,
                "frames": dict(self.active.frames),
                "pixel_fraction": dict(self.active.pixel_fraction),
            },
            **self._accuracy_fields(),
            "node_exit_code": self.live.node_exit_code,
        }

    def _accuracy_fields(self) -> dict[str, Any]:
        accuracy = self.accuracy
        return {
            "label_topic": None if accuracy is None else accuracy.label_topic,
            "labelled_frames": 0 if accuracy is None else accuracy.frames,
            "miou": None if accuracy is None else accuracy.miou,
            "miou_of_labelled_classes": (
                None if accuracy is None else accuracy.miou_of_labelled_classes
            ),
            "pixel_accuracy": None if accuracy is None else accuracy.pixel_accuracy,
            "per_class_iou": None if accuracy is None else dict(accuracy.per_class_iou),
        }

    def write(self, path: Path) -> None:
        """Write :meth:`fields` as JSON; raises OutputError."""
        write_whole(path, json.dumps(self.fields(), indent=1, allow_nan=False) + "\n")


def rate_hz(moments_ns: Sequence[int]) -> float | None:
    """Events per second from the first to the last; None for fewer than two moments."""
    if len(moments_ns) < 2 or max(moments_ns) == min(moments_ns):
        return None
    return (len(moments_ns) - 1) * 1e9 / (max(moments_ns) - min(moments_ns))


def table(summary: Summary) -> str:
    """The figures as aligned lines of text."""
    fields = summary.fields()
    frames, rates, active = fields["frames"], fields["frames_per_second"], fields["active_classes"]
    causes = ", ".join(
        f"{name.replace('_', ' ')} {count}" for name, count in frames["drop_causes"].items()
    )
    rows = [
        ("frames in", str(frames["in"]), _with_unit(rates["in"], "Hz")),
        ("frames out", str(frames["out"]), _with_unit(rates["out"], "Hz")),
        ("dropped", str(frames["dropped"]), causes),
        _latency_row(
            "latency", fields["latency_ms"], "from the publication of an image to its mask"
        ),
        _latency_row("in the node", fields["node_latency_ms"], "from the receipt of an image"),
        (
            "active classes",
            _number(active["mean"], ".1f"),
            f"on average, {active['min']} to {active['max']} of {active['vocabulary_size']}",
        ),
        _accuracy_row(summary.accuracy),
    ]
    if summary.live.node_exit_code:
        rows.append(("node", f"exit code {summary.live.node_exit_code}", "it did not end cleanly"))
    first = max(len(row[0]) for row in rows)
    second = max(len(row[1]) for row in rows)
    return "\n".join(
        f"  {name:<{first}}  {value:>{second}}  {note}".rstrip() for name, value, note in rows
    )


def _latency_row(
    name: str, latency_ms: Mapping[str, float | None], note: str
) -> tuple[str, str, str]:
    p50, p95 = (_number(latency_ms[key], ".0f") for key in ("p50", "p95"))
    return name, f"{p50} ms", f"median, 95th percentile {p95} ms, {note}"


def _accuracy_row(accuracy: Accuracy | None) -> tuple[str, str, str]:
    if accuracy is None:
        return "mIoU of labelled classes", "-", "the recording has no labels"
    return (
        "mIoU of labelled classes",
        _number(accuracy.miou_of_labelled_classes, ".3f"),
        f"of {accuracy.frames} masks against {accuracy.label_topic}; "
        f"{_number(accuracy.miou, '.3f')} with those that are only predicted",
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _with_unit(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.1f} {unit}"


def _mean(values: Sequence[int]) -> float | None:
    return sum(values) / len(values) if values else None


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
