"""From files and names to a ready segmenter: the one place where the rooms are put together."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from activesam_ros.errors import MissingDependencyError, UsageError
from activesam_ros.prompts.compile import (
    CompiledPrompts,
    PromptStyle,
    compile_prompts,
    go_on,
)
from activesam_ros.prompts.table import PromptTable
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.resources import default_weights
from activesam_ros.sam3.acceleration.accelerated import AcceleratedModel, accelerated
from activesam_ros.sam3.acceleration.quantized import quantized
from activesam_ros.sam3.checkpoint import load_image_model, weights_fingerprint
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.model import ImageNetwork, Sam3ImageModel
from activesam_ros.segmentation.device.support import DeviceSupport
from activesam_ros.segmentation.methods import METHODS, Method
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.settings import AUTO, NEVER, Settings
from activesam_ros.streaming.streams import StreamingSegmenter

DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class NetworkOptions:
    """The network to load, and its device and precision.

    weights: defaults to :func:`default_weights`. config: defaults to ``config.json`` beside the
    weights, else the full size. device and dtype: one of :data:`DEVICES` and :data:`DTYPES`, or
    ``cuda:N``; "auto" takes a GPU and bfloat16 where there is one, else the CPU and float32.
    cache_dir: where prompt tables are kept, None for the user's cache folder.
    """

    weights: Path = field(default_factory=default_weights)
    config: Path | None = None
    device: str = "auto"
    dtype: str = "auto"
    cache_dir: Path | None = None


@dataclass(frozen=True)
class Network:
    """A loaded image model; it compiles vocabularies and makes segmenters.

    support: the device's transfers and kernels, which outlive changes of settings.
    """

    model: Sam3ImageModel
    config: Sam3Config
    weights: Path
    cache_dir: Path | None
    support: DeviceSupport

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the weights, see weights_fingerprint; reads the whole file once."""
        return weights_fingerprint(self.weights)

    def compile(
        self,
        vocabulary: Vocabulary,
        settings: Settings,
        method: Method = Method.ACTIVESAM2,
        between_steps: Callable[[], None] = go_on,
    ) -> CompiledPrompts:
        """The prompt table that the method needs, on the CPU, from the cache if it is there.

        ``between_steps`` is called between batches of prompts; what it raises ends the compilation.
        """
        return compile_vocabulary(
            vocabulary,
            settings,
            method,
            self.weights,
            self.config,
            self.cache_dir,
            self.device,
            between_steps,
        )

    def segmenter(
        self, vocabulary: Vocabulary, settings: Settings, method: Method = Method.ACTIVESAM2
    ) -> Segmenter:
        """A segmenter for single images of the vocabulary; compiles its prompts.

        Raises SettingsError for streaming=true; see :meth:`streaming_segmenter`.
        """
        return self.segmenter_of(self.compile(vocabulary, settings, method).table, settings, method)

    def streaming_segmenter(
        self, vocabulary: Vocabulary, settings: Settings, method: Method = Method.ACTIVESAM2
    ) -> StreamingSegmenter:
        """A segmenter for videos; compiles the vocabulary's prompts.

        It streams whatever ``settings.streaming`` says.
        """
        return StreamingSegmenter(self.segmenter(vocabulary, settings.per_image(), method))

    def streaming_if_enabled(
        self, vocabulary: Vocabulary, settings: Settings, method: Method = Method.ACTIVESAM2
    ) -> Segmenter | StreamingSegmenter:
        """A segmenter that streams where ``settings.streaming`` says so."""
        make = self.streaming_segmenter if settings.streaming else self.segmenter
        return make(vocabulary, settings, method)

    def segmenter_of(
        self, table: PromptTable, settings: Settings, method: Method = Method.ACTIVESAM2
    ) -> Segmenter:
        """A segmenter for compiled prompts; ``table`` may be on any device."""
        model, table = self.model_for(settings), table.to(self.device, self.dtype)
        return Segmenter(
            model,
            table,
            settings,
            method,
            support=self.support,
            fingerprint=lambda: self.fingerprint,
        )

    def model_for(self, settings: Settings) -> ImageNetwork:
        """The image model that the settings' preset and ``compile`` ask for.

        Raises MissingDependencyError where the device does not support them.
        """
        exact = settings.preset == "exact"
        if not compiles(settings, self.device):
            return self.model if exact else self._quantized
        if not exact and self.device.type == "cpu":
            raise MissingDependencyError(
                "compile=always cannot compile the int8 layers of preset=fast on a CPU. Give "
                "compile=never or preset=exact."
            )
        return self._accelerated if exact else self._accelerated_quantized

    @functools.cached_property
    def _quantized(self) -> Sam3ImageModel:
        return quantized(self.model)

    @functools.cached_property
    def _accelerated(self) -> AcceleratedModel:
        return accelerated(self.model)

    @functools.cached_property
    def _accelerated_quantized(self) -> AcceleratedModel:
        return accelerated(self._quantized)


def compiles(settings: Settings, device: torch.device) -> bool:
    """True where the settings ask for a compiled network on ``device``."""
    return device.type == "cuda" if settings.compile == AUTO else settings.compile != NEVER


def compile_vocabulary(
    vocabulary: Vocabulary,
    settings: Settings,
    method: Method,
    weights: Path,
    config: Sam3Config,
    cache_dir: Path | None,
    device: torch.device,
    between_steps: Callable[[], None] = go_on,
) -> CompiledPrompts:
    """The prompt table that a method needs; does not need the image model."""
    style = PromptStyle.EXPANDED if METHODS[method].expands else PromptStyle.PLAIN
    return compile_prompts(
        vocabulary,
        settings,
        weights,
        config,
        cache_dir,
        style=style,
        device=device,
        between_steps=between_steps,
    )


def load_network(options: NetworkOptions) -> Network:
    """Load the image model with its configuration and weights.

    Raises UsageError for an unknown device or dtype, MissingDependencyError for a device that is
    not there, CheckpointError for files that cannot be used.
    """
    device = resolve_device(options.device)
    dtype = resolve_dtype(options.dtype, device)
    config = read_config(options.weights, options.config)
    model = load_image_model(options.weights, config, device, dtype)
    support = DeviceSupport.of(device)
    return Network(model, config, options.weights, options.cache_dir, support)


def read_config(weights: Path, config: Path | None) -> Sam3Config:
    """Read ``config``, else ``config.json`` beside the weights; without one, the full size."""
    if config is not None:
        return Sam3Config.from_json(config)
    beside = weights.parent / "config.json"
    return Sam3Config.from_json(beside) if beside.exists() else Sam3Config()


def resolve_device(name: str) -> torch.device:
    """The device of that name; "auto" is the first GPU where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, colon, index = name.partition(":")
    if kind not in DEVICES or (colon and (kind != "cuda" or not index.isdecimal())):
        raise UsageError(f"device={name!r} is unknown; give {', '.join(DEVICES)} or cuda:N.")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= count:
            raise MissingDependencyError(
                f"device={name!r} is not there: PyTorch {torch.__version__} sees {count} CUDA "
                "devices; give device=cpu, or install the driver and a CUDA build of PyTorch."
            )
    return torch.device(name)


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype of that name; "auto" is bfloat16 on a GPU and float32 on a CPU."""
    if name == "auto":
        name = "bfloat16" if device.type == "cuda" else "float32"
    if name not in DTYPES:
        raise UsageError(f"dtype={name!r} is unknown; give {', '.join(DTYPES)}.")
    return torch.bfloat16 if name == "bfloat16" else torch.float32
