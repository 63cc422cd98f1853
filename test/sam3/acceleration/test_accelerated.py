"""The compiled and recorded network against the plain one, and what happens where it cannot be."""

from __future__ import annotations

import copy
import functools
import logging
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.overrides import TorchFunctionMode

from activesam_ros.errors import ImageError
from activesam_ros.sam3.acceleration.accelerated import (
    AcceleratedModel,
    accelerated,
    compare_outputs,
    prompt_counts,
)
from activesam_ros.sam3.acceleration.cuda_graphs import leaves
from activesam_ros.sam3.acceleration.fallback import DisagreementError
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.model import ImageNetwork, Prompts, Sam3ImageModel
from activesam_ros.settings import Settings
from activesam_ros.sparsity.plan import image_plan
from benchmarks.tensor_memory import peak_mib

# Traces as for the real compiler, then runs what was traced with PyTorch.
TRACED = "eager"
SIDE = 84


class Recorder:
    """Stands for CUDA graphs; ``change`` spoils what a replay gives."""

    def __init__(self, change: Callable[[Tensor], Tensor] | None = None) -> None:
        self._change = change
        self.recorded = 0

    def __call__(self, run: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        self.recorded += 1
        outputs = run()

        def replay() -> None:
            for old, new in zip(leaves(outputs), leaves(run()), strict=True):
                old.copy_(new if self._change is None else self._change(new))

        return outputs, replay


def pixels(count: int = 1, side: int = SIDE) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def said(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What this package logged; compilers log much."""
    return [record for record in caplog.records if record.name.startswith("activesam_ros")]


@torch.inference_mode()
def assert_equal_networks(ours: ImageNetwork, plain: Sam3ImageModel, prompts: Prompts) -> None:
    for side in (SIDE, 2 * SIDE):
        features, expected = (
            ours.encode_image(pixels(side=side)),
            plain.encode_image(pixels(side=side)),
        )
        for found, wanted in zip(leaves(features), leaves(expected), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        for count in (len(prompts), 3, 1):
            some = prompts[:count]
            torch.testing.assert_close(
                ours.presence(features, some), plain.presence(expected, some), rtol=1e-4, atol=1e-3
            )
            decoded, wanted_decoded = ours.decode(features, some), plain.decode(expected, some)
            for found, wanted in zip(decoded, wanted_decoded, strict=True):
                torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3)
            torch.testing.assert_close(
                ours.pixels(decoded, features.skips),
                plain.pixels(wanted_decoded, expected.skips),
                rtol=1e-4,
                atol=1e-3,
            )
    tokens, wanted_tokens = ours.encode_tokens(pixels(2)), plain.encode_tokens(pixels(2))
    torch.testing.assert_close(
        ours.presence(tokens, prompts), plain.presence(wanted_tokens, prompts), rtol=1e-4, atol=1e-3
    )


class HostRefused(TorchFunctionMode):
    """No tensor is made of numbers on the host. Those on "meta" have no values to be read there."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        assert func not in (torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy), func
        return func(*args, **(kwargs or {}))


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_stages_leave_the_host_alone_as_recording_them_demands(
    golden_config: Sam3Config, dtype: torch.dtype
) -> None:
    with torch.device("meta"):
        model = Sam3ImageModel(golden_config).to(dtype)
        image = torch.empty(1, 3, 2 * SIDE, 2 * SIDE, dtype=dtype)
        tokens = torch.empty(4, 9, golden_config.d_model, dtype=dtype)
        prompts = Prompts(tokens, torch.empty(4, 9, dtype=torch.bool))
    with HostRefused():
        features = model.encode_image(image)
        decoded = model.decode(features, prompts)
        outputs = (model.encode_tokens(image), model.presence(features, prompts), decoded)
        found = leaves((features, outputs, model.pixels(decoded, features.skips)))
        assert {part.device.type for part in found} == {"meta"}
        with pytest.raises(AssertionError, match="tensor"):
            torch.tensor([1.0], device="meta")
        with pytest.raises(RuntimeError, match="meta"):
            decoded.logits.max().item()


def test_numbers_of_prompts_that_are_recorded() -> None:
    assert list(prompt_counts(1)) == [1]
    assert list(prompt_counts(3)) == [1, 2, 4]
    assert list(prompt_counts(8)) == [1, 2, 4, 8]
    assert list(prompt_counts(23)) == [1, 2, 4, 8, 16, 24]
    assert list(prompt_counts(32)) == [1, 2, 4, 8, 16, 24, 32]


def test_the_compiled_network_equals_the_plain_one(
    golden_model: Sam3ImageModel, golden_prompts: Prompts, caplog: pytest.LogCaptureFixture
) -> None:
    ours = AcceleratedModel(golden_model, None, TRACED)
    assert_equal_networks(ours, golden_model, golden_prompts)
    assert ours.recordings == 0
    assert not said(caplog)


def test_the_recorded_network_equals_the_plain_one(
    golden_model: Sam3ImageModel, golden_prompts: Prompts, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()
    ours = AcceleratedModel(golden_model, recorder, TRACED)
    assert_equal_networks(ours, golden_model, golden_prompts)
    # Two sizes of image, presence and decoding for 1, 2 and 4 prompts each; a batch of two images.
    assert ours.recordings == recorder.recorded == 2 * (1 + 2 * 3) + 1
    assert not said(caplog)


@torch.inference_mode()
def test_the_first_call_records_every_smaller_number_of_prompts(
    golden_model: Sam3ImageModel, golden_prompts: Prompts
) -> None:
    recorder = Recorder()
    ours = AcceleratedModel(golden_model, recorder, TRACED)
    many = golden_prompts[torch.arange(11) % len(golden_prompts)]
    tokens = ours.encode_tokens(pixels())
    before = recorder.recorded
    ours.presence(tokens, many)
    assert recorder.recorded - before == len([1, 2, 4, 8, 16])
    for count in range(1, 12):
        found = ours.presence(tokens, many[:count])
        assert found.shape == (1, count)
    assert recorder.recorded - before == 5


def test_weights_are_shared_and_the_plain_network_stays_plain(golden_model: Sam3ImageModel) -> None:
    ours = accelerated(golden_model)
    assert ours.plain is golden_model
    for held, given in zip(ours.compiled.parameters(), golden_model.parameters(), strict=True):
        assert held.data_ptr() == given.data_ptr()
    assert list(ours.compiled.state_dict()) == list(golden_model.state_dict())
    assert not any(part._compiled_call_impl for part in golden_model.modules())
    assert any(part._compiled_call_impl for part in ours.compiled.modules())
    assert (ours.device, ours.dtype, ours.config) == (
        golden_model.device,
        golden_model.dtype,
        golden_model.config,
    )


@torch.inference_mode()
def test_a_compiler_that_fails_is_left_out_and_said(
    golden_model: Sam3ImageModel, golden_prompts: Prompts, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(graph: GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        raise RuntimeError("no C compiler")

    ours = AcceleratedModel(golden_model, None, broken)
    features, expected = ours.encode_image(pixels()), golden_model.encode_image(pixels())
    torch.testing.assert_close(features.pyramid.fine, expected.pyramid.fine, rtol=0, atol=0)
    ours.decode(features, golden_prompts)
    (record,) = said(caplog)
    assert record.levelno == logging.WARNING
    assert "runs uncompiled from now on" in record.getMessage()
    assert "BackendCompilerFailed: backend='broken' raised:" in record.getMessage()
    assert "compile=never" in record.getMessage()


@torch.inference_mode()
def test_a_recording_that_fails_leaves_the_compiled_network(
    golden_model: Sam3ImageModel, golden_prompts: Prompts, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(run: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        raise RuntimeError("operation not permitted when stream is capturing")

    ours = AcceleratedModel(golden_model, refuse, TRACED)
    features = ours.encode_image(pixels())
    found = ours.presence(features, golden_prompts)
    expected = golden_model.presence(golden_model.encode_image(pixels()), golden_prompts)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
    assert ours.recordings == 0
    (record,) = said(caplog)
    assert "runs without CUDA graphs from now on" in record.getMessage()
    assert "not permitted" in record.getMessage()


@torch.inference_mode()
def test_a_way_that_gives_something_else_is_not_taken(
    golden_model: Sam3ImageModel, caplog: pytest.LogCaptureFixture
) -> None:
    ours = AcceleratedModel(golden_model, Recorder(lambda part: part.flip(-1)), TRACED)
    found, expected = ours.encode_image(pixels()), golden_model.encode_image(pixels())
    torch.testing.assert_close(found.pyramid.fine, expected.pyramid.fine, rtol=1e-4, atol=1e-4)
    (record,) = said(caplog)
    assert re.search(r"results \(.*\) are .* off the plain network's", record.getMessage())


@torch.inference_mode()
@pytest.mark.parametrize("stage", ["presence", "decode"])
def test_presence_that_is_wrong_is_noticed_though_it_is_few_numbers(
    golden_model: Sam3ImageModel,
    golden_prompts: Prompts,
    stage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It decides which classes are active."""

    def spoiled(part: Tensor) -> Tensor:
        return part + 4 if part.ndim == 1 else part

    ours = AcceleratedModel(golden_model, Recorder(spoiled), TRACED)
    found = getattr(ours, stage)(ours.encode_tokens(pixels()), golden_prompts)
    expected = getattr(golden_model, stage)(golden_model.encode_tokens(pixels()), golden_prompts)
    for part, wanted in zip(leaves(found), leaves(expected), strict=True):
        torch.testing.assert_close(part, wanted, rtol=1e-4, atol=1e-3)
    (record,) = said(caplog)
    assert "results (4,) are 4 off the plain network's" in record.getMessage()


@torch.inference_mode()
def test_another_order_of_rounding_in_bfloat16_is_no_disagreement(
    golden_model: Sam3ImageModel, golden_prompts: Prompts, caplog: pytest.LogCaptureFixture
) -> None:
    generator = torch.Generator().manual_seed(0)

    def rounded(part: Tensor) -> Tensor:
        if not part.is_floating_point():
            return part
        return part * (1 + 0.02 * torch.randn(part.shape, generator=generator).to(part.dtype))

    plain = copy.deepcopy(golden_model).bfloat16()
    prompts = Prompts(golden_prompts.tokens.bfloat16(), golden_prompts.padding)
    ours = AcceleratedModel(plain, Recorder(rounded), TRACED)
    features = ours.encode_image(pixels().bfloat16())
    ours.presence(features, prompts)
    ours.decode(features, prompts)
    assert ours.recordings > 0
    assert not said(caplog)


def test_a_comparison_needs_no_second_copy_of_a_large_tensor() -> None:
    """Contiguous or channels last, in the network's own precision."""
    tensors = torch.zeros(1, 64, 256, 256), torch.ones(1, 256, 256, 64).permute(0, 3, 1, 2)
    for tensor in (*tensors, tensors[0].bfloat16()):
        compare_outputs(tensor, tensor)
        peak = peak_mib(functools.partial(compare_outputs, tensor, tensor), torch.device("cpu"))
        assert 0 < peak <= 8 < tensor.nbytes / 2**20 + 1


@pytest.mark.parametrize("shape", [(), (7,), (3, 5, 4), (1, 64, 90, 70), (2, 300000)])
def test_outputs_are_compared_by_their_error(shape: tuple[int, ...]) -> None:
    expected = 5 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    compare_outputs((expected, None), (expected.clone(), None))
    compare_outputs(1.1 * expected, expected)
    compare_outputs(expected * torch.nan, expected / 0)  # no finite result to compare with
    for wrong in (-expected, 2 * expected, expected * torch.nan, expected + 8):
        with pytest.raises(DisagreementError, match="off the plain network's"):
            compare_outputs(wrong, expected)


def test_frames_go_on_while_another_thread_records(
    golden_model: Sam3ImageModel, golden_prompts: Prompts
) -> None:
    """Those of another shape are replayed, those of the same shape run on the plain network."""
    started, go_on = threading.Event(), threading.Event()

    class Slow(Recorder):
        def __call__(self, run: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
            if torch.is_inference_mode_enabled():  # only in the thread that is to be slow
                started.set()
                assert go_on.wait(30)
            return super().__call__(run)

    def presence(count: int) -> Tensor:
        with torch.no_grad():
            return ours.presence(tokens, golden_prompts[:count])

    def presence_slowly(count: int) -> Tensor:
        with torch.inference_mode():
            return ours.presence(tokens, golden_prompts[:count])

    recorder = Slow()
    ours = AcceleratedModel(golden_model, recorder, TRACED)
    with torch.no_grad():
        tokens = golden_model.encode_tokens(pixels())
        expected = golden_model.presence(tokens, golden_prompts)
    presence(1)
    recorded = recorder.recorded
    with ThreadPoolExecutor() as threads:
        slow = threads.submit(presence_slowly, 2)
        try:
            assert started.wait(30)
            for count in (1, 2, 1, 2):
                found = threads.submit(presence, count).result(timeout=30)
                torch.testing.assert_close(found, expected[:, :count], rtol=1e-4, atol=1e-3)
            assert recorder.recorded == recorded
        finally:
            go_on.set()
        torch.testing.assert_close(slow.result(30), expected[:, :2], rtol=1e-4, atol=1e-3)
    presence(2)
    assert recorder.recorded == recorded + 1


@torch.inference_mode()
def test_running_out_of_memory_is_the_callers_to_handle(golden_model: Sam3ImageModel) -> None:
    def full(run: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    ours = AcceleratedModel(golden_model, full, TRACED)
    for _ in range(2):
        with pytest.raises(torch.OutOfMemoryError):
            ours.encode_tokens(pixels())


@torch.inference_mode()
def test_bad_pixels_are_refused_as_ever(
    golden_model: Sam3ImageModel, caplog: pytest.LogCaptureFixture
) -> None:
    ours = AcceleratedModel(golden_model, Recorder(), TRACED)
    with pytest.raises(ImageError, match="multiples of"):
        ours.encode_image(torch.zeros(1, 3, 50, 84))
    assert not said(caplog)


@torch.inference_mode()
def test_sparse_plans_run_compiled_and_are_not_recorded(
    golden_model: Sam3ImageModel, golden_prompts: Prompts, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(encoder_attention_density=0.4, fusion_density=0.4)
    recorder = Recorder()
    ours = AcceleratedModel(golden_model, recorder, TRACED)
    plan = image_plan(settings, golden_model.config)
    features = ours.encode_image(pixels(side=168), plan)
    expected = golden_model.encode_image(pixels(side=168), plan)
    assert features.fusion is not None
    torch.testing.assert_close(
        ours.presence(features, golden_prompts),
        golden_model.presence(expected, golden_prompts),
        rtol=1e-4,
        atol=1e-3,
    )
    assert recorder.recorded == 0
    assert not said(caplog)


@torch.inference_mode()
def test_the_real_compiler_gives_the_same_tokens(golden_model: Sam3ImageModel) -> None:
    ours = accelerated(golden_model)
    found, expected = ours.encode_tokens(pixels()), golden_model.encode_tokens(pixels())
    for part, wanted in zip(leaves(found), leaves(expected), strict=True):
        torch.testing.assert_close(part, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_cuda_graphs_give_what_the_plain_network_gives(
    golden_model: Sam3ImageModel,
    golden_prompts: Prompts,
    dtype: torch.dtype,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain = copy.deepcopy(golden_model).to("cuda", dtype)
    prompts = Prompts(golden_prompts.tokens.to("cuda", dtype), golden_prompts.padding.cuda())
    ours = accelerated(plain)
    image = pixels(side=168).to("cuda", dtype)
    for _ in range(2):
        features, expected = ours.encode_image(image), plain.encode_image(image)
        for found, wanted in zip(leaves(features), leaves(expected), strict=True):
            torch.testing.assert_close(found, wanted, rtol=0.05, atol=0.05)
        found, wanted = ours.presence(features, prompts), plain.presence(expected, prompts)
        torch.testing.assert_close(found.sigmoid(), wanted.sigmoid(), rtol=0, atol=0.05)
    assert ours.recordings > 0
    assert not said(caplog)
