"""The network compiled and, on a GPU, recorded: the same results within rounding, sooner.

Compiled are the image encoder's blocks and the decoder's layers, each kind once, and the fusion
encoder: start-up stays short, and elementwise steps become one kernel. What cannot be had here is
left out and said in the log.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import logging
from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeAlias, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule

from activesam_ros.errors import ActiveSamError, in_short
from activesam_ros.sam3.acceleration.recorded import (
    Recorder,
    Recordings,
    cuda_recorder,
    leaves,
    mapped,
    signature,
)
from activesam_ros.sam3.mask_head import Skips
from activesam_ros.sam3.model import (
    Answers,
    ImageFeatures,
    ImageTokens,
    Prompts,
    Sam3ImageModel,
)
from activesam_ros.sam3.plan import ImagePlan

_LOG = logging.getLogger(__name__)

INDUCTOR = "inductor"
# Recorded prompts at once: powers of two up to this, then its multiples.
PROMPT_STEP = 8
# Another order of rounding leaves more than this of the direction of every large tensor, also in
# bfloat16; a kernel that computes something else does not.
LEAST_COSINE = 0.9
LARGE_TENSOR = 4096

Output = TypeVar("Output")
# Of torch.compile: a name, or (graph, example inputs) -> what runs it.
Backend: TypeAlias = str | Callable[[GraphModule, list[Tensor]], Callable[..., Any]]
# (the network that computes it, inputs) -> outputs.
Stage: TypeAlias = Callable[[Sam3ImageModel, Any], Output]


def accelerated(model: Sam3ImageModel) -> AcceleratedModel:
    """``model`` compiled, and on a GPU recorded; it stays as it is and shares its weights."""
    record = cuda_recorder(model.device) if model.device.type == "cuda" else None
    return AcceleratedModel(model, record)


def compiled(model: Sam3ImageModel, backend: Backend = INDUCTOR) -> Sam3ImageModel:
    """The same network, on the same weights, whose layers are compiled when first run.

    backend: of torch.compile.
    """
    tensors = (*model.parameters(), *model.buffers())
    other = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    for block in other.vision_encoder.trunk.blocks:
        block.compile(backend=backend, dynamic=False)
    units = (other.fusion_encoder, *other.decoder.layers, other.mask_head.pixel_decoder)
    for unit in units:
        unit.compile(backend=backend, dynamic=True)  # for any number of prompts and tokens
    return other


def prompt_counts(most: int) -> Iterator[int]:
    """Numbers of prompts that are recorded, ascending, up to the first that holds ``most``."""
    count = 1
    while True:
        yield count
        if count >= most:
            return
        count = count * 2 if count < PROMPT_STEP else count + PROMPT_STEP


class AcceleratedModel(Sam3ImageModel):
    """Runs each stage the fastest way that works; safe to use from several threads.

    What a recording of a new shape, and a compiled stage when first run, gives is compared with the
    plain network. A way that fails, or gives something else, is not taken again; the log says so.
    """

    def __init__(
        self, model: Sam3ImageModel, record: Recorder | None, backend: Backend = INDUCTOR
    ) -> None:
        """record: None to record nothing; backend: of torch.compile."""
        nn.Module.__init__(self)  # the parts are those of a network that is there already
        self.config = model.config
        network = compiled(model, backend)
        for name, part in network.named_children():
            self.add_module(name, part)
        self._ways = _Ways(model, network, None if record is None else Recordings(record))
        self.eval().requires_grad_(False)

    @property
    def recordings(self) -> int:
        """How many calls are recorded."""
        return self._ways.recordings

    def encode_image(self, pixels: Tensor, plan: ImagePlan | None = None) -> ImageFeatures:
        """See Sam3ImageModel.encode_image."""
        stage = functools.partial(_encode_image, plan)
        return self._ways.run("encode_image", stage, pixels, recorded=plan is None)

    def encode_tokens(self, pixels: Tensor, plan: ImagePlan | None = None) -> ImageTokens:
        """See Sam3ImageModel.encode_tokens."""
        stage = functools.partial(_encode_tokens, plan)
        return self._ways.run("encode_tokens", stage, pixels, recorded=plan is None)

    def presence(self, features: ImageTokens, prompts: Prompts) -> Tensor:
        """See Sam3ImageModel.presence."""
        rows = self._ways.prompted("presence", _presence, features, prompts)
        logits: Tensor = rows.unflatten(0, (-1, len(prompts)))
        return logits

    def answer(self, features: ImageTokens, prompts: Prompts) -> Answers:
        """See Sam3ImageModel.answer."""
        return self._ways.prompted("answer", _answer, features, prompts)

    def pixels(self, answers: Answers, skips: Skips) -> Tensor:
        """See Sam3ImageModel.pixels."""
        return self._ways.run("pixels", _pixels, (answers, skips), recorded=False)


def _encode_image(plan: ImagePlan | None, model: Sam3ImageModel, pixels: Tensor) -> ImageFeatures:
    return model.encode_image(pixels, plan)


def _encode_tokens(plan: ImagePlan | None, model: Sam3ImageModel, pixels: Tensor) -> ImageTokens:
    return model.encode_tokens(pixels, plan)


def _presence(model: Sam3ImageModel, inputs: tuple[ImageTokens, Prompts]) -> Tensor:
    return model.presence(*inputs).flatten()


def _answer(model: Sam3ImageModel, inputs: tuple[ImageTokens, Prompts]) -> Answers:
    return model.answer(*inputs)


def _pixels(model: Sam3ImageModel, inputs: tuple[Answers, Skips]) -> Tensor:
    return model.pixels(*inputs)


class _Ways:
    """Recorded, compiled, plain: the first that works."""

    def __init__(
        self, plain: Sam3ImageModel, network: Sam3ImageModel, recordings: Recordings | None
    ) -> None:
        self._plain = plain
        self._compiled: Sam3ImageModel | None = network
        self._recordings = recordings
        self._compared: set[Hashable] = set()

    @property
    def recordings(self) -> int:
        return 0 if self._recordings is None else len(self._recordings)

    def run(self, name: str, stage: Stage[Output], inputs: object, *, recorded: bool) -> Output:
        """stage(network, inputs); ``recorded`` where its inputs and outputs allow that."""
        network, recordings = self._compiled, self._recordings
        if recorded and network is not None and recordings is not None:
            once = functools.partial(stage, network)
            try:
                found = recordings.call(name, once, inputs)
                return self._checked((name, "recorded", signature(inputs)), found, stage, inputs)
            except (torch.OutOfMemoryError, ActiveSamError):
                raise
            except Exception as error:  # noqa: BLE001 - drivers and compilers fail in many ways
                self._recordings = None
                _warn("without CUDA graphs", error)
        if network is not None:
            try:
                found = stage(network, inputs)
                return self._checked((name, "compiled"), found, stage, inputs)
            except (torch.OutOfMemoryError, ActiveSamError):
                raise
            except Exception as error:  # noqa: BLE001
                self._compiled = None
                _warn("uncompiled", error)
        return stage(self._plain, inputs)

    def prompted(
        self, name: str, stage: Stage[Output], features: ImageTokens, prompts: Prompts
    ) -> Output:
        """A stage whose outputs have a row for each pair of image and prompt.

        Recordings are of fixed numbers of prompts: the rest of one is filled with zeros and left
        out of the outputs. The first call of a shape records the smaller numbers too.
        """
        recordings = self._recordings
        if recordings is None or features.fusion is not None or features.images > 1:
            return self.run(name, stage, (features, prompts), recorded=False)
        *smaller, count = prompt_counts(len(prompts))
        filled = _filled(prompts, count)
        tokens = _tokens_only(features)
        new = not recordings.has(name, (tokens, filled))
        rows = self.run(name, stage, (tokens, filled), recorded=True)
        if new:
            for fewer in reversed(smaller):
                self.run(name, stage, (tokens, filled[:fewer]), recorded=True)
        return mapped(rows, lambda part: part[: len(prompts)])

    def _checked(
        self, key: Hashable, found: Output, stage: Stage[Output], inputs: object
    ) -> Output:
        if key not in self._compared:
            _compare(found, stage(self._plain, inputs))
            self._compared.add(key)
        return found


class _DisagreementError(Exception):
    """A faster way gives something else than the plain network."""


def _compare(found: object, expected: object) -> None:
    for ours, theirs in zip(leaves(found), leaves(expected), strict=True):
        if not theirs.is_floating_point() or theirs.numel() < LARGE_TENSOR:
            continue
        cosine = float(F.cosine_similarity(ours.flatten().double(), theirs.flatten().double(), 0))
        if not cosine >= LEAST_COSINE and bool(theirs.isfinite().all()):
            raise _DisagreementError(
                f"results point elsewhere than the plain network's, cosine {cosine:.3f}"
            )


def _warn(how: str, error: Exception) -> None:
    _LOG.warning(
        "The network runs %s from here on, which is slower (%s). compile=never does without "
        "from the start.",
        how,
        in_short(error),
    )


def _tokens_only(features: ImageTokens) -> ImageTokens:
    """Without what only the mask head reads, so that it is not copied for a recording."""
    names = [field.name for field in dataclasses.fields(ImageTokens)]
    return ImageTokens(**{name: getattr(features, name) for name in names})


def _filled(prompts: Prompts, count: int) -> Prompts:
    missing = count - len(prompts)
    if not missing:
        return prompts
    return Prompts(
        F.pad(prompts.tokens, (0, 0, 0, 0, 0, missing)), F.pad(prompts.padding, (0, 0, 0, missing))
    )
