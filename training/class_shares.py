"""Count how often each class occurs in demo drives: ``python -m training.class_shares``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from activesam_ros.demo.drive.options import VALIDATION_SEEDS, DriveOptions
from activesam_ros.demo.drive.sequence import Drive
from activesam_ros.demo.world.classes import CLASS_COUNT, ClassId

OCCURS_FROM = 0.001


@dataclass(frozen=True)
class ClassShares:
    """How often each class occurs.

    pixels: [19], share of all pixels. frames: [19], share of the frames of which a class covers
    more than OCCURS_FROM. changes: mean number of classes that appear or disappear between two
    frames.
    """

    pixels: NDArray[np.float64]
    frames: NDArray[np.float64]
    changes: float


def class_shares(drives: Iterable[Drive], every: int) -> ClassShares:
    """Count the labels of the first camera in every ``every``-th frame, from frame 0."""
    counts = []
    changes = []
    for drive in drives:
        rows = []
        for index in range(0, len(drive), every):
            labels = drive.frame(index).labels[0]
            rows.append(np.bincount(labels.reshape(-1), minlength=256)[:CLASS_COUNT] / labels.size)
        occurs = np.array(rows) > OCCURS_FROM
        changes.append(float((occurs[1:] != occurs[:-1]).sum(axis=1).mean()) if every else 0.0)
        counts.extend(rows)
    shares = np.array(counts)
    return ClassShares(
        shares.mean(axis=0), (shares > OCCURS_FROM).mean(axis=0), float(np.mean(changes))
    )


def main() -> None:
    """Print the table of docs/demo-drive.md."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--drives", type=int, default=20)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--every", type=int, default=10)
    args = parser.parse_args()
    seeds = VALIDATION_SEEDS[: args.drives]
    options = [DriveOptions(seed, frames=args.frames, width=320, height=192) for seed in seeds]
    shares = class_shares((Drive(entry) for entry in options), args.every)
    print("| class | pixels | frames with it |")
    print("| --- | --- | --- |")
    for class_id in range(CLASS_COUNT):
        name = ClassId(class_id).name.lower().replace("_", " ")
        print(f"| {name} | {shares.pixels[class_id]:.2%} | {shares.frames[class_id]:.0%} |")
    print(f"\nClasses that come or go every {args.every} frames: {shares.changes:.1f}")


if __name__ == "__main__":
    main()
