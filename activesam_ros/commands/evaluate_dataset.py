"""Evaluate methods on one of the eight benchmarks, beside the published figures."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from activesam_ros.commands.evaluate_shared import (
    EvaluationInput,
    add_shared_arguments,
    evaluate,
    options_from,
)
from activesam_ros.commands.options.network import add_network_arguments, vocabulary_from
from activesam_ros.console import tell
from activesam_ros.errors import UsageError
from activesam_ros.evaluation.datasets.benchmark_images import DatasetSource, find_images, label_ids
from activesam_ros.evaluation.datasets.dataset_table import (
    BENCHMARK_NAMES,
    Benchmark,
    Published,
    benchmark_named,
)
from activesam_ros.evaluation.scoring.results import number, percent, ratio_text, text_table
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.segmentation.methods import METHODS, Method, default_settings
from activesam_ros.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``activesam evaluate dataset``."""
    parser.add_argument(
        "name", choices=BENCHMARK_NAMES, metavar="NAME", help=", ".join(BENCHMARK_NAMES)
    )
    parser.add_argument(
        "--root",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the dataset, or mmsegmentation's data folder that contains it",
    )
    parser.add_argument(
        "--n-images",
        type=int,
        metavar="N",
        help="number of images, at even distances in the validation set (default: all)",
    )
    add_network_arguments(parser)
    add_shared_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate and write results.json; raises ActiveSamError on bad input."""
    options = options_from(args)
    if args.n_images is not None and args.n_images < 1:
        raise UsageError(f"--n-images {args.n_images} must be at least 1.")
    benchmark = benchmark_named(args.name)
    found = find_images(benchmark, args.root, args.n_images)
    images = found.images
    tell(str(found))
    vocabulary = checked_vocabulary(benchmark, vocabulary_from(args, benchmark.name))
    settings = {
        method: benchmark_settings(benchmark, method, vocabulary, args.assignments)
        for method in options.methods
    }
    rules = settings[options.methods[0]]  # --set is for all methods
    task = options.task(
        DatasetSource(benchmark, images, rules.bit_depth, rules.max_image_pixels),
        vocabulary,
        settings,
        label_ids(benchmark),
    )
    files = [file for image in images for file in (image.image, image.labels)]
    about = {
        "dataset": {
            "name": benchmark.name,
            "title": benchmark.title,
            "root": str(args.root),
            "images": len(images),
            "images_in_set": found.in_set,
            "images_in_folder": found.in_folder,
            "set_by": found.set_by,
            "images_used": str(found),
        },
        "published": {
            method.value: dataclasses.asdict(figures)
            for method, figures in benchmark.published.items()
        },
    }
    evaluate(
        options,
        task,
        EvaluationInput(files, {"benchmark": benchmark.name}, len(images), "image"),
        lambda count: about,
        [lambda content: published_table(benchmark, content["methods"])],
    )
    return 0


def checked_vocabulary(benchmark: Benchmark, vocabulary: Vocabulary) -> Vocabulary:
    """``vocabulary``, whose classes must follow the order of the benchmark.

    Raises UsageError when their numbers differ.
    """
    if len(vocabulary.classes) != benchmark.classes:
        raise UsageError(
            f"The vocabulary {vocabulary.name!r} has {len(vocabulary.classes)} classes and "
            f"{benchmark.title} {benchmark.classes}; give one with the classes of "
            f"{benchmark.name!r} in their order."
        )
    return vocabulary


def benchmark_settings(
    benchmark: Benchmark, method: Method, vocabulary: Vocabulary, assignments: Iterable[str]
) -> Settings:
    """The published settings of a method for the benchmark, changed by ``assignments``.

    Raises SettingsError, and UsageError for streaming: images of a benchmark are no stream.
    """
    values: dict[str, object] = {}
    if benchmark.has_background:
        values["background_class"] = vocabulary.classes[0].name
        if not METHODS[method].by_presence:
            values["background_threshold"] = benchmark.background_threshold
    if method is Method.SEGEARTH:
        values["confidence_threshold"] = benchmark.segearth_confidence
    settings = default_settings(method).replace(values).assign(assignments)
    if settings.streaming:
        raise UsageError(
            f"streaming=true cannot be used with {benchmark.name!r}: its images do not follow each "
            "other in time; evaluate a recording, or leave streaming out."
        )
    return settings


def published_table(benchmark: Benchmark, measured: Mapping[str, Any]) -> str:
    """Measured and published figures side by side, one line per method.

    The mean is that of the eight benchmarks; ratios are of frames/s to those of SegEarth-OV3.
    """
    names = [*measured, *(m.value for m in benchmark.published if m.value not in measured)]
    rows = [
        (
            *("method", "mIoU %", "published", "published mean", "frames/s"),
            *("published (RTX 5090)", "x segearth", "published"),
        )
    ]
    segearth = measured.get(Method.SEGEARTH.value, {}).get("frames_per_second")
    for name in names:
        published = benchmark.published.get(Method(name), Published(None, None))
        here = measured.get(name, {"miou": None, "frames_per_second": None})
        speed = here["frames_per_second"]
        rows.append(
            (
                name,
                percent(here["miou"]),
                percent(published.miou),
                percent(published.mean_miou),
                number(speed, 2),
                number(published.frames_per_second, 2),
                number(speed / segearth if speed and segearth else None, 1),
                ratio_text(published.times_segearth),
            )
        )
    return text_table(rows)
