"""The network as the node sees it: load it, compile a vocabulary for it, change settings."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from activesam_ros.errors import UsageError
from activesam_ros.node.budget.degradation import BudgetLevel, levels
from activesam_ros.node.parameters.options import NodeOptions, NodeParameters
from activesam_ros.pipeline import Network, NetworkOptions, load_network
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.segmentation.active_set import Chooser
from activesam_ros.segmentation.baselines import Method, recipe
from activesam_ros.segmentation.result import Segmentation, Wanted
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.settings import Settings
from activesam_ros.streaming.streams import Streams, rules_of

# Any size will do: the network sees a square of its own resolution.
_WARM_UP_SIZE = (480, 640, 3)


class FrameSegmenter(Protocol):
    """Segments frames with one vocabulary and one set of settings."""

    @property
    def bucket_size(self) -> int:
        """How many queries go through the network at once."""
        ...

    def segment_batch(
        self,
        images: Sequence[NDArray[np.uint8]],
        wanted: Sequence[Wanted],
        choosers: Sequence[Chooser | None],
    ) -> Iterator[Segmentation]:
        """Segment images, uint8 RGB [H, W, 3] each; see Segmenter.segment_batch."""
        ...

    def with_bucket_size(self, bucket_size: int) -> FrameSegmenter:
        """The same with smaller or larger buckets."""
        ...


@dataclass(frozen=True)
class Mode:
    """A segmenter at one level of the latency budget."""

    level: BudgetLevel
    segmenter: FrameSegmenter


@dataclass(frozen=True)
class Prompted:
    """What segments frames with a vocabulary.

    modes: by level of the latency budget, the first with nothing left out. cache_hit: whether the
    prompts came from the disk.
    """

    vocabulary: Vocabulary
    modes: tuple[Mode, ...]
    cache_hit: bool


class Engine(Protocol):
    """A loaded network."""

    @property
    def device(self) -> str:
        """Where it runs, such as "cpu" or "cuda"."""
        ...

    @property
    def dtype(self) -> str:
        """Its precision, such as "float32"."""
        ...

    def prompt(self, vocabulary: Vocabulary, parameters: NodeParameters) -> Prompted:
        """Compile ``vocabulary``; raises an ActiveSamError when it cannot be used."""
        ...

    def with_parameters(self, prompted: Prompted, parameters: NodeParameters) -> Prompted:
        """The same prompts with other live parameters; raises SettingsError."""
        ...


EngineLoader: TypeAlias = Callable[[NodeOptions], Engine]


class NetworkEngine:
    """The real network."""

    def __init__(self, network: Network, method: Method) -> None:
        self._network = network
        self._method = method

    @property
    def device(self) -> str:
        return str(self._network.device)

    @property
    def dtype(self) -> str:
        return str(self._network.dtype).removeprefix("torch.")

    def prompt(self, vocabulary: Vocabulary, parameters: NodeParameters) -> Prompted:
        compiled = self._network.compile(vocabulary, parameters.settings, self._method)
        segmenter = self._network.segmenter_of(compiled.table, parameters.settings, self._method)
        return Prompted(vocabulary, self._modes(segmenter, parameters), compiled.cache_hit)

    def with_parameters(self, prompted: Prompted, parameters: NodeParameters) -> Prompted:
        old = prompted.modes[0].segmenter
        if not isinstance(old, Segmenter):
            raise TypeError(f"{old!r} was not made by this engine")
        segmenter = old.with_settings(parameters.settings)
        return replace(prompted, modes=self._modes(segmenter, parameters))

    def _modes(self, segmenter: Segmenter, parameters: NodeParameters) -> tuple[Mode, ...]:
        first, *others = levels(
            parameters.options,
            parameters.settings,
            prunes=recipe(self._method).previews,
            queries=len(segmenter.prompts.vocabulary.query_class),
            resolution=segmenter.resolution,
            patch_size=segmenter.model.config.patch_size,
        )
        return (
            Mode(first, segmenter),
            *(Mode(level, segmenter.with_settings(level.settings)) for level in others),
        )


def load_engine(options: NodeOptions) -> Engine:
    """Load the network that the node's options name; raises an ActiveSamError with the reason."""
    if not options.weights:
        raise UsageError(
            "The parameter weights is empty; set it to the path of sam3.pt (weights/README.md says "
            "where it comes from)."
        )
    network = load_network(
        NetworkOptions(
            weights=Path(options.weights).expanduser(),
            config=_path(options.config_file),
            device=options.device,
            dtype=options.dtype,
            cache_dir=_path(options.cache_dir),
        )
    )
    return NetworkEngine(network, Method(options.method))


def _path(text: str) -> Path | None:
    return Path(text).expanduser() if text else None


def use_cpu_threads(count: int) -> int:
    """Let the network use ``count`` CPU threads, 0 for all cores but one; returns the number."""
    threads = count or max(1, (os.cpu_count() or 1) - 1)
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    return threads


def warm_up(prompted: Prompted, batch: int) -> None:
    """Segment blank images in every shape there is, so that real ones find everything in place.

    batch: the most images that are encoded at once. Every number up to it is a shape of its own.
    """
    for warm in warm_passes(prompted, batch):
        warm()


def warm_passes(prompted: Prompted, batch: int) -> Iterator[Callable[[], None]]:
    """The passes of :func:`warm_up`: every level with every number of images up to ``batch``."""
    for mode in prompted.modes:
        for count in range(1, batch + 1):
            for choosers in _warm_choosers(prompted.vocabulary, mode.level.settings, count):
                yield functools.partial(_segment_blank, mode.segmenter, choosers)


def _segment_blank(segmenter: FrameSegmenter, choosers: Sequence[Chooser | None]) -> None:
    blank = np.zeros(_WARM_UP_SIZE, np.uint8)
    count = len(choosers)
    for _ in segmenter.segment_batch([blank] * count, [Wanted()] * count, choosers):
        pass


def _warm_choosers(
    vocabulary: Vocabulary, settings: Settings, count: int
) -> Iterator[Sequence[Chooser | None]]:
    """The choosers of each pass: a stream previews everything first, then only a slice."""
    if not settings.streaming or len(vocabulary.query_class) <= settings.max_active:
        yield [None] * count
        return
    streams, rules = Streams(), rules_of(vocabulary, settings)
    for _ in range(2):
        yield [streams.chooser(str(camera), None, rules) for camera in range(count)]


def settle_memory() -> None:
    """Let the garbage collector pass over what is there now and stays: modules, weights, prompts.

    It looks for dead cycles everywhere only when a quarter more objects have come. The libraries
    bring 300,000, so dead cycles would pile up for thousands of frames, until one frame has to wait
    for the search of it all.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def release_memory() -> None:
    """Give back what a dropped network held, also on the GPU."""
    settle_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
