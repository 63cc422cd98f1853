"""Run methods side by side over samples and tally the results of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch

from activesam_ros.evaluation.corruptions.catalogue import Corrupter, Corruption
from activesam_ros.evaluation.datasets.sample_source import Sample
from activesam_ros.evaluation.report.frame_picture import TRUTH, FramePicture, frame_picture
from activesam_ros.evaluation.report.kept_pictures import KeptPictures, ranking_method
from activesam_ros.evaluation.scoring.measurement import (
    ImageSegmenter,
    Measured,
    PeakMemory,
    for_frame,
    measure,
)
from activesam_ros.evaluation.scoring.metrics import IdMap, Share, agreement
from activesam_ros.evaluation.scoring.tally import MethodTally, prediction_ids
from activesam_ros.image_files import LabelMap
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.segmentation.active_set import Given
from activesam_ros.segmentation.methods import Method
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.streaming.streams import StreamingSegmenter


@dataclass(frozen=True)
class Reference:
    """The unpruned method, run on every ``every``-th image to measure what pruning costs."""

    segmenter: ImageSegmenter
    every: int


@dataclass(frozen=True)
class PlainReference:
    """Methods without their signatures, run on every ``every``-th image to see what those change.

    They decode the queries that the method itself admitted.
    """

    segmenters: Mapping[Method, Segmenter]
    every: int


@dataclass
class Tallies:
    """The results of each method, in the order in which methods run.

    clean: on the unchanged images. corrupted: under each corruption. clean_agreement: share of
    pixels that keep the label of the clean image. pictures: a few frames, None if not requested.
    """

    clean: dict[Method, MethodTally]
    corrupted: dict[Corruption, dict[Method, MethodTally]]
    clean_agreement: dict[Corruption, dict[Method, Share]]
    pictures: KeptPictures | None = None

    def extend(self, later: Tallies) -> None:
        """Add the tallies of the following samples."""
        for method, tally in self.clean.items():
            tally.extend(later.clean[method])
        for corruption, tallies in self.corrupted.items():
            shares = self.clean_agreement[corruption]
            for method, tally in tallies.items():
                tally.extend(later.corrupted[corruption][method])
                shares[method] += later.clean_agreement[corruption][method]
        if self.pictures is not None and later.pictures is not None:
            self.pictures.extend(later.pictures)


class Evaluator:
    """Segments every sample by every method, clean and under each corruption of ``corrupter``.

    If ``full`` is among the methods, the others are compared with it on every sample; otherwise
    with ``reference`` on the samples where that runs. ``plain`` runs on clean images. The first
    sample is also segmented once before any measurement, as a warm-up. pictures: keep the worst,
    median and best frames by :func:`ranking_method`.
    """

    def __init__(
        self,
        segmenters: Mapping[Method, ImageSegmenter],
        vocabulary: Vocabulary,
        label_ids: IdMap | None,
        device: torch.device,
        reference: Reference | None = None,
        pictures: bool = False,
        corrupter: Corrupter | None = None,
        plain: PlainReference | None = None,
    ) -> None:
        self._segmenters = dict(segmenters)
        self._vocabulary = vocabulary
        self._colors = [entry.color for entry in vocabulary.classes]
        self._label_ids = label_ids
        self._predicted_ids = prediction_ids(vocabulary)
        self._memory = PeakMemory(device)
        self._reference = reference
        self._plain = plain
        self._pictures = pictures
        self._corrupter = corrupter
        self._warm = False

    def run(self, samples: Iterable[Sample], advance: Callable[[], object]) -> Tallies:
        """Segment and tally ``samples``; ``advance`` is called after each.

        With streaming, the samples are consecutive frames of one camera. Clean images and each
        corruption are streams of their own, which start here.
        """
        for segmenter in self._segmenters.values():
            if isinstance(segmenter, StreamingSegmenter):
                segmenter.reset()
        corruptions = self._corrupter.corruptions if self._corrupter else ()
        tallies = Tallies(
            self._empty(),
            {corruption: self._empty() for corruption in corruptions},
            {corruption: dict.fromkeys(self._segmenters, Share()) for corruption in corruptions},
            KeptPictures() if self._pictures else None,
        )
        for sample in samples:
            if not self._warm:
                for segmenter in self._segmenters.values():
                    segmenter.segment(sample.image)
                self._warm = True
            clean = self._add(sample, tallies.clean, tallies.pictures, is_clean=True)
            if self._corrupter is not None:
                self._add_corrupted(sample, clean, self._corrupter, tallies)
            advance()
        return tallies

    def _empty(self) -> dict[Method, MethodTally]:
        return {
            method: MethodTally(self._vocabulary, self._label_ids, self._predicted_ids)
            for method in self._segmenters
        }

    def _add_corrupted(
        self,
        sample: Sample,
        clean: Mapping[Method, LabelMap],
        corrupter: Corrupter,
        tallies: Tallies,
    ) -> None:
        made = corrupter.corrupted(sample.image, sample.place, sample.name)
        for corruption, image in made:
            corrupted = dataclasses.replace(sample, image=image)
            shares = tallies.clean_agreement[corruption]
            tallied = tallies.corrupted[corruption]
            for method, labels in self._add(corrupted, tallied, stream=str(corruption)).items():
                shares[method] += agreement(labels, clean[method])

    def _add(
        self,
        sample: Sample,
        tallies: Mapping[Method, MethodTally],
        pictures: KeptPictures | None = None,
        stream: str = "",
        *,
        is_clean: bool = False,
    ) -> dict[Method, LabelMap]:
        """Segment and tally one image; returns the labels [H, W] of each method."""
        measured = {
            method: measure(
                for_frame(segmenter, stream, sample.stamp_ns), sample.image, self._memory
            )
            for method, segmenter in self._segmenters.items()
        }
        full = self._full_labels(sample, measured)
        plain = self._plain_labels(sample, measured) if is_clean else {}
        for method, tally in tallies.items():
            tally.add(
                *(sample.place, sample.name, sample.stamp_ns),
                measured[method],
                sample.labels,
                full,
                plain.get(method),
            )
        predicted = {method: entry.result.labels for method, entry in measured.items()}
        if pictures is not None:
            ranked = tallies[ranking_method(list(tallies))]
            pictures.add(
                sample.place,
                ranked.figures[-1].score,
                lambda: self._picture(sample, predicted, full),
            )
        return predicted

    def _picture(
        self, sample: Sample, predicted: Mapping[Method, LabelMap], full: LabelMap | None
    ) -> FramePicture:
        maps = {method.value: (labels, self._predicted_ids) for method, labels in predicted.items()}
        if full is not None:
            maps[Method.FULL.value] = (full, self._predicted_ids)
        if sample.labels is not None and self._label_ids is not None:
            maps[TRUTH] = (sample.labels, self._label_ids)
        return frame_picture(sample.image, maps, self._colors)

    def _full_labels(self, sample: Sample, measured: Mapping[Method, Measured]) -> LabelMap | None:
        if Method.FULL in measured:
            return measured[Method.FULL].result.labels
        if self._reference is not None and sample.place % self._reference.every == 0:
            return self._reference.segmenter.segment(sample.image).labels
        return None

    def _plain_labels(
        self, sample: Sample, measured: Mapping[Method, Measured]
    ) -> dict[Method, LabelMap]:
        """The labels of the methods without signatures, from the same active sets."""
        if self._plain is None or sample.place % self._plain.every != 0:
            return {}
        labels = {}
        for method, segmenter in self._plain.segmenters.items():
            result = measured[method].result
            chooser = Given(result.admitted_queries or result.active_queries)
            labels[method] = segmenter.segment(sample.image, chooser=chooser).labels
        return labels
