"""Evaluate methods on a recording: accuracy and speed, with or without ground truth."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from activesam_ros.commands.evaluate_shared import (
    Content,
    EvaluationInput,
    add_shared_arguments,
    evaluate,
    options_from,
)
from activesam_ros.commands.options.frames import add_range_arguments, range_from
from activesam_ros.commands.options.network import (
    add_network_arguments,
    settings_from,
    vocabulary_from,
)
from activesam_ros.console import tell
from activesam_ros.errors import RecordingError, UsageError
from activesam_ros.evaluation.datasets.bag_label_ids import (
    UNLABELLED,
    LabelMeaning,
    label_meaning,
    uncounted_text,
)
from activesam_ros.evaluation.datasets.bag_samples import BagSource
from activesam_ros.evaluation.datasets.sample_source import SourceCount
from activesam_ros.evaluation.datasets.stamp_join import JOINED_BY_ORDER, labels_are_joined_by_order
from activesam_ros.evaluation.scoring.results import concept_table
from activesam_ros.recordings.formats.decompression import add_max_message_argument
from activesam_ros.recordings.recorded_frames import open_recording
from activesam_ros.segmentation.methods import Method

DEFAULT_AGREEMENT_EVERY = 10
SHOWN_PROBLEMS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``activesam evaluate bag``."""
    parser.add_argument("bag", type=Path, metavar="BAG", help="file or folder of a recording")
    parser.add_argument("--image-topic", required=True, metavar="T", help="the images to segment")
    parser.add_argument(
        "--label-topic",
        metavar="L",
        help="ground truth: images of class ids, with the stamps of the images",
    )
    add_range_arguments(parser)
    add_max_message_argument(parser)
    add_network_arguments(parser)
    parser.add_argument(
        "--agreement-every",
        type=int,
        default=DEFAULT_AGREEMENT_EVERY,
        metavar="N",
        help="compare with the unpruned method on every N-th frame, unless full is among the "
        "methods, and methods that have signatures with their highest score; 0 for never (default: "
        "%(default)s)",
    )
    add_shared_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate and write results.json; raises ActiveSamError on bad input."""
    options = options_from(args)
    if args.agreement_every < 0:
        raise UsageError(f"--agreement-every {args.agreement_every} must be 0 or more.")
    if args.label_topic == args.image_topic:
        raise UsageError(
            f"--label-topic {args.label_topic} is the image topic; give a topic whose pixels are "
            "class ids, or leave the option out."
        )
    recording = open_recording(args.bag, args.max_message_mib)
    topics = [topic for topic in (args.image_topic, args.label_topic) if topic is not None]
    for topic in topics:
        recording.image_topic(topic)
    vocabulary = vocabulary_from(args)
    meaning = (
        None if args.label_topic is None else label_meaning(recording, args.label_topic, vocabulary)
    )
    compare_with_full = Method.FULL not in options.methods and args.agreement_every > 0
    by_order = args.label_topic is not None and labels_are_joined_by_order(
        recording, args.image_topic, args.label_topic
    )
    settings = {method: settings_from(args, method) for method in options.methods}
    rules = settings[options.methods[0]]  # --set is for all methods
    frames = range_from(args)
    source = BagSource(
        args.bag,
        args.image_topic,
        args.label_topic,
        by_order,
        rules.bit_depth,
        frames,
        rules.max_image_pixels,
        args.max_message_mib,
    )
    task = options.task(
        source,
        vocabulary,
        settings,
        meaning.ids if meaning else None,
        (settings_from(args, Method.FULL), args.agreement_every) if compare_with_full else None,
        args.agreement_every,
    )
    images = frames.expected(recording.message_count(topics[:1]))
    identity = {"topics": ", ".join(topics), "part of the recording": repr(frames)}
    read = EvaluationInput(recording.files, identity, images, "frame")

    def about(count: SourceCount) -> Content:
        recording = _about(source, count, meaning)
        _report_problems(count, recording)
        if not count.images and not frames.is_whole:
            raise RecordingError(
                f"No image on {args.image_topic} lies in the part that --start and --end choose; "
                "no results were written."
            )
        if count.images == count.unusable_images:
            raise RecordingError(
                f"None of the {count.images} images on {args.image_topic} can be used; no results "
                "were written."
            )
        return {"recording": recording}

    evaluate(options, task, read, about, [concept_table])
    return 0


def _about(source: BagSource, count: SourceCount, meaning: LabelMeaning | None) -> Content:
    return {
        "path": str(source.path),
        "image_topic": source.image_topic,
        "label_topic": source.label_topic,
        "range": dataclasses.asdict(source.range),
        "labels_joined_by": ("order" if source.by_order else "stamp") if meaning else None,
        "label_names_from": meaning.source if meaning else None,
        "label_names_not_in_vocabulary": list(meaning.unknown.values()) if meaning else [],
        "label_pixels": sum(
            pixels for id, pixels in count.label_pixels.items() if id not in UNLABELLED
        ),
        "uncounted_labels": meaning.uncounted(count.label_pixels) if meaning else {},
        "images": count.images,
        "unusable_images": count.unusable_images,
        "images_without_labels": count.images_without_labels,
        "labels_without_image": count.labels_without_image,
        "stamps_replaced": count.stamps_replaced,
        "problems": dict(count.problems),
        "notes": list(count.notes),
    }


def _report_problems(count: SourceCount, recording: Content) -> None:
    lines: list[str] = [f"{note}." for note in count.notes]
    if recording["labels_joined_by"] == "order":
        lines.append(JOINED_BY_ORDER)
    uncounted = uncounted_text(recording)
    if uncounted:
        lines.append(uncounted)
    if count.images_without_labels:
        lines.append(f"{count.images_without_labels} images have no labels of the same stamp.")
    if count.labels_without_image:
        lines.append(f"{count.labels_without_image} label images have no image of the same stamp.")
    lines += [f"{times} x {text}" for text, times in count.problems.most_common(SHOWN_PROBLEMS)]
    for line in lines:
        tell(line)
