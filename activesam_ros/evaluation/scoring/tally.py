"""The results of one method over a run: accuracy, speed, active classes, agreement."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from activesam_ros.evaluation.scoring.frame_figures import ConceptChanges, FrameFigures, class_count
from activesam_ros.evaluation.scoring.measurement import Measured
from activesam_ros.evaluation.scoring.metrics import (
    ConfusionMatrix,
    IdMap,
    Share,
    agreement,
    presence_recall,
    temporal_flicker,
)
from activesam_ros.image_files import LabelMap
from activesam_ros.prompts.vocabulary import BACKGROUND, Vocabulary

# Pairs of classes in results.json between which signatures move most pixels.
KEPT_PAIRS = 100
MINIMUM_SHARE = 0.005
"""Presence recall counts classes that cover a larger share of a frame."""


@dataclass(frozen=True)
class TallyContent:
    """All that a tally has added up, for a journal or another process; see MethodTally.restored.

    first, previous: labels [H, W] of its first and its last frame, None where frames do not follow
    each other in time.
    """

    figures: list[FrameFigures]
    confusion: ConfusionMatrix
    labelled_frames: int
    agreement: Share
    agreement_frames: int
    recall: Share
    recall_of_full: Share
    flicker: Share
    first: LabelMap | None
    previous: LabelMap | None
    peak_memory_mib: float | None


class MethodTally:
    """Adds up the frames of one method. ``figures`` holds the figures of each frame.

    label_ids: from ground-truth ids to class indices, None without ground truth. predicted_ids:
    from mask ids to class indices, of :func:`prediction_ids`.
    """

    def __init__(
        self, vocabulary: Vocabulary, label_ids: IdMap | None, predicted_ids: IdMap
    ) -> None:
        self.figures: list[FrameFigures] = []
        self._vocabulary = vocabulary
        self._label_ids = label_ids
        self._prediction_ids = predicted_ids
        self._confusion = ConfusionMatrix.empty(len(vocabulary.classes))
        self._labelled_frames = 0
        self._agreement = Share()
        self._agreement_frames = 0
        self._recall = Share()
        self._recall_of_full = Share()
        self._flicker = Share()
        self._first: LabelMap | None = None
        self._previous: LabelMap | None = None
        self._peak_memory_mib: float | None = None

    def add(
        self,
        place: int,
        name: str,
        stamp_ns: int | None,
        measured: Measured,
        labels: LabelMap | None,
        full: LabelMap | None,
        plain: LabelMap | None = None,
    ) -> None:
        """Add a frame with the place, name and stamp of its sample.

        labels: ground truth [H, W]. full: labels [H, W] of the unpruned method. plain: labels
        [H, W] of this method without its signatures. Raises UsageError when their sizes differ from
        the prediction's.
        """
        result = measured.result
        confusion, agreed, flicker = None, Share(), Share()
        active = self._classes(result.active_queries)
        if labels is not None and self._label_ids is not None:
            confusion = ConfusionMatrix.of(
                labels, result.labels, self._label_ids, self._prediction_ids
            )
            self._confusion += confusion
            self._recall += presence_recall(labels, self._label_ids, active, MINIMUM_SHARE)
            self._labelled_frames += 1
        if full is not None:
            agreed = agreement(result.labels, full)
            self._agreement += agreed
            self._recall_of_full += presence_recall(
                full, self._prediction_ids, active, MINIMUM_SHARE
            )
            self._agreement_frames += 1
        if stamp_ns is not None:
            flicker = temporal_flicker(self._previous, result.labels)
            self._flicker += flicker
            self._previous = result.labels
            if self._first is None:
                self._first = result.labels
        self.figures.append(
            FrameFigures(
                place=place,
                name=name,
                stamp_ns=stamp_ns,
                latency_ms=measured.latency_ms,
                stages_ms=dict(result.timings_ms),
                active=active,
                admitted=self._classes(result.admitted_queries) or None,
                miou=None if confusion is None else _known(confusion.miou_of_labelled()),
                pixel_accuracy=None if confusion is None else _known(confusion.pixel_accuracy()),
                agreement_with_full=_known(agreed.value),
                flicker=_known(flicker.value),
                pixels=None if confusion is None else confusion.occurring(),
                concepts=None
                if plain is None
                else ConceptChanges.of(plain, result.labels, self._prediction_ids),
            )
        )
        if measured.peak_memory_mib is not None:
            self._peak_memory_mib = max(self._peak_memory_mib or 0.0, measured.peak_memory_mib)

    def extend(self, later: MethodTally) -> None:
        """Add the frames of ``later``, which follow the frames of this tally.

        The result equals adding those frames one by one, except for timings and memory.
        """
        self._confusion += later._confusion
        self._labelled_frames += later._labelled_frames
        self._agreement += later._agreement
        self._agreement_frames += later._agreement_frames
        self._recall += later._recall
        self._recall_of_full += later._recall_of_full
        figures = list(later.figures)
        self._flicker += later._flicker
        if later._first is not None:
            flicker = temporal_flicker(self._previous, later._first)
            self._flicker += flicker
            figures[0] = dataclasses.replace(figures[0], flicker=_known(flicker.value))
            self._first = later._first if self._first is None else self._first
            self._previous = later._previous
        self.figures += figures
        peaks = [
            peak for peak in (self._peak_memory_mib, later._peak_memory_mib) if peak is not None
        ]
        self._peak_memory_mib = max(peaks, default=None)

    def content(self) -> TallyContent:
        """All that was added so far."""
        return TallyContent(
            self.figures,
            self._confusion,
            self._labelled_frames,
            self._agreement,
            self._agreement_frames,
            self._recall,
            self._recall_of_full,
            self._flicker,
            self._first,
            self._previous,
            self._peak_memory_mib,
        )

    def restored(self, content: TallyContent) -> MethodTally:
        """A tally of the same vocabulary that has added up ``content``."""
        tally = MethodTally(self._vocabulary, self._label_ids, self._prediction_ids)
        tally.figures = list(content.figures)
        tally._confusion = content.confusion
        tally._labelled_frames = content.labelled_frames
        tally._agreement = content.agreement
        tally._agreement_frames = content.agreement_frames
        tally._recall = content.recall
        tally._recall_of_full = content.recall_of_full
        tally._flicker = content.flicker
        tally._first, tally._previous = content.first, content.previous
        tally._peak_memory_mib = content.peak_memory_mib
        return tally

    @property
    def frames(self) -> int:
        """The number of frames added so far."""
        return len(self.figures)

    def results(self) -> dict[str, object]:
        """The entry in results.json: fractions, milliseconds, MiB; None if undefined."""
        latencies_ms = [entry.latency_ms for entry in self.figures]
        total_ms = sum(latencies_ms)
        return {
            "frames": self.frames,
            **self._accuracy(),
            "frames_per_second": self.frames * 1e3 / total_ms if total_ms else None,
            "latency_ms": percentiles(latencies_ms),
            "stage_latency_ms": self._stages(),
            "active_classes_mean": _mean([len(entry.active) for entry in self.figures]),
            **self._screening(),
            "active_classes_over_time": self._active_over_time(),
            "agreement_with_full": _known(self._agreement.value),
            "agreement_frames": self._agreement_frames,
            "presence_recall": _known(self._recall.value),
            "presence_recall_of_full": _known(self._recall_of_full.value),
            "concept_changes": self._concepts(),
            "temporal_flicker": _known(self._flicker.value),
            "peak_memory_mib": self._peak_memory_mib,
        }

    def _accuracy(self) -> dict[str, object]:
        """The accuracy entries, all None without a labelled frame."""
        names = [entry.name for entry in self._vocabulary.classes]
        labelled = self._labelled_frames > 0
        iou = dict(zip(names, (_known(value) for value in self._confusion.iou()), strict=True))
        matrix = {"classes": names, "counts": self._confusion.counts.tolist()}
        return {
            "labelled_frames": self._labelled_frames,
            "miou": _known(self._confusion.miou()),
            "miou_of_labelled_classes": _known(self._confusion.miou_of_labelled()),
            "per_class_iou": iou if labelled else None,
            "pixel_accuracy": _known(self._confusion.pixel_accuracy()),
            "mean_class_accuracy": _known(self._confusion.mean_class_accuracy()),
            "confusion_matrix": matrix if labelled else None,
        }

    def _stages(self) -> dict[str, dict[str, float | None]]:
        """Percentiles of each stage over the frames that ran it."""
        durations_ms: dict[str, list[float]] = {}
        for entry in self.figures:
            for stage, duration_ms in entry.stages_ms.items():
                durations_ms.setdefault(stage, []).append(duration_ms)
        return {stage: percentiles(values) for stage, values in durations_ms.items()}

    def _classes(self, queries: Sequence[int]) -> tuple[int, ...]:
        """The classes of ``queries``, ascending."""
        return tuple(sorted({self._vocabulary.query_class[query] for query in queries}))

    def _screening(self) -> dict[str, object]:
        """Mean numbers of the classes that were admitted and of those that screening rejected."""
        screened = [entry for entry in self.figures if entry.admitted is not None]
        return {
            "admitted_classes_mean": _mean([len(entry.admitted or ()) for entry in screened]),
            "screened_out_classes_mean": _mean(
                [len(entry.screened_out or ()) for entry in screened]
            ),
        }

    def _concepts(self) -> dict[str, object] | None:
        """What signatures change against the highest score, over the compared frames."""
        compared = [entry.concepts for entry in self.figures if entry.concepts is not None]
        if not compared:
            return None
        names = [*(entry.name for entry in self._vocabulary.classes), BACKGROUND]
        pixels: Counter[tuple[int, int]] = Counter()
        for changes in compared:
            for before, after, count in changes.moves.T.tolist():
                pixels[before, after] += count
        total = sum(changes.size for changes in compared)
        return {
            "frames": len(compared),
            "share": sum(pixels.values()) / total,
            "pairs": [
                {"from": names[before], "to": names[after], "share": count / total}
                for (before, after), count in pixels.most_common(KEPT_PAIRS)
            ],
        }

    def _active_over_time(self) -> dict[str, object] | None:
        stamps_ns = [entry.stamp_ns for entry in self.figures]
        if None in stamps_ns or not stamps_ns:
            return None
        counts: dict[str, object] = {
            "stamp_ns": stamps_ns,
            "active_classes": [len(entry.active) for entry in self.figures],
        }
        if any(entry.admitted is not None for entry in self.figures):
            counts["admitted_classes"] = [class_count(entry.admitted) for entry in self.figures]
            counts["screened_out_classes"] = [
                class_count(entry.screened_out) for entry in self.figures
            ]
        return counts


def prediction_ids(vocabulary: Vocabulary) -> IdMap:
    """From mask ids to class indices. The map also suits ground truth with the same ids."""
    index_of_id = {entry.id: index for index, entry in enumerate(vocabulary.classes)}
    return IdMap.of(index_of_id, len(vocabulary.classes))


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """The median and the 95th percentile, linearly interpolated; None without values."""
    if not values:
        return {"p50": None, "p95": None}
    p50, p95 = np.percentile(values, [50, 95])
    return {"p50": float(p50), "p95": float(p95)}


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
