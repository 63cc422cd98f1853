"""Segment images and videos, and write the labels, an overlay and a summary of each image."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activesam_ros.allocator import HugeImages
from activesam_ros.commands.options.frames import add_range_arguments, range_from
from activesam_ros.commands.options.network import (
    add_method_argument,
    add_network_arguments,
    method_from,
    network_options,
    settings_from,
    vocabulary_from,
)
from activesam_ros.commands.segment_outputs import (
    LABELS,
    OVERLAY,
    SCORES,
    SUMMARY,
    Place,
    check_outputs,
    frame_place,
    image_place,
    later_frames,
    remove,
    write_result,
)
from activesam_ros.console import answer, tell
from activesam_ros.errors import (
    ActiveSamError,
    ImageError,
    RecordingError,
    UsageError,
    in_short,
)
from activesam_ros.image_files import png_bytes, read_image
from activesam_ros.pipeline import load_network
from activesam_ros.progress import Progress, working
from activesam_ros.recordings.frame_range import FrameRange
from activesam_ros.recordings.input_files import InputFile, InputKind, expand_inputs
from activesam_ros.recordings.recorded_frames import RecordedFrame
from activesam_ros.recordings.video_files import VideoFrame, open_video
from activesam_ros.segmentation.background import background_label
from activesam_ros.segmentation.overlay import draw_overlay, legend_entries, with_legend
from activesam_ros.segmentation.result import Segmentation, Wanted
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.streaming.streams import StreamingSegmenter

SHOWN_CLASSES = 5
EXIT_SOME_FAILED, EXIT_NONE_WRITTEN = 1, 2

_LOG = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``activesam segment``."""
    parser.add_argument(
        "images",
        nargs="+",
        type=Path,
        metavar="IMAGE",
        help="an image, a video, a folder of them, or a pattern such as 'photos/*.jpg'",
    )
    add_range_arguments(parser)
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
        help="for STEM.labels.png, STEM.overlay.png and STEM.json of each image; those of a video "
        "are DIR/STEM/000000.labels.png and so on",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace what an earlier run wrote; other files are never replaced",
    )


def run(args: argparse.Namespace) -> int:
    """Segment every input; one that cannot be segmented is named, and the others go on.

    Returns 1 if some could not be segmented, 2 if none could.
    """
    chosen = range_from(args)
    inputs = _limited(expand_inputs(args.images), chosen)
    suffixes = (LABELS, OVERLAY, SUMMARY, *((SCORES,) if args.save_scores else ()))
    replaceable = check_outputs(args.output, inputs, suffixes, args.overwrite)
    method = method_from(args)
    settings = settings_from(args, method)
    vocabulary = vocabulary_from(args)
    background_label(vocabulary, settings)  # refuses a wrong background_id before loading
    options = network_options(args)
    with working(f"loading {options.weights}"):
        network = load_network(options)
    with working(f"compiling the vocabulary {vocabulary.name}"):
        segmenter = network.segmenter(vocabulary, settings.per_image(), method)
    worker = _Worker(
        output=args.output,
        segmenter=segmenter,
        stream=StreamingSegmenter(segmenter) if settings.streaming else None,
        wanted=Wanted(scores=args.save_scores),
        bit_depth=settings.bit_depth,
        max_pixels=settings.max_image_pixels,
        range=chosen,
        replaceable=replaceable,
        huge=HugeImages(),
    )
    written = failures = 0
    for file in inputs:
        try:
            if file.kind is InputKind.VIDEO:
                written += worker.video(file.path)
            else:
                worker.image(file.path)
                written += 1
        except (ImageError, RecordingError) as error:
            problem = str(error)
        except (ActiveSamError, OSError):  # the next input would fail as well
            raise
        except Exception as error:  # noqa: BLE001 - one input must not keep the others
            problem = f"{file.path} cannot be segmented: {in_short(error)}."
            _LOG.debug("%s", problem, exc_info=error)
        else:
            continue
        tell(problem)
        failures += 1
    if written:
        files = ", ".join(f"NAME{suffix}" for suffix in suffixes)
        what = "1 image" if written == 1 else f"{written} images"
        answer(f"{args.output}: {what} segmented, each with {files}")
    if not failures:
        return 0
    return EXIT_SOME_FAILED if written else EXIT_NONE_WRITTEN


