"""Measure demo weights on unseen frames: accuracy, speed, and the classes that the preview misses.

The frames are rendered from the seeds for tests. There are three questions: the classes of
Cityscapes; a wide vocabulary of 150 classes, which adds classes of ADE20K and COCO that are no
synonyms of Cityscapes'; and objects alone, with everything else as background.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from activesam_ros.cli import run_command
from activesam_ros.commands.options.network import add_set_argument, methods_from
from activesam_ros.demo.drive.options import TEST_SEEDS, DriveOptions
from activesam_ros.demo.drive.sequence import Drive
from activesam_ros.demo.world.classes import CLASS_COUNT, VOCABULARY_NAME, ClassId
from activesam_ros.errors import UsageError
from activesam_ros.evaluation.scoring.metrics import ConfusionMatrix, IdMap
from activesam_ros.output_files import check_output_file, write_whole
from activesam_ros.pipeline import Network, NetworkOptions, load_network
from activesam_ros.prompts.canonical import canonical_name
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.segmentation.methods import Method, default_settings
from activesam_ros.segmentation.result import Segmentation
from activesam_ros.settings import Settings
from training.frames import SECONDS_BETWEEN_FRAMES
from training.names import AMBIGUOUS, SYNONYMS

QUESTIONS = ("cityscapes", "wide", "objects")
WIDE_CLASSES = 150
WIDE_SOURCES = ("ade20k", "coco_object")
FRAMES_PER_DRIVE = 4
# A class that covers a larger share of a frame should be in the active set.
VISIBLE_SHARE = 0.005
FIRST_OBJECT = ClassId.TRAFFIC_LIGHT
NO_OBJECTS = (ClassId.VEGETATION, ClassId.TERRAIN, ClassId.SKY)
# The published value for COCO-Object, whose classes are objects too.
OBJECTS_THRESHOLD = 0.4


@dataclass(frozen=True, eq=False)
class MeasuredFrame:
    """One frame: RGB uint8 [H, W, 3] and labels uint8 [H, W]."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class Question:
    """A vocabulary, and the true class index of each Cityscapes id.

    background_threshold: 0 for a vocabulary without background; otherwise class 0 is background.
    """

    vocabulary: Vocabulary
    truth: dict[int, int]
    background_threshold: float = 0.0

    def settings(self, method: Method) -> Settings:
        """The published settings of the method, with the background of the question."""
        settings = default_settings(method)
        if not self.background_threshold:
            return settings
        return dataclasses.replace(
            settings,
            background_threshold=self.background_threshold,
            background_id=self.vocabulary.classes[0].id,
        )


