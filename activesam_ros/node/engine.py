"""The network as the node sees it: load it, compile a vocabulary, warm it up, free its memory."""

from __future__ import annotations

import dataclasses
import functools
import gc
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from activesam_ros.errors import SignaturesError
from activesam_ros.node.budget.degradation import BudgetLevel, levels
from activesam_ros.node.parameters.options import NodeOptions, NodeParameters
from activesam_ros.pipeline import Network, NetworkOptions, load_network
from activesam_ros.prompts.compile import CompiledPrompts, go_on
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.resources import default_weights, user_path
from activesam_ros.segmentation.active_set import Chooser
from activesam_ros.segmentation.methods import METHODS, Method
from activesam_ros.segmentation.result import Wanted
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.settings import Settings
from activesam_ros.streaming.streams import Streams, rules_of

# Of any size: images are resized to a square before the network.
_BLANK_SHAPE = (480, 640, 3)


@dataclass(frozen=True)
class DroppedSignatures:
    """The path of a file of signatures that do not fit a vocabulary, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class CompiledVocabulary:
    """What segments frames with a vocabulary: one segmenter for each level of the latency budget.

    levels, segmenters: in the same order, the first with nothing left out. cache_hit: whether the
    prompts were read from the cache. dropped: signatures that the parameters name but that are not
    used, None for none.
    """

    vocabulary: Vocabulary
    levels: tuple[BudgetLevel, ...]
    segmenters: tuple[Segmenter, ...]
    cache_hit: bool
    dropped: DroppedSignatures | None = None

    @property
    def signatures(self) -> str:
        """What became of the signatures, for diagnostics."""
        if self.dropped is not None:
            return f"dropped: {self.dropped.reason}"
        return "none" if self.segmenters[0].signatures is None else "in use"

    @property
    def background_id(self) -> int:
        """The label of background pixels, the same at every level."""
        return self.segmenters[0].background_id


class Engine:
    """A loaded network that compiles vocabularies by one method."""

    def __init__(self, network: Network, method: Method) -> None:
        self._network = network
        self._method = method

    @property
    def weights(self) -> Path:
        """The file that it was loaded from."""
        return self._network.weights

    @property
    def device(self) -> str:
        """Where it runs, such as "cpu" or "cuda:0"."""
        return str(self._network.device)

    @property
    def dtype(self) -> str:
        """Its precision, such as "float32"."""
        return str(self._network.dtype).removeprefix("torch.")

    def compile_for_swap(
        self,
        vocabulary: Vocabulary,
        parameters: NodeParameters,
        between_steps: Callable[[], None] = go_on,
    ) -> CompiledVocabulary:
        """As :meth:`compile`, but drop signatures that do not fit the vocabulary."""
        prompts = self._prompts(vocabulary, parameters, between_steps)
        try:
            return self._of_prompts(prompts, parameters)
        except SignaturesError as error:
            dropped = DroppedSignatures(parameters.settings.signatures, str(error))
        compiled = self._of_prompts(prompts, _without_signatures(parameters))
        return dataclasses.replace(compiled, dropped=dropped)

    def compile(
        self,
        vocabulary: Vocabulary,
        parameters: NodeParameters,
        between_steps: Callable[[], None] = go_on,
    ) -> CompiledVocabulary:
        """Compile ``vocabulary``; raises an ActiveSamError when it cannot be used.

        ``between_steps`` is called between batches of prompts; what it raises ends the compilation.
        """
        return self._of_prompts(self._prompts(vocabulary, parameters, between_steps), parameters)

    def _prompts(
        self,
        vocabulary: Vocabulary,
        parameters: NodeParameters,
        between_steps: Callable[[], None],
    ) -> CompiledPrompts:
        return self._network.compile(vocabulary, parameters.settings, self._method, between_steps)

    def _of_prompts(
        self, prompts: CompiledPrompts, parameters: NodeParameters
    ) -> CompiledVocabulary:
        settings = parameters.settings.per_image()
        segmenter = self._network.segmenter_of(prompts.table, settings, self._method)
        return self._with_levels(prompts.table.vocabulary, segmenter, parameters, prompts.cache_hit)

    def with_parameters(
        self, compiled: CompiledVocabulary, parameters: NodeParameters
    ) -> CompiledVocabulary:
        """The same prompts with other live parameters.

        Signatures that were dropped stay so until another file is named. Raises SettingsError, and
        SignaturesError for a file that cannot be used.
        """
        dropped = compiled.dropped
        if dropped is not None and dropped.path == parameters.settings.signatures:
            parameters = _without_signatures(parameters)
        else:
            dropped = None
        segmenter = compiled.segmenters[0].with_settings(parameters.settings.per_image())
        changed = self._with_levels(compiled.vocabulary, segmenter, parameters, compiled.cache_hit)
        return dataclasses.replace(changed, dropped=dropped)

    def _with_levels(
        self,
        vocabulary: Vocabulary,
        segmenter: Segmenter,
        parameters: NodeParameters,
        cache_hit: bool,
    ) -> CompiledVocabulary:
        """``segmenter`` for the first level, and others that share its prompts for the rest."""
        found = levels(
            parameters.options,
            parameters.settings,
            steps=METHODS[self._method],
            queries=len(vocabulary.query_class),
            resolution=segmenter.resolution,
            preview_resolution=segmenter.preview_resolution,
            patch_size=segmenter.model.config.patch_size,
        )
        further = (segmenter.with_settings(level.settings.per_image()) for level in found[1:])
        return CompiledVocabulary(vocabulary, found, (segmenter, *further), cache_hit)


def _without_signatures(parameters: NodeParameters) -> NodeParameters:
    settings = parameters.settings.replace({"signatures": ""})
    return dataclasses.replace(parameters, settings=settings)


def load_engine(options: NodeOptions) -> Engine:
    """Load the network that the node's options name; raises an ActiveSamError with the reason."""
    network = load_network(
        NetworkOptions(
            weights=_path(options.weights) or default_weights(),
            config=_path(options.config_file),
            device=options.device,
            dtype=options.dtype,
            cache_dir=_path(options.cache_dir),
        )
    )
    return Engine(network, Method(options.method))