@dataclass(frozen=True)
class _Worker:
    """Segments inputs and writes the results. stream: carries the active set, None for none."""

    output: Path
    segmenter: Segmenter
    stream: StreamingSegmenter | None
    wanted: Wanted
    bit_depth: int
    max_pixels: int
    range: FrameRange
    replaceable: frozenset[Path]
    huge: HugeImages

    def image(self, path: Path) -> None:
        """Segment an image and say what was found; raises ImageError if it cannot be read."""
        image = read_image(path, self.bit_depth, self.max_pixels)
        self.huge.next_image(image.shape[0] * image.shape[1])
        result = self._segment(image, "", None)  # images, in the order given, are one camera's
        place = image_place(self.output, path)
        self._write(place, image, result, {"image": str(path)})
        classes = self.segmenter.prompts.vocabulary.classes
        found = _shares({entry.name: entry.pixels for entry in result.classes}, result.labels.size)
        answer(
            f"{path}: {found}; {len(result.classes)} classes of {len(classes)}, "
            f"{result.timings_ms['total']:.0f} ms; {place.file(OVERLAY)}",
        )

    def video(self, path: Path) -> int:
        """Segment the frames of a video and say what was found; returns their number.

        Raises RecordingError if none can be read.
        """
        video = open_video(path, self.max_pixels)
        first: Place | None = None
        total, pixels, count = 0, dict[str, int](), 0
        expected = self.range.expected(video.frame_count or None)
        with Progress(expected, "frame", f"segmenting {path.name}") as progress:
            for frame in self.range.select(video.frames(), partial(_stamped, path), (str(path),)):
                result = self._segment(frame.image, str(path), frame.stamp_ns)
                about = {"image": str(path), "frame": frame.number, "stamp_ns": frame.stamp_ns}
                self._write(
                    frame_place(self.output, path, frame.number), frame.image, result, about
                )
                for entry in result.classes:
                    pixels[entry.name] = pixels.get(entry.name, 0) + entry.pixels
                total += result.labels.size
                count += 1
                progress.update()
                first = first or frame_place(self.output, path, frame.number)
        if first is None:
            raise RecordingError(
                f"No frame of {path} lies in the part that --start and --end choose."
            )
        if self.range.is_whole:
            remove(p for p in later_frames(self.output, path, count) if p in self.replaceable)
            missing = video.missing_frames(count)
            if missing is not None:
                tell(f"{missing}.")
        answer(
            f"{path}: {_shares(pixels, total)}; {count} frames; {first.file(OVERLAY)} and on",
        )
        return count

    def _segment(self, image: NDArray[np.uint8], camera: str, stamp_ns: int | None) -> Segmentation:
        if self.stream is None:
            return self.segmenter.segment(image, self.wanted)
        return self.stream.frame(camera, stamp_ns).segment(image, self.wanted)

    def _write(
        self, place: Place, image: NDArray[np.uint8], result: Segmentation, about: Mapping[str, Any]
    ) -> None:
        vocabulary = self.segmenter.prompts.vocabulary
        entries = legend_entries(
            result.labels, [(entry.id, entry.name, entry.color) for entry in vocabulary.classes]
        )
        overlay = with_legend(draw_overlay(image, result.labels, vocabulary.palette), entries)
        summary = {
            **about,
            "size": list(image.shape[:2]),
            "method": self.segmenter.method.value,
            "queries": list(vocabulary.queries),
            "presence": list(result.preview_presence),
            "active_queries": list(result.active_queries),
            "admitted_queries": list(result.admitted_queries or result.active_queries),
            "classes": [
                {
                    "id": entry.id,
                    "name": entry.name,
                    "presence": entry.presence,
                    "pixels": entry.pixels,
                }
                for entry in result.classes
            ],
            "background": {
                "id": result.background_id,
                "pixels": int(np.count_nonzero(result.labels == result.background_id)),
            },
            "timings_ms": dict(result.timings_ms),
        }
        pictures = {LABELS: png_bytes(result.labels), OVERLAY: png_bytes(overlay)}
        write_result(place, pictures, result.scores, summary, self.replaceable)


def _limited(inputs: Sequence[InputFile], chosen: FrameRange) -> tuple[InputFile, ...]:
    """The inputs, with at most as many images as --limit says; raises UsageError."""
    images = [file for file in inputs if file.kind is not InputKind.VIDEO]
    if len(images) == len(inputs) and dataclasses.replace(chosen, limit=None) != FrameRange():
        raise UsageError("--start and --end choose a part of a video, and no input is one.")
    kept = set(images[: chosen.limit])
    return tuple(file for file in inputs if file.kind is InputKind.VIDEO or file in kept)


def _stamped(path: Path, frame: VideoFrame) -> RecordedFrame:
    """When the frame is shown, in the terms of a recording."""
    return RecordedFrame(
        str(path), "", frame.stamp_ns, frame.stamp_ns, "", stamp_is_log_time=False, message=None
    )


def _shares(pixels: Mapping[str, int], total: int) -> str:
    """The classes that cover most pixels, with their share of all ``total``."""
    pixels = {**pixels, "no class": total - sum(pixels.values())}
    largest = sorted((name for name in pixels if pixels[name]), key=lambda name: -pixels[name])
    texts = [f"{name} {100 * pixels[name] / total:.1f} %" for name in largest[:SHOWN_CLASSES]]
    if len(largest) > SHOWN_CLASSES:
        texts.append(f"{len(largest) - SHOWN_CLASSES} more")
    return ", ".join(texts)