@dataclass
class PreviewTally:
    """Counts how often the preview finds visible classes, and the presence of absent names."""

    visible: int = 0
    found: int = 0
    absent: int = 0
    absent_presence: float = 0.0

    def add(self, result: Segmentation, question: Question, labels: NDArray[np.uint8]) -> None:
        """Count one frame."""
        classes = question.vocabulary.query_class
        shares = np.zeros(len(question.vocabulary.classes))
        for identity, count in enumerate(np.bincount(labels.ravel(), minlength=CLASS_COUNT)):
            if identity in question.truth:
                shares[question.truth[identity]] += count / labels.size
        active = {classes[query] for query in result.active_queries}
        seen = set(np.flatnonzero(shares > VISIBLE_SHARE).tolist())
        self.visible += len(seen)
        self.found += len(seen & active)
        there = set(np.flatnonzero(shares).tolist())
        for index, presence in zip(classes, result.preview_presence, strict=True):
            if index not in there and presence is not None:
                self.absent += 1
                self.absent_presence += presence


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m training.measure``."""
    parser.add_argument("--weights", type=Path, required=True, metavar="PATH")
    parser.add_argument("--frames", type=int, default=64, help="default: %(default)s")
    parser.add_argument(
        "--method",
        default="full,activesam",
        metavar="METHOD[,METHOD]...",
        help="default: %(default)s",
    )
    parser.add_argument(
        "--question",
        choices=QUESTIONS,
        default=QUESTIONS[0],
        help="the 19 classes of Cityscapes, 150 of which 19 can occur, or objects on a background "
        "(default: %(default)s)",
    )
    add_set_argument(parser)
    parser.add_argument("--device", default="auto", help="default: %(default)s")
    parser.add_argument("--output", type=Path, required=True, metavar="JSON")


def run(args: argparse.Namespace) -> int:
    """Measure and write the figures; raises UsageError for an option that is out of range."""
    if args.frames < 1:
        raise UsageError(f"--frames {args.frames} is too small; give 1 or more.")
    check_output_file(args.output)
    methods = methods_from(args)
    network = load_network(NetworkOptions(weights=args.weights, device=args.device))
    question = ask(args.question)
    samples = list(test_frames(args.frames))
    results = {
        method.value: measure(network, question, method, samples, args.assignments)
        for method in methods
    }
    report = {
        "question": args.question,
        "frames": len(samples),
        "classes": len(question.vocabulary.classes),
        "settings": args.assignments,
        "methods": results,
    }
    write_whole(args.output, json.dumps(report, indent=1) + "\n")
    for name, figures in results.items():
        seconds, miou = figures["seconds_per_frame"], figures["miou"]
        print(f"{name}: mIoU {miou:.3f}, {seconds:.3f} s per frame over {len(samples)} frames")
    return 0


def ask(name: str) -> Question:
    """The question of this name, one of QUESTIONS."""
    same = {identity: identity for identity in range(CLASS_COUNT)}
    if name == "wide":
        return Question(wide_vocabulary(), same)
    if name == "objects":
        return objects_question()
    return Question(load_vocabulary(VOCABULARY_NAME), same)


def objects_question() -> Question:
    """Traffic lights, signs, people and vehicles of Cityscapes; the rest is background."""
    base = load_vocabulary(VOCABULARY_NAME).classes
    kept = [entry for entry in base if entry.id >= FIRST_OBJECT and entry.id not in NO_OBJECTS]
    background = load_vocabulary("voc21").classes[0]
    objects = [dataclasses.replace(entry, id=index) for index, entry in enumerate(kept, start=1)]
    index_of_id = {entry.id: index for index, entry in enumerate(kept, start=1)}
    return Question(
        Vocabulary(name="objects", classes=(background, *objects)),
        {identity: index_of_id.get(identity, 0) for identity in range(CLASS_COUNT)},
        OBJECTS_THRESHOLD,
    )


def wide_vocabulary() -> Vocabulary:
    """The classes of Cityscapes with their ids, then others, 150 in total."""
    base = load_vocabulary(VOCABULARY_NAME)
    known = (*base.queries, *AMBIGUOUS, *(name for names in SYNONYMS.values() for name in names))
    taken = set(map(canonical_name, known))
    others = []
    for entry in (entry for source in WIDE_SOURCES for entry in load_vocabulary(source).classes):
        names = {canonical_name(name) for name in entry.names}
        if not names & taken:
            others.append(entry)
            taken |= names
    kept = others[: WIDE_CLASSES - len(base.classes)]
    numbered = [
        dataclasses.replace(entry, id=index) for index, entry in enumerate(kept, start=CLASS_COUNT)
    ]
    return Vocabulary(name="wide", classes=(*base.classes, *numbered))


def test_frames(count: int) -> Iterator[MeasuredFrame]:
    """``count`` frames of unseen drives, 2 s apart, four from each drive."""
    for number, seed in enumerate(TEST_SEEDS):
        options = DriveOptions(
            seed=seed, frames=FRAMES_PER_DRIVE, rate_hz=1 / SECONDS_BETWEEN_FRAMES
        )
        drive = Drive(options)
        for index in range(FRAMES_PER_DRIVE):
            if number * FRAMES_PER_DRIVE + index == count:
                return
            frame = drive.frame(index)
            yield MeasuredFrame(frame.images[0], frame.labels[0])


def measure(
    network: Network,
    question: Question,
    method: Method,
    samples: Sequence[MeasuredFrame],
    assignments: Sequence[str] = (),
) -> dict[str, object]:
    """The figures of one method: mIoU and IoU of the classes that occur, speed, preview.

    assignments: NAME=VALUE of settings, which override those of the question.
    """
    vocabulary = question.vocabulary
    settings = question.settings(method).assign(assignments)
    segmenter = network.segmenter(vocabulary, settings, method)
    count = len(vocabulary.classes)
    index_of_id = {entry.id: index for index, entry in enumerate(vocabulary.classes)}
    truth_ids = IdMap.of(question.truth, count, (ClassId.UNLABELLED,))
    confusion, preview = ConfusionMatrix.empty(count), PreviewTally()
    segmenter.segment(samples[0].image)  # the first frame fills caches and is not timed
    seconds = 0.0
    for sample in samples:
        started = time.monotonic()
        result = segmenter.segment(sample.image)
        seconds += time.monotonic() - started
        confusion += ConfusionMatrix.of(
            sample.labels, result.labels, truth_ids, IdMap.of(index_of_id, count)
        )
        preview.add(result, question, sample.labels)
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


if __name__ == "__main__":
    sys.exit(run_command(sys.modules[__name__], "python -m training.measure", sys.argv[1:]))
