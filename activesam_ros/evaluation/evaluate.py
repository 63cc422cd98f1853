"""Run methods side by side over samples and tally what each does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from activesam_ros.evaluation.measuring import FrameSegmenter, Measured, PeakMemory, measure
from activesam_ros.evaluation.metrics import IdMap, LabelMap
from activesam_ros.evaluation.tally import MethodTally, prediction_ids
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.segmentation.baselines import Method


@dataclass(frozen=True)
class Sample:
    """An image to segment.

    image: uint8 RGB [H, W, 3]. labels: ground truth ids [H, W], None where there is none.
    stamp_ns: None where samples do not follow each other in time. place: which of its source's
    images it is, from 0; name: what the source calls it.
    """

    image: NDArray[np.uint8]
    labels: LabelMap | None
    stamp_ns: int | None
    place: int
    name: str


@dataclass(frozen=True)
class Reference:
    """The method without pruning, run on every ``every``-th image to see what pruning costs."""

    segmenter: FrameSegmenter
    every: int


@dataclass
class Tallies:
    """What each method did, in the order in which methods were asked for."""

    plain: dict[Method, MethodTally]

    def extend(self, later: Tallies) -> None:
        """Add the tallies of the samples that follow."""
        for method, tally in self.plain.items():
            tally.extend(later.plain[method])


class Evaluator:
    """Segments every sample by every method.

    Where ``full`` is among the methods the others are compared with it on every sample, else with
    ``reference`` where it runs. The very first sample is segmented once unmeasured, as a warm-up.
    """

    def __init__(
        self,
        segmenters: Mapping[Method, FrameSegmenter],
        vocabulary: Vocabulary,
        label_ids: IdMap | None,
        device: torch.device,
        reference: Reference | None = None,
    ) -> None:
        self._segmenters = dict(segmenters)
        self._vocabulary = vocabulary
        self._label_ids = label_ids
        self._predicted_ids = prediction_ids(vocabulary)
        self._memory = PeakMemory(device)
        self._reference = reference
        self._warm = False

    def run(self, samples: Iterable[Sample], advance: Callable[[], object]) -> Tallies:
        """Segment and tally ``samples``; ``advance`` is called after each."""
        tallies = Tallies(self._empty())
        for sample in samples:
            if not self._warm:
                for segmenter in self._segmenters.values():
                    segmenter.segment(sample.image)
                self._warm = True
            self._add(sample, tallies.plain)
            advance()
        return tallies

    def _empty(self) -> dict[Method, MethodTally]:
        return {
            method: MethodTally(self._vocabulary, self._label_ids, self._predicted_ids)
            for method in self._segmenters
        }

    def _add(self, sample: Sample, tallies: Mapping[Method, MethodTally]) -> None:
        measured = {
            method: measure(segmenter, sample.image, self._memory)
            for method, segmenter in self._segmenters.items()
        }
        full = self._full_labels(sample, measured)
        for method, tally in tallies.items():
            tally.add(sample.stamp_ns, measured[method], sample.labels, full)

    def _full_labels(self, sample: Sample, measured: Mapping[Method, Measured]) -> LabelMap | None:
        if Method.FULL in measured:
            return measured[Method.FULL].result.labels
        if self._reference is not None and sample.place % self._reference.every == 0:
            return self._reference.segmenter.segment(sample.image).labels
        return None
