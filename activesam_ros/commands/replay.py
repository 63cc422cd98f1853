"""Segment every frame of a recording, a video or images, offline and none dropped.

Writes the masks as an MCAP recording, an overlay with a legend as a video, or both.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from activesam_ros.commands.options.frames import add_range_arguments, range_from
from activesam_ros.commands.options.network import (
    add_method_argument,
    add_network_arguments,
    method_from,
    network_options,
    settings_from,
    vocabulary_from,
)
from activesam_ros.console import answer, tell
from activesam_ros.errors import RecordingError, UsageError
from activesam_ros.evaluation.scoring.measurement import ImageSegmenter
from activesam_ros.output_files import check_output_file, make_folder
from activesam_ros.pipeline import load_network
from activesam_ros.progress import Progress, working
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.recordings.formats.decompression import add_max_message_argument
from activesam_ros.recordings.frame_range import FrameRange
from activesam_ros.recordings.picture_frames import TOPIC, FrameSource, open_frames
from activesam_ros.recordings.recorded_frames import RecordedFrame, Recording
from activesam_ros.recordings.topic_choice import chosen_topics
from activesam_ros.replay.journal import ReplayJournal
from activesam_ros.replay.mask_recording import output_topics, write_mask_bag
from activesam_ros.replay.overlay_video import CODECS, video_style, write_overlay_video
from activesam_ros.replay.segment_frames import ReplayCount, segment_remaining
from activesam_ros.resumable_work import files_identity, vocabulary_identity
from activesam_ros.segmentation.background import background_label
from activesam_ros.settings import Settings

SHOWN_PROBLEMS = 5


@dataclass(frozen=True)
class Frames:
    """The frames to segment: a part of the topics of a source, read by ``settings``."""

    source: FrameSource
    topics: tuple[str, ...]
    range: FrameRange
    settings: Settings

    @property
    def expected(self) -> int | None:
        """Their number, None when it is unknown before they are read."""
        count = self.source.message_count(self.topics)
        return self.range.expected(count, len(self.topics))

    def read(self) -> Iterator[RecordedFrame]:
        """Every frame, in order of recording."""
        frames = self.source.frames(self.topics)
        return self.range.select(frames, lambda frame: frame, self.topics)


@dataclass(frozen=True)
class Outputs:
    """The files to write: the recording of masks and the video, None for none."""

    masks: Path | None
    video: Path | None

    @property
    def journal(self) -> Path:
        """The file that an interrupted replay leaves."""
        output = self.masks or self.video
        assert output is not None
        return output.with_name(output.name + ".partial")

    def __str__(self) -> str:
        return " and ".join(str(path) for path in (self.masks, self.video) if path is not None)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``activesam replay``."""
    parser.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="INPUT",
        help="a recording (file or folder), a video, or images: files, folders, 'frames/*.png'",
    )
    parser.add_argument(
        "--topic",
        action="append",
        default=[],
        metavar="T",
        help="an image topic; may be given several times (default: every topic of color images)",
    )
    add_range_arguments(parser)
    add_max_message_argument(parser)
    add_network_arguments(parser)
    add_method_argument(parser)
    parser.add_argument("--output", type=Path, metavar="OUT.mcap", help="the recording of masks")
    parser.add_argument(
        "--video",
        type=Path,
        metavar="OUT.mp4",
        help="the overlay with a legend as a video; a name in .webm is slower to write and plays "
        "in browsers too",
    )


def run(args: argparse.Namespace) -> int:
    """Replay, or resume an interrupted replay; raises ActiveSamError on bad input."""
    outputs = _outputs(args)
    method = method_from(args)
    settings = settings_from(args, method)
    frames = _frames(args, settings)
    if outputs.video is not None and len(frames.topics) > 1:
        raise UsageError(
            f"--video shows one camera; choose one of {', '.join(frames.topics)} with --topic."
        )
    vocabulary = vocabulary_from(args)
    background_id = background_label(vocabulary, settings)
    options = network_options(args)
    with working(f"loading {options.weights}"):
        network = load_network(options)
        fingerprint = network.fingerprint
    with working(f"compiling the vocabulary {vocabulary.name}"):
        segmenter = network.streaming_if_enabled(vocabulary, settings, method)
    job = {
        "recording": files_identity(frames.source.files),
        "topics": ", ".join(frames.topics),
        "part of the recording": repr(frames.range),
        "weights": fingerprint,
        "configuration": repr(network.config),
        "vocabulary": vocabulary_identity(vocabulary),
        "settings": repr(settings),
        "method": method.value,
        "dtype": str(network.dtype),
    }
    make_folder(outputs.journal.parent)
    journal = ReplayJournal(outputs.journal, job)
    try:
        _replay(frames, vocabulary, background_id, segmenter, journal, outputs, job)
    except KeyboardInterrupt:
        tell(
            f"{journal.done} frames are kept in {journal.path}; repeat the command to "
            "resume from there.",
        )
        raise
    finally:
        journal.close()
    return 0


