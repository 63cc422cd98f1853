"""Measure demo weights on unseen frames: what they see, and what the preview misses.

Frames come straight from drives of the seeds kept for tests. The wide vocabulary has 150 classes:
Cityscapes', then those of ADE20K and COCO that are no other word for one of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from activesam_ros.cli_options import methods_from
from activesam_ros.demo.classes import CLASS_COUNT, VOCABULARY_NAME, ClassId
from activesam_ros.demo.options import TEST_SEEDS, DriveOptions
from activesam_ros.demo.sequence import Drive
from activesam_ros.demo.training_frames import SECONDS_BETWEEN_FRAMES
from activesam_ros.demo.training_names import AMBIGUOUS, SYNONYMS
from activesam_ros.errors import UsageError
from activesam_ros.evaluation.metrics import ConfusionMatrix, IdMap
from activesam_ros.pipeline import Network, NetworkOptions, load_network
from activesam_ros.prompts.canonical import canonical
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.segmentation.baselines import Method, default_settings
from activesam_ros.segmentation.result import Segmentation

WIDE_CLASSES = 150
WIDE_SOURCES = ("ade20k", "coco_object")
FRAMES_PER_DRIVE = 4
# A class that covers more of a frame should be in the active set.
VISIBLE_SHARE = 0.005


@dataclass(frozen=True, eq=False)
class Sample:
    """One frame: RGB uint8 [H, W, 3] and labels uint8 [H, W]."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]


@dataclass
class PreviewTally:
    """How often visible classes were found, and the presence of names that are not there."""

    visible: int = 0
    found: int = 0
    absent: int = 0
    absent_presence: float = 0.0

    def add(self, result: Segmentation, vocabulary: Vocabulary, labels: NDArray[np.uint8]) -> None:
        """Count one frame of a vocabulary whose first classes are Cityscapes' in their order."""
        shares = np.bincount(labels.ravel(), minlength=256) / labels.size
        active = {vocabulary.query_class[query] for query in result.active_queries}
        seen = set(np.flatnonzero(shares[:CLASS_COUNT] > VISIBLE_SHARE).tolist())
        self.visible += len(seen)
        self.found += len(seen & active)
        there = set(np.flatnonzero(shares[:CLASS_COUNT]).tolist())
        for index, presence in zip(vocabulary.query_class, result.presence, strict=True):
            if index not in there and presence is not None:
                self.absent += 1
                self.absent_presence += presence


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``activesam demo measure``."""
    parser.add_argument("--weights", type=Path, required=True, metavar="PATH")
    parser.add_argument("--frames", type=int, default=64, help="default: %(default)s")
    parser.add_argument(
        "--method",
        default="full,activesam",
        metavar="METHOD[,METHOD]...",
        help="default: %(default)s",
    )
    parser.add_argument(
        "--wide", action="store_true", help="ask for 150 classes instead of Cityscapes' 19"
    )
    parser.add_argument("--device", default="auto", help="default: %(default)s")
    parser.add_argument("--output", type=Path, required=True, metavar="JSON")


def run(args: argparse.Namespace) -> int:
    """Measure and write the figures; raises UsageError for options that cannot be used."""
    if args.frames < 1:
        raise UsageError(f"--frames {args.frames} is too small; give 1 or more.")
    methods = methods_from(args)
    network = load_network(NetworkOptions(weights=args.weights, device=args.device))
    vocabulary = wide_vocabulary() if args.wide else load_vocabulary(VOCABULARY_NAME)
    samples = list(test_frames(args.frames))
    results = {method.value: measure(network, vocabulary, method, samples) for method in methods}
    report = {"frames": len(samples), "classes": len(vocabulary.classes), "methods": results}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for name, figures in results.items():
        seconds, miou = figures["seconds_per_frame"], figures["miou"]
        print(f"{name}: mIoU {miou:.3f}, {seconds:.3f} s a frame over {len(samples)} frames")
    return 0


def wide_vocabulary() -> Vocabulary:
    """Cityscapes' classes under their ids, then others, 150 in all."""
    base = load_vocabulary(VOCABULARY_NAME)
    taken = {canonical(name).lower() for name in base.queries} | set(AMBIGUOUS)
    taken |= {name for synonyms in SYNONYMS.values() for name in synonyms}
    others = []
    for entry in (entry for source in WIDE_SOURCES for entry in load_vocabulary(source).classes):
        names = {canonical(name).lower() for name in entry.names}
        if not names & taken:
            others.append(entry)
            taken |= names
    kept = others[: WIDE_CLASSES - len(base.classes)]
    numbered = [
        dataclasses.replace(entry, id=index) for index, entry in enumerate(kept, start=CLASS_COUNT)
    ]
    return Vocabulary(name="wide", classes=(*base.classes, *numbered))


def test_frames(count: int) -> Iterator[Sample]:
    """Frames of unseen drives, some seconds apart."""
    for number, seed in enumerate(TEST_SEEDS):
        options = DriveOptions(
            seed=seed, frames=FRAMES_PER_DRIVE, rate_hz=1 / SECONDS_BETWEEN_FRAMES
        )
        drive = Drive(options)
        for index in range(FRAMES_PER_DRIVE):
            if number * FRAMES_PER_DRIVE + index == count:
                return
            frame = drive.frame(index)
            yield Sample(frame.images[0], frame.labels[0])


def measure(
    network: Network, vocabulary: Vocabulary, method: Method, samples: Sequence[Sample]
) -> dict[str, object]:
    """The figures of one method: mIoU and IoU over Cityscapes' classes, speed, preview."""
    segmenter = network.segmenter(vocabulary, default_settings(method), method)
    count = len(vocabulary.classes)
    index_of_id = {entry.id: index for index, entry in enumerate(vocabulary.classes)}
    truth_ids = IdMap.of(
        {identity: identity for identity in range(CLASS_COUNT)}, count, (ClassId.UNLABELLED,)
    )
    confusion, preview = ConfusionMatrix.empty(count), PreviewTally()
    segmenter.segment(samples[0].image)  # the first frame pays for what later ones find ready
    seconds = 0.0
    for sample in samples:
        started = time.monotonic()
        result = segmenter.segment(sample.image)
        seconds += time.monotonic() - started
        confusion += ConfusionMatrix.of(
            sample.labels, result.labels, truth_ids, IdMap.of(index_of_id, count)
        )
        preview.add(result, vocabulary, sample.labels)
    iou = confusion.iou()
    pixels = confusion.label_pixels / max(int(confusion.label_pixels.sum()), 1)
    return {
        "miou": confusion.miou_of_labelled(),
        "pixel_accuracy": confusion.pixel_accuracy(),
        "seconds_per_frame": seconds / len(samples),
        "per_class": {
            entry.name: {"iou": round(float(iou[index]), 4), "share": round(float(share), 4)}
            for index, (entry, share) in enumerate(zip(vocabulary.classes, pixels, strict=True))
            if share > 0
        },
        "visible_classes_found": preview.found / preview.visible if preview.visible else None,
        "absent_presence_mean": (
            preview.absent_presence / preview.absent if preview.absent else None
        ),
    }
