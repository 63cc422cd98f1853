"""Run methods side by side over samples and tally what each does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from activesam_ros.evaluation.measuring import FrameSegmenter, Measured, PeakMemory, measure
from activesam_ros.evaluation.metrics import IdMap, LabelMap
from activesam_ros.evaluation.tally import MethodTally
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.segmentation.baselines import Method


@dataclass(frozen=True)
class Sample:
    """An image to segment.

    image: uint8 RGB [H, W, 3]. labels: ground truth ids [H, W], None where there is none.
    stamp_ns: None where samples do not follow each other in time.
    """

    image: NDArray[np.uint8]
    labels: LabelMap | None
    stamp_ns: int | None


@dataclass(frozen=True)
class Reference:
    """The method without pruning, run on every ``every``-th sample to see what pruning costs."""

    segmenter: FrameSegmenter
    every: int


def evaluate(
    samples: Iterable[Sample],
    segmenters: Mapping[Method, FrameSegmenter],
    vocabulary: Vocabulary,
    label_ids: IdMap | None,
    device: torch.device,
    reference: Reference | None = None,
    advance: Callable[[], object] = lambda: None,
) -> dict[Method, MethodTally]:
    """Segment every sample by every method; the tallies in the order of ``segmenters``.

    Where ``full`` is among the methods the others are compared with it on every sample, else with
    ``reference`` where it runs. The first sample is segmented once unmeasured, as a warm-up.
    """
    tallies = {method: MethodTally(vocabulary, label_ids) for method in segmenters}
    memory = PeakMemory(device)
    for place, sample in enumerate(samples):
        if place == 0:
            for segmenter in segmenters.values():
                segmenter.segment(sample.image)
        measured = {
            method: measure(segmenter, sample.image, memory)
            for method, segmenter in segmenters.items()
        }
        full = _full_labels(place, sample, measured, reference)
        for method, tally in tallies.items():
            tally.add(sample.stamp_ns, measured[method], sample.labels, full)
        advance()
    return tallies


def _full_labels(
    place: int,
    sample: Sample,
    measured: Mapping[Method, Measured],
    reference: Reference | None,
) -> LabelMap | None:
    if Method.FULL in measured:
        return measured[Method.FULL].result.labels
    if reference is not None and place % reference.every == 0:
        return reference.segmenter.segment(sample.image).labels
    return None