def _replay(
    frames: Frames,
    vocabulary: Vocabulary,
    background_id: int,
    segmenter: ImageSegmenter,
    journal: ReplayJournal,
    outputs: Outputs,
    job: dict[str, str],
) -> None:
    """Segment what the journal does not have, write the outputs, and print what was done."""
    kept, started_s = journal.done, time.perf_counter()
    with Progress(frames.expected, "frame", "segmenting", kept) as progress:
        segment_remaining(
            frames.read(),
            vocabulary,
            segmenter,
            journal,
            progress.update,
            frames.settings.bit_depth,
            frames.settings.max_image_pixels,
        )
    elapsed_s = time.perf_counter() - started_s
    count = ReplayCount.of(journal.outcomes())
    _print_problems(frames.source, count)
    if count.segmented:
        _write(frames, vocabulary, background_id, journal, outputs, job)
    done = journal.done
    journal.remove()
    topics = ", ".join(frames.topics)
    if not done and not frames.range.is_whole:
        raise RecordingError(
            f"No frame on {topics} lies in the part that --start and --end choose; {outputs} was "
            "not written."
        )
    if not count.segmented:
        raise RecordingError(
            f"None of the {done} frames on {topics} can be used; {outputs} was not written."
        )
    answer(
        f"{outputs}: {count.segmented} frames of {topics} segmented, "
        f"{sum(count.problems.values())} could not be used; {done - kept} frames in "
        f"{elapsed_s:.1f} s now."
    )


def _write(
    frames: Frames,
    vocabulary: Vocabulary,
    background_id: int,
    journal: ReplayJournal,
    outputs: Outputs,
    job: dict[str, str],
) -> None:
    """Write the outputs; the recording comes last, as it tells a finished replay."""
    if outputs.video is not None:
        with working("choosing the legend"):
            style = video_style(journal.entries(), vocabulary)
        with Progress(journal.done, "frame", "drawing") as progress:
            write_overlay_video(
                outputs.video,
                frames.read(),
                journal.entries(),
                vocabulary,
                style,
                progress.update,
                frames.settings.bit_depth,
                frames.settings.max_image_pixels,
            )
    if outputs.masks is not None:
        with working(f"writing {outputs.masks}"):
            write_mask_bag(
                outputs.masks,
                journal.entries(),
                output_topics(frames.topics),
                vocabulary,
                background_id,
                job,
            )


def _print_problems(source: FrameSource, count: ReplayCount) -> None:
    lines = [f"{note}." for note in source.notes]
    if count.stamps_replaced:
        lines.append(
            f"{count.stamps_replaced} frames have a stamp of zero or out of range; their masks "
            "carry the time of recording."
        )
    lines += [f"{times} x {text}" for text, times in count.problems.most_common(SHOWN_PROBLEMS)]
    hidden = len(count.problems) - SHOWN_PROBLEMS
    if hidden > 0:
        lines.append(f"and {hidden} other problems.")
    for line in lines:
        tell(line)


def _frames(args: argparse.Namespace, settings: Settings) -> Frames:
    source = open_frames(
        args.inputs, settings.bit_depth, settings.max_image_pixels, args.max_message_mib
    )
    if isinstance(source, Recording):
        return Frames(source, chosen_topics(source, args.topic), range_from(args), settings)
    if args.topic:
        raise UsageError(f"--topic {args.topic[0]} is for recordings; files have no topics.")
    return Frames(source, (TOPIC,), range_from(args), settings)


def _outputs(args: argparse.Namespace) -> Outputs:
    """The outputs, checked before any work; raises UsageError and OutputError."""
    if args.output is None and args.video is None:
        raise UsageError(
            "Nothing would be written; give --output OUT.mcap, --video OUT.mp4 or both."
        )
    for option, path, suffixes in (
        ("--output", args.output, (".mcap",)),
        ("--video", args.video, tuple(CODECS)),
    ):
        if path is None:
            continue
        if path.suffix not in suffixes:
            raise UsageError(f"{option} {path} must end in {' or '.join(suffixes)}.")
        check_output_file(path, option, longest_suffix=".partial-journal")
        if path.exists():
            raise UsageError(f"{option} {path} exists already; remove it or give another name.")
    return Outputs(args.output, args.video)
