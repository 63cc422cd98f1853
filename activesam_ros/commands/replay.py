"""Segment every frame of a recording, offline, none dropped, into an MCAP file of masks."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tqdm import tqdm

from activesam_ros.commands.options.network import (
    add_method_argument,
    add_network_arguments,
    method_from,
    network_options,
    settings_from,
    vocabulary_from,
)
from activesam_ros.errors import RecordingError, UsageError
from activesam_ros.evaluation.scoring.measurement import ImageSegmenter
from activesam_ros.output_files import check_output_file, make_folder
from activesam_ros.pipeline import load_network
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.recordings.recorded_frames import Recording, open_recording
from activesam_ros.recordings.topic_choice import chosen_topics
from activesam_ros.replay.journal import ReplayJournal
from activesam_ros.replay.mask_recording import output_topics, write_mask_bag
from activesam_ros.replay.segment_frames import ReplayCount, segment_remaining
from activesam_ros.resumable_work import files_identity, vocabulary_identity
from activesam_ros.sam3.checkpoint import weights_fingerprint

SHOWN_PROBLEMS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``activesam replay``."""
    parser.add_argument("bag", type=Path, metavar="BAG", help="file or folder of a recording")
    parser.add_argument(
        "--topic",
        action="append",
        default=[],
        metavar="T",
        help="an image topic; may be given several times (default: every topic of color images)",
    )
    add_network_arguments(parser)
    add_method_argument(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="OUT.mcap")


def run(args: argparse.Namespace) -> int:
    """Replay, or resume an interrupted replay; raises ActiveSamError on bad input."""
    _check_output(args.output)
    recording = open_recording(args.bag)
    topics = chosen_topics(recording, args.topic)
    method = method_from(args)
    settings = settings_from(args, method)
    vocabulary = vocabulary_from(args)
    options = network_options(args)
    network = load_network(options)
    segmenter = network.streaming_if_enabled(vocabulary, settings, method)
    job = {
        "recording": files_identity(recording.files),
        "topics": ", ".join(topics),
        "weights": weights_fingerprint(options.weights),
        "configuration": repr(network.config),
        "vocabulary": vocabulary_identity(vocabulary),
        "settings": repr(settings),
        "method": method.value,
        "dtype": str(network.dtype),
    }
    make_folder(args.output.parent)
    journal = ReplayJournal(args.output.with_name(args.output.name + ".partial"), job)
    try:
        _replay(
            recording,
            topics,
            vocabulary,
            segmenter,
            journal,
            args.output,
            job,
            settings.bit_depth,
        )
    except KeyboardInterrupt:
        print(
            f"activesam: {journal.done} frames are kept in {journal.path}; repeat the command to "
            "resume from there.",
            file=sys.stderr,
        )
        raise
    finally:
        journal.close()
    return 0


def _replay(
    recording: Recording,
    topics: tuple[str, ...],
    vocabulary: Vocabulary,
    segmenter: ImageSegmenter,
    journal: ReplayJournal,
    output: Path,
    job: dict[str, str],
    bit_depth: int,
) -> None:
    """Segment what the journal does not have, write the output, and print what was done."""
    kept, started_s = journal.done, time.perf_counter()
    total = recording.message_count(topics)
    with tqdm(total=total, initial=kept, unit="frame", file=sys.stderr, disable=None) as progress:
        segment_remaining(
            recording, topics, vocabulary, segmenter, journal, progress.update, bit_depth
        )
    elapsed_s = time.perf_counter() - started_s
    count = ReplayCount.of(journal.outcomes())
    _print_problems(recording, count)
    if count.segmented:
        write_mask_bag(output, journal.entries(), output_topics(topics), vocabulary, job)
    done = journal.done
    journal.remove()
    if not count.segmented:
        raise RecordingError(
            f"None of the {done} frames on {', '.join(topics)} can be used; {output} was not "
            "written."
        )
    print(
        f"{output}: {count.segmented} frames of {', '.join(topics)} segmented, "
        f"{sum(count.problems.values())} could not be used; {done - kept} frames in "
        f"{elapsed_s:.1f} s now."
    )


def _print_problems(recording: Recording, count: ReplayCount) -> None:
    lines = [f"{note}." for note in recording.notes]
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
        print(f"activesam: {line}", file=sys.stderr)


def _check_output(output: Path) -> None:
    if output.suffix != ".mcap":
        raise UsageError(f"--output {output} must end in .mcap.")
    check_output_file(output, longest_suffix=".partial-journal")
    if output.exists():
        raise UsageError(f"--output {output} exists already; remove it or give another name.")
