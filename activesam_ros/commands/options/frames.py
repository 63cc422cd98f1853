"""The options that choose a part of a recording."""

from __future__ import annotations

import argparse

from activesam_ros.recordings.frame_range import FrameRange


def add_range_arguments(parser: argparse.ArgumentParser) -> None:
    """--start, --end and --limit."""
    parser.add_argument(
        "--start",
        type=float,
        default=0.0,
        metavar="S",
        help="leave out the frames before S seconds after the first (default: 0)",
    )
    parser.add_argument(
        "--end",
        type=float,
        metavar="S",
        help="leave out the frames after S seconds after the first (default: none)",
    )
    parser.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help="at most N frames of each topic or video, or N images (default: all)",
    )


def range_from(args: argparse.Namespace) -> FrameRange:
    """The frames that --start, --end and --limit choose; raises UsageError."""
    return FrameRange(args.start, args.end, args.limit)
