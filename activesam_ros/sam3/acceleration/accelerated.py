"""The network compiled and, on a GPU, recorded: the same results within rounding, in less time.

The image encoder's blocks, the decoder's layers, the fusion encoder and the pixel decoder are
compiled, each kind once, so that the start stays short. Where compiling or recording fails, the
network runs without, and the log says so.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.fx import GraphModule

from activesam_ros.sam3.acceleration.cuda_graphs import (
    Recorder,
    Recordings,
    cuda_recorder,
    leaves,
    mapped,
)
from activesam_ros.sam3.acceleration.fallback import DisagreementError, Fallback
from activesam_ros.sam3.decoder import DecoderPart
from activesam_ros.sam3.mask_head import Skips
from activesam_ros.sam3.model import (
    DecodedPairs,
    ImageFeatures,
    ImageTokens,
    Prompts,
    Sam3ImageModel,
    ScreenedPairs,
)
from activesam_ros.sam3.plan import ImagePlan

INDUCTOR = "inductor"
# Numbers of prompts that are recorded: powers of two up to this, then its multiples.
PROMPT_STEP = 8
# Largest root mean square of the error, as a share of that of the plain result. In bfloat16 another
# order of rounding moves a trained network's tensors by 0.01 of that, a random one's by up to 0.5.
LARGEST_ERROR = 0.4
# Fewer values are logits, or boxes in 0..1: their error may be larger by this much. A presence
# logit near 0 that is off by as much is off by 0.12 as a probability.
LARGE_TENSOR = 4096
SMALL_TENSOR_ERROR = 0.5
# Values that are compared at once, in float64; bounds the memory of a comparison.
COMPARED_VALUES = 1 << 18

Output = TypeVar("Output")
# The backend of torch.compile: a name, or (graph, example inputs) -> what runs it.
Backend: TypeAlias = str | Callable[[GraphModule, list[Tensor]], Callable[..., Any]]
# (the network that computes the stage, inputs) -> outputs.
Stage: TypeAlias = Callable[[Sam3ImageModel, Any], Output]


def accelerated(model: Sam3ImageModel) -> AcceleratedModel:
    """``model`` compiled, and on a GPU recorded; shares the weights of ``model``."""
    record = cuda_recorder(model.device) if model.device.type == "cuda" else None
    return AcceleratedModel(model, record)


def compiled(model: Sam3ImageModel, backend: Backend = INDUCTOR) -> Sam3ImageModel:
    """A copy on the same weights whose layers are compiled when they first run.

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
    """Numbers of prompts that are recorded, ascending, up to the first one >= ``most``."""
    count = 1
    while True:
        yield count
        if count >= most:
            return
        count = count * 2 if count < PROMPT_STEP else count + PROMPT_STEP


