"""Play a drive to the node over ROS in real time, record its masks, and measure them.

Renders a short synthetic drive, or plays your recording; starts the node, the playback and the
recorder as separate processes; prints a table, and leaves the recording, pictures, an animation
and summary.json in the output folder.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import time
from pathlib import Path

from activesam_ros.commands.demo_drive import parse_size
from activesam_ros.commands.options.network import (
    add_classes_argument,
    add_method_argument,
    add_set_argument,
    method_from,
    weights_from,
)
from activesam_ros.console import tell
from activesam_ros.demo.drive.options import TEST_SEEDS, DriveOptions
from activesam_ros.demo.live.demo import (
    ANIMATION_NAME,
    LABEL_TOPIC,
    DemoOptions,
    OwnRecording,
    run_demo,
)
from activesam_ros.demo.live.live import LiveResult
from activesam_ros.demo.live.processes import DemoError, termination_as_interrupt
from activesam_ros.demo.live.summary import table
from activesam_ros.errors import MissingDependencyError, UsageError
from activesam_ros.progress import Progress, working
from activesam_ros.settings import assigned_values

EXIT_FAILED = 1
DEFAULT_FRAMES = 150
DEFAULT_VOCABULARY = "cityscapes"
# A sunny drive, good to look at.
DEFAULT_SEED = TEST_SEEDS[7]
# Larger ids can use ports that the system gives to other programs.
_RANDOM_DOMAIN_IDS = range(1, 102)
_LARGEST_DOMAIN_ID = 232
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
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="a new folder, or that of an earlier demo, whose results are replaced",
    )
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
    own.add_argument("--label-topic", metavar="T", help=f"default: {LABEL_TOPIC} if it exists")
    node = parser.add_argument_group("the node")
    weights = node.add_mutually_exclusive_group()
    weights.add_argument(
        "--weights",
        type=Path,
        metavar="PATH",
        help="sam3.pt or a safetensors file with config.json beside it (default: weights/sam3.pt "
        "if it is there, else the demo weights, else random ones)",
    )
    weights.add_argument(
        "--untrained", action="store_true", help="random weights, whatever is in weights/"
    )
    node.add_argument("--vocabulary", metavar="NAME|FILE", help=f"default: {DEFAULT_VOCABULARY}")
    add_classes_argument(node)
    add_method_argument(node)
    add_set_argument(node)
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


def run(args: argparse.Namespace) -> int:
    """Run the demo; returns 0 when masks arrived and everything is written, 1 when it failed.

    Raises an ActiveSamError for arguments that cannot be used.
    """
    started_s = time.monotonic()
    options = options_from(args)
    try:
        with termination_as_interrupt(), _TerminalProgress() as progress:
            summary = run_demo(options, progress)
    except DemoError as error:
        tell(str(error))
        return EXIT_FAILED
    if not summary.trained:
        print(_NOTICE)
    print(f"\n{table(summary)}\n")
    animation = options.output.absolute() / ANIMATION_NAME
    _say(f"done in {time.monotonic() - started_s:.0f} s; look at {animation}")
    return 0


def options_from(args: argparse.Namespace) -> DemoOptions:
    """The options that the arguments name; raises UsageError where they are out of range."""
    if args.vocabulary is not None and args.classes is not None:
        raise UsageError("Give either --vocabulary or --classes, not both.")
    return DemoOptions(
        output=args.output,
        source=_drive(args) if args.bag is None else _own_recording(args),
        weights=None if args.untrained else _trained_weights(args),
        vocabulary=args.vocabulary or DEFAULT_VOCABULARY,
        classes=args.classes or "",
        method=method_from(args),
        settings=assigned_values(args.assignments),
        device=args.device,
        domain_id=_domain_id(args.domain_id),
        localhost_only=not args.subnet,
    )


def _own_recording(args: argparse.Namespace) -> OwnRecording:
    return OwnRecording(args.bag, args.image_topic, args.label_topic, args.frames)


def _drive(args: argparse.Namespace) -> DriveOptions:
    for flag, value in (("--image-topic", args.image_topic), ("--label-topic", args.label_topic)):
        if value is not None:
            raise UsageError(f"{flag} is for a recording of your own; give --bag too, or neither.")
    width, height = parse_size(args.size)
    return DriveOptions(
        seed=args.seed,
        frames=DEFAULT_FRAMES if args.frames is None else args.frames,
        width=width,
        height=height,
        rate_hz=args.rate,
    )


def _trained_weights(args: argparse.Namespace) -> Path | None:
    """The given weights or the default ones; None when there are none."""
    try:
        weights = weights_from(args)
    except MissingDependencyError:
        return None  # the package is installed without weights
    if not weights.is_file():
        raise UsageError(f"There are no weights at {weights}; weights/README.md says more.")
    return weights


def _domain_id(given: int | None) -> int:
    if given is None:
        return random.choice(_RANDOM_DOMAIN_IDS)
    if not 0 <= given <= _LARGEST_DOMAIN_ID:
        raise UsageError(
            f"--domain-id {given} is out of range; ROS knows 0 to {_LARGEST_DOMAIN_ID}."
        )
    return given


def _say(text: str) -> None:
    print(f"activesam demo: {text}", flush=True)


class _TerminalProgress:
    """Prints each step, and on stderr how far it is."""

    def __init__(self) -> None:
        self._step = contextlib.ExitStack()
        self._bar: Progress | None = None
        self._images = 0

    def __enter__(self) -> _TerminalProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._step.close()

    def say(self, text: str) -> None:
        """Print the step that begins."""
        self._step.close()
        _say(text)
        self._step.enter_context(working(text))

    def playing(self) -> None:
        """Begin to count."""
        self._step.close()
        _say("the node is ready; playing")
        self._bar = self._step.enter_context(Progress(None, "image", "playing"))

    def show(self, live: LiveResult) -> None:
        """Update the counts."""
        if self._bar is not None:
            self._bar.update(live.images - self._images, note=f"{len(live.arrived)} masks")
            self._images = live.images
