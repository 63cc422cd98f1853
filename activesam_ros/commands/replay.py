"""Segment every frame of a recording, offline, none dropped, into an MCAP file of masks."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from activesam_ros.commands.options.network import (
    add_method_argument,
    add_network_arguments,
    method_from,
    network_options,
    settings_from,
    vocabulary_from,
)
from activesam_ros.errors import UsageError
from activesam_ros.evaluation.execution.job_identity import files_identity, vocabulary_identity
from activesam_ros.pipeline import load_network
from activesam_ros.recordings.recording import open_recording
from activesam_ros.recordings.topic_choice import chosen_topics
from activesam_ros.replay.journal import Journal
from activesam_ros.replay.replay import replay_recording
from activesam_ros.sam3.checkpoint import weights_fingerprint
from activesam_ros.streaming.streams import in_time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``activesam replay``."""
    parser.add_argument("bag", type=Path, metavar="BAG", help="a recording's file or folder")
    parser.add_argument(
        "--topic",
        action="append",
        default=[],
        metavar="T",
        help="an image topic; may be given several times (default: every topic with colour images)",
    )
    add_network_arguments(parser)
    add_method_argument(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="OUT.mcap")


def run(args: argparse.Namespace) -> int:
    """Replay, going on where an interrupted one stopped; raises ActiveSamError on bad input."""
    _check_output(args.output)
    recording = open_recording(args.bag)
    topics = chosen_topics(recording, args.topic)
    method = method_from(args)
    settings = settings_from(args, method)
    vocabulary = vocabulary_from(args)
    network = load_network(network_options(args))
    segmenter = in_time(network.segmenter(vocabulary, settings, method), settings)
    job = {
        "recording": files_identity(recording.files),
        "topics": ", ".join(topics),
        "weights": weights_fingerprint(args.weights),
        "configuration": repr(network.config),
        "vocabulary": vocabulary_identity(vocabulary),
        "settings": repr(settings),
        "method": method.value,
        "dtype": str(network.dtype),
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    journal = Journal(args.output.with_name(args.output.name + ".partial"), job)
    try:
        replay_recording(recording, topics, vocabulary, segmenter, journal, args.output, job)
    except KeyboardInterrupt:
        print(
            f"activesam: {journal.done} frames are kept in {journal.path}; repeat the command to "
            "go on from there.",
            file=sys.stderr,
        )
        raise
    finally:
        journal.close()
    return 0


def _check_output(output: Path) -> None:
    if output.suffix != ".mcap":
        raise UsageError(f"--output {output} must end in .mcap.")
    if output.exists():
        raise UsageError(f"--output {output} is there already; remove it or give another name.")