def _path(text: str) -> Path | None:
    return user_path(text) if text else None


def use_cpu_threads(count: int) -> None:
    """Let the network use ``count`` CPU threads, 0 for all cores but one.

    Those are the cores that this process may use; taskset and containers allow it fewer.
    """
    threads = count or max(1, len(os.sched_getaffinity(0)) - 1)
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def warm_up(
    compiled: CompiledVocabulary,
    parameters: NodeParameters,
    between_steps: Callable[[], None] = go_on,
) -> None:
    """Segment blank images with every budget level and batch size.

    So later frames need no torch compilation. ``between_steps`` is called before each pass; what it
    raises ends the warm-up.
    """
    for warm_up_pass in _warm_up_passes(compiled, parameters):
        between_steps()
        warm_up_pass()


def _warm_up_passes(
    compiled: CompiledVocabulary, parameters: NodeParameters
) -> Iterator[Callable[[], None]]:
    """The passes of :func:`warm_up`: every level with every number of images in a batch.

    A batch has at most ``camera_batch`` images, of different cameras.
    """
    method = Method(parameters.options.method)
    largest_batch = min(parameters.options.camera_batch, len(parameters.inputs))
    for level, segmenter in zip(compiled.levels, compiled.segmenters, strict=True):
        for images in range(1, largest_batch + 1):
            for choosers in _warm_up_choosers(compiled.vocabulary, level.settings, method, images):
                yield functools.partial(_segment_blank, segmenter, choosers)


def _segment_blank(segmenter: Segmenter, choosers: Sequence[Chooser | None]) -> None:
    blank = np.zeros(_BLANK_SHAPE, np.uint8)  # [H, W, 3]
    images = len(choosers)
    for _ in segmenter.segment_batch([blank] * images, [Wanted()] * images, choosers):
        pass


def _warm_up_choosers(
    vocabulary: Vocabulary, settings: Settings, method: Method, images: int
) -> Iterator[Sequence[Chooser | None]]:
    """The choosers of each pass: with streaming, one with a full preview and one with a slice."""
    if not (settings.streaming and METHODS[method].prunes(settings, len(vocabulary.queries))):
        yield [None] * images
        return
    streams, rules = Streams(), rules_of(vocabulary, settings, method)
    for _ in range(2):
        yield [streams.chooser(str(camera), None, rules) for camera in range(images)]


def settle_memory() -> None:
    """Collect garbage, and exclude the objects that remain from later collections.

    Modules, weights and prompts live long, so later collections skip them. Otherwise unreachable
    cycles pile up until a full collection delays one frame: Python runs one only when the number of
    objects has grown by a quarter, and the libraries have 300,000.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def release_memory() -> None:
    """Free what no object refers to any more, also on the GPU."""
    settle_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
