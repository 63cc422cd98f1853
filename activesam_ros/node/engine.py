"""The network as the node sees it: load it, compile a vocabulary for it, change settings."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from activesam_ros.errors import UsageError
from activesam_ros.node.options import NodeOptions
from activesam_ros.pipeline import Network, NetworkOptions, load_network
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.segmentation.baselines import Method
from activesam_ros.segmentation.result import Segmentation, Wanted
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.settings import Settings

# Any size will do: the network sees a square of its own resolution.
_WARM_UP_SIZE = (480, 640, 3)


class FrameSegmenter(Protocol):
    """Segments frames with one vocabulary and one set of settings."""

    def segment(self, image: NDArray[np.uint8], wanted: Wanted = ...) -> Segmentation:
        """Segment uint8 RGB [H, W, 3]."""
        ...


@dataclass(frozen=True)
class Prompted:
    """A segmenter for a vocabulary; cache_hit: whether its prompts came from the disk."""

    vocabulary: Vocabulary
    segmenter: FrameSegmenter
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

    def prompt(self, vocabulary: Vocabulary, settings: Settings) -> Prompted:
        """Compile ``vocabulary``; raises an ActiveSamError when it cannot be used."""
        ...

    def with_settings(self, prompted: Prompted, settings: Settings) -> Prompted:
        """The same prompts with other live settings; raises SettingsError."""
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

    def prompt(self, vocabulary: Vocabulary, settings: Settings) -> Prompted:
        compiled = self._network.compile(vocabulary, settings, self._method)
        table = compiled.table.to(self._network.device, self._network.dtype)
        segmenter = Segmenter(self._network.model, table, settings, self._method)
        return Prompted(vocabulary, segmenter, compiled.cache_hit)

    def with_settings(self, prompted: Prompted, settings: Settings) -> Prompted:
        old = prompted.segmenter
        if not isinstance(old, Segmenter):
            raise TypeError(f"{old!r} was not made by this engine")
        segmenter = Segmenter(old.model, old.prompts, settings, self._method)
        return Prompted(prompted.vocabulary, segmenter, prompted.cache_hit)


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


def warm_up(segmenter: FrameSegmenter) -> None:
    """Segment a blank image, so that the first real one finds everything in place."""
    segmenter.segment(np.zeros(_WARM_UP_SIZE, np.uint8))


def free_memory() -> None:
    """Give back what a dropped network held on the GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
