"""Play a drive to the node over ROS in real time, record its masks, and show how it did.

Writes a short synthetic drive as a bag, or takes yours; starts the node, a playback and a recorder
as processes of their own; prints a table, and leaves the recording, pictures, an animation and
summary.json in the output folder.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from activesam_ros.commands.demo_drive import parse_size
from activesam_ros.demo.drive.bag_writer import CameraTopics, write_drive
from activesam_ros.demo.drive.options import TEST_SEEDS, DriveOptions
from activesam_ros.demo.live.animation import Style, write_pictures
from activesam_ros.demo.live.live import LiveOptions, LiveResult, run_live
from activesam_ros.demo.live.processes import DemoError, termination_as_interrupt
from activesam_ros.demo.live.summary import (
    ActiveSummary,
    Summary,
    measure_accuracy,
    read_active_classes,
    read_drops,
    table,
)
from activesam_ros.demo.untrained import WEIGHTS_NAME, write_untrained
from activesam_ros.errors import MissingDependencyError, UsageError
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.recordings.recorded_frames import Recording, open_recording
from activesam_ros.recordings.serialization import COMPRESSED_IMAGE
from activesam_ros.recordings.topic_choice import chosen_topics
from activesam_ros.resources import weights_dir

EXIT_FAILED = 1
DEFAULT_FRAMES = 150
# A sunny one, good to look at.
DEFAULT_SEED = TEST_SEEDS[7]
GROUND_TRUTH_LABELS = "/ground_truth/labels"
# Ids above these can take ports that the system gives to others.
_DOMAIN_IDS = range(1, 102)
_LEGEND_ENTRIES = 24
_LEGEND_MIN_SHARE = 0.0005
_PICTURE_BANNER = "UNTRAINED NETWORK: THE COLOURS MEAN NOTHING"
_NOTICE = """
##############################################################################
#                                                                            #
#    #   # #   # ##### ####    #   ##### #   # ##### ####                    #
#    #   # ##  #   #   #   #  # #    #   ##  # #     #   #                   #
#    #   # # # #   #   ####  #####   #   # # # ###   #   #                   #
#    #   # #  ##   #   #  #  #   #   #   #  ## #     #   #                   #
#     ###  #   #   #   #   # #   # ##### #   # ##### ####                    #
#                                                                            #
#    THE WEIGHTS ARE RANDOM NUMBERS. THIS RUN SHOWS THAT EVERYTHING WORKS    #
#    TOGETHER, AND HOW FAST; WHAT THE MASKS SAY MEANS NOTHING.               #
#    WITH WEIGHTS OF YOUR OWN: activesam demo run --weights sam3.pt ...      #
#                                                                            #
##############################################################################
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``activesam demo run``."""
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--frames",
        type=int,
        metavar="N",
        help=f"length of the drive (default: {DEFAULT_FRAMES}, or all of --bag)",
    )
    drive = parser.add_argument_group("the synthetic drive")
    drive.add_argument("--seed", type=int, default=DEFAULT_SEED, help="default: %(default)s")
    drive.add_argument("--size", default="640x384", metavar="WxH", help="default: %(default)s")
    drive.add_argument(
        "--rate", type=float, default=10.0, metavar="HZ", help="frames a second (default: 10)"
    )
    own = parser.add_argument_group("a recording of your own instead")
    own.add_argument("--bag", type=Path, help=".mcap, .db3, or a rosbag2 folder")
    own.add_argument(
        "--image-topic", metavar="T", help="default: the only topic with coloured images"
    )
    own.add_argument(
        "--label-topic", metavar="T", help=f"default: {GROUND_TRUTH_LABELS} where it is there"
    )
    node = parser.add_argument_group("the node")
    weights = node.add_mutually_exclusive_group()
    weights.add_argument(
        "--weights",
        type=Path,
        metavar="PATH",
        help="sam3.pt or a safetensors file with config.json beside it (default: weights/demo, or "
        "random weights where there are none)",
    )
    weights.add_argument(
        "--untrained", action="store_true", help="random weights, whatever is in weights/demo"
    )
    node.add_argument(
        "--vocabulary", default="cityscapes", metavar="NAME|FILE", help="default: %(default)s"
    )
    node.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu or cuda")
    network = parser.add_argument_group("the ROS network")
    network.add_argument(
        "--domain-id",
        type=int,
        metavar="N",
        help="default: one at random, so that no robot listens",
    )
    network.add_argument(
        "--subnet",
        action="store_true",
        help="let other computers see the demo; by default it stays on this one",
    )


@dataclass(frozen=True)
class Played:
    """The recording that is played.

    topics: those that are played, all where empty. label_topic: the ground truth, None for none.
    """

    path: Path
    image_topic: str
    compressed: bool
    topics: tuple[str, ...]
    label_topic: str | None
    max_frames: int


def run(args: argparse.Namespace) -> int:
    """Run the demo; returns 0 when masks came and everything is written, 1 when it failed.

    Raises an ActiveSamError for arguments that cannot be used.
    """
    try:
        with termination_as_interrupt():
            _run(args)
    except DemoError as error:
        print(f"activesam: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def _run(args: argparse.Namespace) -> None:
    started_s = time.monotonic()
    vocabulary = load_vocabulary(args.vocabulary)
    domain_id = _domain_id(args.domain_id)
    output = _output_folder(args.output)
    trained_weights = None if args.untrained else _trained_weights(args.weights)
    if trained_weights is None:
        _say("THERE ARE NO TRAINED WEIGHTS YET: an untrained network with random ones runs")
    weights = trained_weights or write_untrained(output / "untrained", 0)
    played = (
        own_recording(args.bag, args.image_topic, args.label_topic, args.frames)
        if args.bag
        else _write_drive(args, output)
    )
    options = LiveOptions(
        bag=played.path,
        image_topic=played.image_topic,
        compressed=played.compressed,
        topics=played.topics,
        weights=weights.absolute(),
        vocabulary=args.vocabulary,
        device=args.device,
        output=output,
        recording=output / "recorded.mcap",
        domain_id=domain_id,
        localhost_only=not args.subnet,
        max_frames=played.max_frames,
    )
    _say(f"starting node, playback and recorder (ROS_DOMAIN_ID={domain_id})")
    with _Progress() as progress:
        live = run_live(options, progress)
    summary = _summarise(options, played, live, vocabulary, trained=trained_weights is not None)
    _draw(options, summary, vocabulary)
    summary.write(output / "summary.json")
    if trained_weights is None:
        print(_NOTICE)
    print(f"\n{table(summary)}\n")
    _say(f"done in {time.monotonic() - started_s:.0f} s; look at {output / 'demo.gif'}")


def _summarise(
    options: LiveOptions,
    played: Played,
    live: LiveResult,
    vocabulary: Vocabulary,
    trained: bool,
) -> Summary:
    recording, source = open_recording(options.recording), open_recording(played.path)
    drops = read_drops(recording, live)
    if not live.arrived:
        raise DemoError(
            f"None of {live.images} images came back as a mask: "
            f"{drops.problem or 'the node gives no reason'} (see {options.output / 'node.log'})"
        )
    accuracy = None
    if played.label_topic is not None:
        accuracy = measure_accuracy(recording, source, played.label_topic, vocabulary)
    return Summary(
        trained=trained,
        weights=options.weights,
        bag=played.path,
        image_topic=played.image_topic,
        vocabulary=vocabulary.name,
        vocabulary_size=len(vocabulary.classes),
        live=live,
        drops=drops,
        active=read_active_classes(recording),
        accuracy=accuracy,
    )


def _draw(options: LiveOptions, summary: Summary, vocabulary: Vocabulary) -> None:
    _say("drawing")
    live = summary.live
    first_ns = next(iter(live.played))
    captions = {
        stamp: f"{(stamp - first_ns) / 1e9:.1f} s; mask after {latency_ms:.0f} ms"
        for stamp, latency_ms in live.latencies_ms().items()
    }
    write_pictures(
        open_recording(options.recording),
        open_recording(summary.bag),
        summary.image_topic,
        len(live.arrived),
        Style(
            palette=vocabulary.palette,
            legend=_legend(summary.active, vocabulary),
            captions=captions,
            banner=None if summary.trained else _PICTURE_BANNER,
        ),
        options.output / "overlays",
        options.output / "demo.gif",
    )


def _legend(
    active: ActiveSummary, vocabulary: Vocabulary
) -> tuple[tuple[str, tuple[int, int, int]], ...]:
    """The classes that can be seen, those that cover most first."""
    seen = [name for name, share in active.pixel_fraction.items() if share >= _LEGEND_MIN_SHARE]
    return tuple((name, vocabulary.class_named(name).color) for name in seen[:_LEGEND_ENTRIES])


def _write_drive(args: argparse.Namespace, output: Path) -> Played:
    for name in ("image_topic", "label_topic"):
        if getattr(args, name) is not None:
            flag = name.replace("_", "-")
            raise UsageError(
                f"--{flag} is for a recording of your own; give --bag too, or neither."
            )
    width, height = parse_size(args.size)
    options = DriveOptions(
        seed=args.seed,
        frames=DEFAULT_FRAMES if args.frames is None else args.frames,
        width=width,
        height=height,
        rate_hz=args.rate,
    )
    path = output / "drive.mcap"
    _say(f"writing a drive of {options.frames} frames, {args.size} at {args.rate:g} Hz: {path}")
    write_drive(options, path, overwrite=True)
    return Played(
        path=path,
        image_topic=CameraTopics.of_camera(0).image,
        compressed=False,
        topics=(),
        label_topic=GROUND_TRUTH_LABELS,
        max_frames=sys.maxsize,
    )


def own_recording(
    path: Path, image_topic: str | None, label_topic: str | None, frames: int | None
) -> Played:
    """What to play of the user's recording; None stands for the choice that suggests itself.

    Raises RecordingError for a topic that is not there, UsageError where no choice can be made.
    """
    if frames is not None and frames < 1:
        raise UsageError(f"--frames {frames} must be at least 1.")
    recording = open_recording(path)
    cameras = chosen_topics(recording, () if image_topic is None else (image_topic,))
    if len(cameras) > 1:
        raise UsageError(
            f"{path} has several cameras; say which with --image-topic: {', '.join(cameras)}."
        )
    topic = recording.image_topic(cameras[0])
    return Played(
        path=path,
        image_topic=topic.name,
        compressed=topic.message_type == COMPRESSED_IMAGE,
        topics=_played_topics(recording, topic.name),
        label_topic=_label_topic(recording, label_topic),
        max_frames=sys.maxsize if frames is None else frames,
    )


def _played_topics(recording: Recording, image_topic: str) -> tuple[str, ...]:
    """The image, the camera_info beside it, and where the camera is."""
    beside = image_topic.removesuffix("/compressed").rpartition("/")[0] + "/camera_info"
    there = {topic.name for topic in recording.topics}
    return (image_topic, *(name for name in (beside, "/tf_static") if name in there))


def _label_topic(recording: Recording, name: str | None) -> str | None:
    if name is not None:
        return recording.image_topic(name).name
    there = {topic.name for topic in recording.image_topics}
    return GROUND_TRUTH_LABELS if GROUND_TRUTH_LABELS in there else None


def _trained_weights(given: Path | None) -> Path | None:
    """The weights to use, None where there are no trained ones."""
    if given is not None:
        if not given.is_file():
            raise UsageError(f"There are no weights at {given}; weights/README.md says more.")
        return given
    try:
        shipped = weights_dir() / "demo" / WEIGHTS_NAME
    except MissingDependencyError:
        return None  # a package without any
    return shipped if shipped.is_file() else None


def _domain_id(given: int | None) -> int:
    if given is None:
        return random.choice(_DOMAIN_IDS)
    if not 0 <= given <= 232:
        raise UsageError(f"--domain-id {given} is out of range; ROS knows 0 to 232.")
    return given


def _output_folder(path: Path) -> Path:
    """The folder, without what an earlier run would be mistaken by."""
    path = path.absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {path} cannot be made: {error.strerror}.") from None
    for name in ("recorded.mcap", "summary.json", "demo.gif"):
        (path / name).unlink(missing_ok=True)
    return path


def _say(text: str) -> None:
    print(f"activesam demo: {text}", flush=True)


class _Progress:
    """A line on a terminal: images played, and masks that came back."""

    def __enter__(self) -> _Progress:
        self._bar = tqdm(disable=None, unit=" images", leave=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def playing(self) -> None:
        """Say so."""
        _say("the node is ready; playing")

    def show(self, live: LiveResult) -> None:
        """Update the line."""
        self._bar.set_postfix(masks=len(live.arrived), refresh=False)
        self._bar.update(live.images - self._bar.n)
