"""The network that is timed, and the engines that segment with it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from activesam_ros.demo.untrained import WEIGHTS_NAME, write_untrained
from activesam_ros.pipeline import Network, NetworkOptions, load_network
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.resources import weights_dir
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.segmentation.methods import Method, default_settings
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.settings import AUTO, Settings
from activesam_ros.streaming.streams import StreamingSegmenter
from benchmarks.options import EARLY_EXIT, OURS, BenchmarkOptions
from benchmarks.oracles.plain_segmenter import PlainSegmenter
from benchmarks.oracles.reference_network import ReferenceNetwork
from benchmarks.streaming.vocabulary import vocabulary_of
from training.measure import wide_vocabulary
from training.options import DEMO_CONFIG


@dataclass(frozen=True)
class TimedFrame:
    """What an engine reports of a frame: numbers of queries, milliseconds per stage.

    admitted: queries that the preview lets through. active: those of them that are decoded.
    """

    admitted: int
    active: int
    timings_ms: Mapping[str, float]


WIDE = "wide"
# Defaults that differ from those of Settings, as they do in the node.
DEFAULTS = {"compile": AUTO}
CAMERA = "front"
# Rate of the frames where a method streams.
STREAM_RATE_HZ = 10.0

Engine = Callable[[NDArray[np.uint8]], TimedFrame]


def weights_path(options: BenchmarkOptions, folder: Path) -> Path:
    """The weights file; random weights are written into ``folder``, equal for equal seeds."""
    if options.weights == "random-demo":
        return write_untrained(folder, options.seed, DEMO_CONFIG)
    if options.weights == "random-full":
        return write_untrained(folder, options.seed, Sam3Config())
    if options.weights != "demo":
        return Path(options.weights)
    return weights_dir() / "demo" / WEIGHTS_NAME


def network(options: BenchmarkOptions, folder: Path) -> Network:
    """The network of the options, with prompts cached in ``folder``."""
    return load_network(
        NetworkOptions(
            weights=weights_path(options, folder),
            device=options.device,
            dtype=options.dtype,
            cache_dir=folder / "prompts",
        )
    )


@dataclass(frozen=True)
class EngineChoice:
    """An engine with a method, a preset and a vocabulary: one row of the results."""

    engine: str
    method: Method
    preset: str
    vocabulary: str


def choices(options: BenchmarkOptions) -> list[EngineChoice]:
    """Every engine with every method and vocabulary, and every preset that the engine has."""
    return [
        EngineChoice(engine, method, preset, vocabulary)
        for vocabulary in options.vocabularies
        for method in options.methods
        for engine in options.engines
        for preset in options.presets
        if preset == "exact" or engine in OURS
    ]


def settings(options: BenchmarkOptions, choice: EngineChoice, vocabulary: Vocabulary) -> Settings:
    """The method's own settings, overridden by the options; ``active`` sets what a preview keeps.

    Raises SettingsError for an assignment that cannot be used.
    """
    values: dict[str, object] = {"bucket_size": options.bucket_size, "preset": choice.preset}
    if options.active is not None:
        values["max_active"] = options.active
        # One more than asked for passes the quantile; max_active cuts to the number.
        share = (options.active + 1) / len(vocabulary.queries)
        values["quantile_alpha"] = min(1.0, share)
    return (
        default_settings(choice.method)
        .replace(DEFAULTS)
        .assign(options.assignments)
        .replace(values)
    )


def streams_with(options: BenchmarkOptions, method: Method) -> bool:
    """Whether the method carries its active set from frame to frame; raises SettingsError."""
    return default_settings(method).assign(options.assignments).streaming


def engine(choice: EngineChoice, options: BenchmarkOptions, loaded: Network) -> tuple[Engine, int]:
    """The engine of a choice, and how many queries its vocabulary has."""
    vocabulary = _vocabulary(choice.vocabulary)
    chosen = settings(options, choice, vocabulary)
    segmenter = loaded.segmenter(vocabulary, chosen.per_image(), choice.method)
    if choice.engine == EARLY_EXIT:
        segmenter = segmenter.early_exit()
    if choice.engine in OURS:
        streams = StreamingSegmenter(segmenter) if chosen.streaming else segmenter
        return _ours(streams), len(vocabulary.queries)
    network = None if choice.engine == "plain" else _reference(segmenter, loaded)
    return _plain(PlainSegmenter(segmenter, network)), len(vocabulary.queries)


def _vocabulary(name: str) -> Vocabulary:
    if name == WIDE:
        return wide_vocabulary()
    return vocabulary_of(int(name)) if name.isdecimal() else load_vocabulary(name)


def _reference(segmenter: Segmenter, loaded: Network) -> ReferenceNetwork:
    resolutions: tuple[int, ...] = (segmenter.resolution,)
    if segmenter.previews and segmenter.preview_resolution != segmenter.resolution:
        resolutions += (segmenter.preview_resolution,)
    return ReferenceNetwork(loaded.weights, loaded.config, resolutions, loaded.device, loaded.dtype)


def _ours(segmenter: Segmenter | StreamingSegmenter) -> Engine:
    stamps_ns = itertools.count(step=round(1e9 / STREAM_RATE_HZ))

    def run(image: NDArray[np.uint8]) -> TimedFrame:
        if isinstance(segmenter, StreamingSegmenter):
            result = segmenter.frame(CAMERA, next(stamps_ns)).segment(image)
        else:
            result = segmenter.segment(image)
        active = len(result.active_queries)
        return TimedFrame(len(result.admitted_queries) or active, active, result.timings_ms)

    return run


def _plain(segmenter: PlainSegmenter) -> Engine:
    def run(image: NDArray[np.uint8]) -> TimedFrame:
        result = segmenter.segment(image)
        active = len(result.active_queries)
        return TimedFrame(active, active, result.timings_ms)

    return run
