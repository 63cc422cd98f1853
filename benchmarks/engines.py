"""What is timed: a network, and engines that segment with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from activesam_ros.demo.measure import wide_vocabulary
from activesam_ros.demo.training_options import DEMO_CONFIG
from activesam_ros.demo.untrained import WEIGHTS_NAME, write_untrained
from activesam_ros.pipeline import Network, NetworkOptions, load_network
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.resources import weights_dir
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.segmentation.baselines import Method, default_settings
from activesam_ros.segmentation.plain import PlainSegmenter
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.settings import Settings
from benchmarks.options import Options


@dataclass(frozen=True)
class Frame:
    """What an engine tells of a frame: the queries it decoded, and milliseconds per stage."""

    active: int
    timings_ms: Mapping[str, float]


WIDE = "wide"

Engine = Callable[[NDArray[np.uint8]], Frame]


def weights_path(options: Options, folder: Path) -> Path:
    """The weights file; random weights are written into ``folder``, the same for the same seed."""
    if options.weights == "random-demo":
        return write_untrained(folder, options.seed, DEMO_CONFIG)
    if options.weights == "random-full":
        return write_untrained(folder, options.seed, Sam3Config())
    if options.weights != "demo":
        return Path(options.weights)
    return weights_dir() / "demo" / WEIGHTS_NAME


def network(options: Options, folder: Path) -> Network:
    """The network of the options, with prompts cached in ``folder``."""
    return load_network(
        NetworkOptions(
            weights=weights_path(options, folder),
            device=options.device,
            dtype=options.dtype,
            cache_dir=folder / "prompts",
        )
    )


def settings(options: Options, method: Method, vocabulary: Vocabulary) -> Settings:
    """The method's own settings, with the preview told how many queries to keep."""
    values: dict[str, object] = {"bucket_size": options.bucket_size}
    if options.active is not None:
        values["max_active"] = options.active
        # More than asked for pass the quantile; max_active cuts them to the number.
        share = (options.active + 1) / len(vocabulary.queries)
        values["quantile_alpha"] = min(1.0, share)
    return default_settings(method).replace(values)


def engine(name: str, method: Method, options: Options, loaded: Network) -> tuple[Engine, int]:
    """The engine of that name for a method, and how many queries its vocabulary has."""
    vocabulary = (
        wide_vocabulary() if options.vocabulary == WIDE else load_vocabulary(options.vocabulary)
    )
    segmenter = loaded.segmenter(vocabulary, settings(options, method, vocabulary), method)
    run = _plain(segmenter) if name == "plain" else _ours(segmenter)
    return run, len(vocabulary.queries)


def _ours(segmenter: Segmenter) -> Engine:
    def run(image: NDArray[np.uint8]) -> Frame:
        result = segmenter.segment(image)
        return Frame(len(result.active_queries), result.timings_ms)

    return run


def _plain(segmenter: Segmenter) -> Engine:
    plain = PlainSegmenter(segmenter)

    def run(image: NDArray[np.uint8]) -> Frame:
        result = plain.segment(image)
        return Frame(len(result.active_queries), result.timings_ms)

    return run
