"""The options of a benchmark, and how they are read from a command line."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from activesam_ros.commands.options.network import add_set_argument
from activesam_ros.errors import UsageError
from activesam_ros.reference import require_packages
from activesam_ros.segmentation.methods import Method

_LOG = logging.getLogger(__name__)

# Stops decoding once no remaining query can win a pixel, even if the host must wait for a GPU.
EARLY_EXIT = "early_exit"
# The package as it is, and with early exit.
OURS = ("ours", EARLY_EXIT)
ENGINES = (*OURS, "plain", "reference")
_OLD_ENGINES = {"asking": EARLY_EXIT}
PRESETS = ("exact", "fast")
SETTINGS_WITH_FLAGS = {
    "preset": "--preset",
    "bucket_size": "--bucket-size",
    "max_active": "--active",
    "quantile_alpha": "--active",
}

Name = TypeVar("Name")


@dataclass(frozen=True)
class BenchmarkOptions:
    """One run: every engine with every method and vocabulary, frame by frame in turn.

    presets: of the engines ours and early_exit; the others have no presets and count as exact.
    assignments: KEY=VALUE of settings; densities and streaming affect only those two engines.
    weights: "demo", "random-demo", "random-full" or a path. active: how many queries the preview
    keeps, None for the method's own rule. warm_up: frames before the timed ones. only_time: measure
    neither operations nor memory, which take frames of their own. vocabularies: shipped names,
    files, "wide", the 150 classes of `python -m training.measure --question wide`, or numbers of
    names (benchmarks/streaming/vocabulary.py). width, height: of the images [px]. seed: of random
    weights.
    """

    engines: tuple[str, ...] = ("ours", "plain")
    methods: tuple[Method, ...] = (Method.ACTIVESAM, Method.FULL)
    presets: tuple[str, ...] = ("exact",)
    device: str = "auto"
    dtype: str = "auto"
    weights: str = "demo"
    vocabularies: tuple[str, ...] = ("cityscapes",)
    active: int | None = None
    bucket_size: int = 32
    frames: int = 10
    warm_up: int = 1
    only_time: bool = False
    width: int = 640
    height: int = 384
    seed: int = 0
    assignments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("frames", "width", "height", "bucket_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name}={getattr(self, name)} must be at least 1.")
        if self.warm_up < 0:
            raise UsageError(f"--warm-up={self.warm_up} must not be negative.")
        if self.active is not None and self.active < 1:
            raise UsageError(f"--active={self.active} must be at least 1.")
        for assignment in self.assignments:
            flag = SETTINGS_WITH_FLAGS.get(assignment.partition("=")[0].strip())
            if flag is not None:
                raise UsageError(f"--set {assignment} has a flag of its own here; give {flag}.")


def parse(argv: Sequence[str] | None) -> tuple[BenchmarkOptions, Path | None]:
    """The options, and the JSON file to write.

    Raises UsageError for a value that cannot be used, MissingDependencyError where an engine needs
    a package that is not installed.
    """
    defaults = BenchmarkOptions()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--engine", default=",".join(defaults.engines), help=f"of {', '.join(ENGINES)}"
    )
    parser.add_argument(
        "--method",
        default=",".join(method.value for method in defaults.methods),
        help=f"of {', '.join(method.value for method in Method)}",
    )
    parser.add_argument("--device", default=defaults.device)
    parser.add_argument("--dtype", default=defaults.dtype)
    parser.add_argument(
        "--weights", default=defaults.weights, help="demo, random-demo, random-full or a path"
    )
    parser.add_argument(
        "--vocabulary",
        default=",".join(defaults.vocabularies),
        metavar="NAME|FILE|wide|N[,...]",
        help="N is a number of names (default: %(default)s)",
    )
    parser.add_argument("--active", type=int, help="queries that the preview keeps")
    parser.add_argument("--bucket-size", type=int, default=defaults.bucket_size)
    parser.add_argument("--preset", default="exact", help=f"of {', '.join(PRESETS)}")
    add_set_argument(parser)
    parser.add_argument("--frames", type=int, default=defaults.frames)
    parser.add_argument(
        "--warm-up", type=int, default=defaults.warm_up, help="frames before the timed ones"
    )
    parser.add_argument("--only-time", action="store_true", help="measure no operations, no memory")
    parser.add_argument("--size", default=f"{defaults.width}x{defaults.height}", metavar="WxH")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    engines = _chosen("--engine", _current_engines(args.engine), {name: name for name in ENGINES})
    methods = _chosen("--method", args.method, {method.value: method for method in Method})
    presets = _chosen("--preset", args.preset, {name: name for name in PRESETS})
    if "reference" in engines:
        require_packages()
    if "exact" not in presets and not set(engines) & set(OURS):
        raise UsageError(f"--preset fast needs one of the engines {' and '.join(OURS)}.")
    width, height = _size(args.size)
    options = BenchmarkOptions(
        engines=engines,
        methods=methods,
        presets=presets,
        device=args.device,
        dtype=args.dtype,
        weights=args.weights,
        vocabularies=tuple(filter(None, map(str.strip, args.vocabulary.split(",")))),
        active=args.active,
        bucket_size=args.bucket_size,
        frames=args.frames,
        warm_up=args.warm_up,
        only_time=args.only_time,
        width=width,
        height=height,
        assignments=tuple(args.assignments),
    )
    return options, args.json


def _current_engines(text: str) -> str:
    """``text`` with the current names of engines; an old name logs that it is deprecated."""
    names = [name.strip() for name in text.split(",")]
    for old in set(names) & _OLD_ENGINES.keys():
        _LOG.warning("--engine %s is deprecated; give %s.", old, _OLD_ENGINES[old])
    return ",".join(_OLD_ENGINES.get(name, name) for name in names)


def _chosen(flag: str, text: str, known: dict[str, Name]) -> tuple[Name, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise UsageError(f"{flag} {text!r} must name some of {', '.join(known)}.")
    return tuple(dict.fromkeys(known[name] for name in names))


def _size(text: str) -> tuple[int, int]:
    width, cross, height = text.partition("x")
    if not cross or not width.isdecimal() or not height.isdecimal():
        raise UsageError(f"--size {text!r} must be WIDTHxHEIGHT in pixels, such as 640x384.")
    return int(width), int(height)
