"""Write the synthetic driving log: images, ground truth and vocabulary in one recording."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from activesam_ros.console import answer
from activesam_ros.demo.drive.bag_writer import write_drive
from activesam_ros.demo.drive.options import DEFAULT_START_NS, TEST_SEEDS, DriveOptions
from activesam_ros.errors import UsageError
from activesam_ros.progress import Progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``activesam demo drive``."""
    parser.add_argument(
        "--seed",
        type=int,
        default=TEST_SEEDS[0],
        help="what the world is made from; the default is the first seed kept for tests "
        "(default: %(default)s)",
    )
    parser.add_argument("--frames", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--size", default="640x384", metavar="WxH", help="default: %(default)s")
    parser.add_argument(
        "--rate", type=float, default=10.0, metavar="HZ", help="frames a second (default: 10)"
    )
    parser.add_argument(
        "--cameras", type=int, default=1, help="the second looks to the left (default: %(default)s)"
    )
    parser.add_argument(
        "--start-ns",
        type=int,
        default=DEFAULT_START_NS,
        help="stamp of the first frame, nanoseconds since 1970 (default: %(default)s)",
    )
    parser.add_argument("--compressed", action="store_true", help="JPEG images instead of raw ones")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier recording")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="PATH",
        help="NAME.mcap for one file, NAME for a rosbag2 folder",
    )


def run(args: argparse.Namespace) -> int:
    """Write the recording; raises UsageError for an option that cannot be used."""
    width, height = parse_size(args.size)
    options = DriveOptions(
        seed=args.seed,
        frames=args.frames,
        width=width,
        height=height,
        rate_hz=args.rate,
        cameras=args.cameras,
        start_ns=args.start_ns,
    )
    with Progress(options.frames, "frame", "rendering") as progress:
        write_drive(
            options,
            args.output,
            compressed=args.compressed,
            overwrite=args.overwrite,
            advance=progress.update,
        )
    answer(f"{args.output}: {options.frames} frames of {options.cameras} camera(s), {args.size}")
    return 0


def parse_size(text: str) -> tuple[int, int]:
    """``640x384`` as (width, height); raises UsageError for anything else."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None:
        raise UsageError(f"The size {text!r} is not WIDTHxHEIGHT; give one such as 640x384.")
    return int(match[1]), int(match[2])