class AcceleratedModel:
    """An ImageNetwork that runs each stage recorded, else compiled, else plain.

    The first result of each compiled stage and of each recording is compared with the plain
    network's. Where one fails or disagrees the next is used from then on, and the log says so. Safe
    to use from several threads: while one of them records, the others run the plain network.
    """

    def __init__(
        self, plain: Sam3ImageModel, record: Recorder | None, backend: Backend = INDUCTOR
    ) -> None:
        """record: None to record nothing; backend: of torch.compile."""
        self.plain = plain
        self.compiled = compiled(plain, backend)
        self.config = plain.config
        self.device = plain.device
        self.dtype = plain.dtype
        self._recordings = None if record is None else Recordings(record)
        self._compiling, self._recording = (
            Fallback(
                f"The network runs {how} from now on, which is slower (%s). With compile=never it "
                "does from the start."
            )
            for how in ("uncompiled", "without CUDA graphs")
        )

    @property
    def recordings(self) -> int:
        """Number of recordings."""
        return 0 if self._recordings is None else len(self._recordings)

    def encode_image(self, pixels: Tensor, plan: ImagePlan | None = None) -> ImageFeatures:
        """See Sam3ImageModel.encode_image."""
        self.plain.check_pixels(pixels)

        def stage(network: Sam3ImageModel, image: Tensor) -> ImageFeatures:
            return network.encode_image(image, plan)

        return self._run("encode_image", stage, pixels, recorded=plan is None)

    def encode_tokens(self, pixels: Tensor, plan: ImagePlan | None = None) -> ImageTokens:
        """See Sam3ImageModel.encode_tokens."""
        self.plain.check_pixels(pixels)

        def stage(network: Sam3ImageModel, image: Tensor) -> ImageTokens:
            return network.encode_tokens(image, plan)

        return self._run("encode_tokens", stage, pixels, recorded=plan is None)

    def presence(
        self, features: ImageTokens, prompts: Prompts, part: DecoderPart | None = None
    ) -> Tensor:
        """See Sam3ImageModel.presence."""

        def stage(network: Sam3ImageModel, inputs: tuple[ImageTokens, Prompts]) -> Tensor:
            return network.presence(*inputs, part).flatten()

        name = "presence" if part is None else f"presence of {part}"
        rows = self._run_prompts(name, stage, features, prompts)  # [B * K]
        logits: Tensor = rows.unflatten(0, (-1, len(prompts)))  # [B, K]
        return logits

    def screen(self, features: ImageTokens, prompts: Prompts) -> ScreenedPairs:
        """See Sam3ImageModel.screen."""

        def stage(network: Sam3ImageModel, inputs: tuple[ImageTokens, Prompts]) -> ScreenedPairs:
            return network.screen(*inputs)

        return self._run_prompts("screen", stage, features, prompts)

    def decode_screened(self, features: ImageTokens, screened: ScreenedPairs) -> DecodedPairs:
        """See Sam3ImageModel.decode_screened."""

        def stage(
            network: Sam3ImageModel, inputs: tuple[ImageTokens, ScreenedPairs]
        ) -> DecodedPairs:
            return network.decode_screened(*inputs)

        pairs = screened.memory.shape[0]
        *_, count = prompt_counts(pairs)  # few numbers of pairs, so that few are recorded
        filled = mapped(screened, lambda part: _padded(part, count))
        inputs = _tokens_only(features), filled
        rows = self._run("decode_screened", stage, inputs, recorded=features.fusion is None)
        return mapped(rows, lambda part: part[:pairs])

    def decode(self, features: ImageTokens, prompts: Prompts) -> DecodedPairs:
        """See Sam3ImageModel.decode."""

        def stage(network: Sam3ImageModel, inputs: tuple[ImageTokens, Prompts]) -> DecodedPairs:
            return network.decode(*inputs)

        return self._run_prompts("decode", stage, features, prompts)

    def pixels(self, decoded: DecodedPairs, skips: Skips) -> Tensor:
        """See Sam3ImageModel.pixels."""

        def stage(network: Sam3ImageModel, inputs: tuple[DecodedPairs, Skips]) -> Tensor:
            return network.pixels(*inputs)

        return self._run("pixels", stage, (decoded, skips), recorded=False)

    def mask_kernels(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """See Sam3ImageModel.mask_kernels."""
        return self.plain.mask_kernels(hidden)

    def _run(self, name: str, stage: Stage[Output], inputs: Any, *, recorded: bool) -> Output:
        """The outputs of a stage; recorded: its inputs and outputs allow a recording."""

        def run_plain() -> Output:
            return stage(self.plain, inputs)

        def run_compiled() -> Output:
            return self._compiling.run(
                lambda: stage(self.compiled, inputs), run_plain, compare, name
            )

        def compare(outputs: Output) -> None:
            compare_outputs(outputs, run_plain())

        recordings = self._recordings
        if not recorded or recordings is None or not self._compiling.works:
            return run_compiled()
        run = functools.partial(stage, self.compiled)
        recording = self._recording.run(
            lambda: recordings.find_or_make(name, run, inputs), lambda: None
        )
        if recording is not None:
            return self._recording.run(
                lambda: recordings.replay(recording, inputs),
                run_compiled,
                compare,
                recording.key,
            )
        if self._recording.works:
            return run_plain()  # Another thread records; to compile would wait for it.
        self._recordings = None  # frees their memory
        return run_compiled()

    def _run_prompts(
        self, name: str, stage: Stage[Output], features: ImageTokens, prompts: Prompts
    ) -> Output:
        """As :meth:`_run` for a stage whose outputs have a row for each prompt.

        A recording has a fixed number of prompts: copies of the first pad them, and their rows are
        cut off. The first call of a shape records the smaller numbers too.
        """
        recordings = self._recordings
        if recordings is None or features.fusion is not None or features.images > 1:
            return self._run(name, stage, (features, prompts), recorded=False)
        *smaller, count = prompt_counts(len(prompts))
        filled = _filled(prompts, count)
        tokens = _tokens_only(features)
        new = not recordings.has(name, (tokens, filled))
        rows = self._run(name, stage, (tokens, filled), recorded=True)
        if new and recordings.has(name, (tokens, filled)):
            for fewer in reversed(smaller):
                self._run(name, stage, (tokens, filled[:fewer]), recorded=True)
        return mapped(rows, lambda part: part[: len(prompts)])


def compare_outputs(outputs: object, expected: object) -> None:
    """Raise DisagreementError where outputs differ by more than rounding explains.

    Tensors with values that are not finite in ``expected`` are not compared.
    """
    for ours, theirs in zip(leaves(outputs), leaves(expected), strict=True):
        if not theirs.is_floating_point() or not theirs.numel():
            continue
        squared_error, squared = _sums(ours, theirs).tolist()
        error, size = (math.sqrt(total / theirs.numel()) for total in (squared_error, squared))
        allowed = LARGEST_ERROR * size
        if theirs.numel() < LARGE_TENSOR:
            allowed += SMALL_TENSOR_ERROR
        if math.isfinite(size) and not error <= allowed:
            raise DisagreementError(
                f"results {tuple(theirs.shape)} are {error:.3g} off the plain network's of size "
                f"{size:.3g}; {allowed:.3g} is allowed"
            )


def _sums(ours: Tensor, theirs: Tensor) -> Tensor:
    """Sums of the squared differences and of the squares of ``theirs``, float64 [2].

    Works in slices, so that it needs no float64 copy of a large tensor.
    """
    if not theirs.ndim:
        ours, theirs = ours[None], theirs[None]
    longest = max(range(theirs.ndim), key=lambda dim: theirs.shape[dim])
    length = theirs.shape[longest]
    step = max(1, COMPARED_VALUES * length // theirs.numel())
    sums = torch.zeros(2, dtype=torch.float64, device=theirs.device)
    for start in range(0, length, step):
        stop = min(start + step, length)
        part = theirs.narrow(longest, start, stop - start).double()
        error = ours.narrow(longest, start, stop - start).double().sub_(part)
        sums += torch.stack((error.square_().sum(), part.square_().sum()))
    return sums


def _tokens_only(features: ImageTokens) -> ImageTokens:
    """The features without the mask head's, so that a recording does not copy those."""
    names = [field.name for field in dataclasses.fields(ImageTokens)]
    return ImageTokens(**{name: getattr(features, name) for name in names})


def _filled(prompts: Prompts, count: int) -> Prompts:
    """``count`` prompts: these, and copies of the first."""
    return Prompts(_padded(prompts.tokens, count), _padded(prompts.padding, count))


def _padded(rows: Tensor, count: int) -> Tensor:
    """[count, ...]: ``rows`` [n, ...] and copies of the first.

    Zeros would not do: a prompt without tokens gives results that are not finite.
    """
    missing = count - rows.shape[0]
    return torch.cat((rows, rows[:1].expand(missing, *rows.shape[1:]))) if missing else rows
