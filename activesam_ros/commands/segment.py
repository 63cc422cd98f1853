"""Segment images, and write the labels, an overlay and a summary of each."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from activesam_ros.commands.options.network import (
    add_method_argument,
    add_network_arguments,
    method_from,
    network_options,
    settings_from,
    vocabulary_from,
)
from activesam_ros.errors import ActiveSamError, UsageError
from activesam_ros.image_files import read_image, write_png
from activesam_ros.pipeline import load_network
from activesam_ros.segmentation.overlay import draw_overlay
from activesam_ros.segmentation.result import Segmentation, Wanted
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.streaming.streams import StreamingSegmenter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``activesam segment``."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    add_network_arguments(parser)
    add_method_argument(parser)
    parser.add_argument(
        "--save-scores",
        action="store_true",
        help="also write the scores: STEM.scores.npy, float16 [classes, height, width]",
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="for STEM.labels.png, STEM.overlay.png and STEM.json of each image",
    )


def run(args: argparse.Namespace) -> int:
    """Segment every image. Reports those that cannot be read, and returns 2 if there are any."""
    _check_inputs(args.images, args.output)
    method = method_from(args)
    settings = settings_from(args, method)
    vocabulary = vocabulary_from(args)
    network = load_network(network_options(args))
    segmenter = network.segmenter(vocabulary, settings.per_image(), method)
    stream = StreamingSegmenter(segmenter) if settings.streaming else None
    args.output.mkdir(parents=True, exist_ok=True)
    failures = 0
    for path in args.images:
        try:
            image = read_image(path)
        except ActiveSamError as error:
            print(f"activesam: {error}", file=sys.stderr)
            failures += 1
            continue
        wanted = Wanted(scores=args.save_scores)
        if stream is None:
            result = segmenter.segment(image, wanted)
        else:  # the images, in the order given, are one camera's
            result = stream.frame("", None).segment(image, wanted)
        write_result(args.output, path, image, result, segmenter)
        print(
            f"{path}: {len(result.classes)} classes of {len(vocabulary.classes)}, "
            f"{result.timings_ms['total']:.0f} ms"
        )
    return 2 if failures else 0


def write_result(
    output: Path,
    path: Path,
    image: NDArray[np.uint8],
    result: Segmentation,
    segmenter: Segmenter,
) -> None:
    """Write STEM.labels.png, STEM.overlay.png, STEM.json and, where wanted, STEM.scores.npy."""
    vocabulary = segmenter.prompts.vocabulary
    picture = draw_overlay(image, result.labels, vocabulary.palette)
    write_png(output / f"{path.stem}.labels.png", result.labels)
    write_png(output / f"{path.stem}.overlay.png", picture)
    summary = {
        "image": str(path),
        "size": list(image.shape[:2]),
        "method": segmenter.method.value,
        "queries": list(vocabulary.queries),
        "presence": list(result.presence),
        "active_queries": list(result.active_queries),
        "classes": [
            {
                "id": entry.id,
                "name": entry.name,
                "presence": entry.presence,
                "pixels": entry.pixels,
            }
            for entry in result.classes
        ],
        "timings_ms": dict(result.timings_ms),
    }
    (output / f"{path.stem}.json").write_text(json.dumps(summary, indent=1) + "\n", "utf-8")
    if result.scores is not None:
        np.save(output / f"{path.stem}.scores.npy", result.scores)


def _check_inputs(images: Sequence[Path], output: Path) -> None:
    stems: dict[str, Path] = {}
    for path in images:
        if not path.is_file():
            raise UsageError(f"There is no image {path}.")
        if path.stem in stems:
            raise UsageError(
                f"{stems[path.stem]} and {path} would both write {path.stem}.labels.png; "
                "segment them into different folders."
            )
        stems[path.stem] = path
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is a file; give a folder.")
