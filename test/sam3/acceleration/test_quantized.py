"""Linear layers in eight bits, and the network that has them."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from activesam_ros.errors import MissingDependencyError
from activesam_ros.sam3.acceleration import quantized
from activesam_ros.sam3.acceleration.quantized import Fp8Linear, Int8Linear
from activesam_ros.sam3.model import Prompts, Sam3ImageModel


def linear(inputs: int, outputs: int) -> nn.Linear:
    torch.manual_seed(inputs)
    return nn.Linear(inputs, outputs)


@torch.inference_mode()
@pytest.mark.parametrize("shape", [(5, 64), (2, 3, 64)])
def test_int8_is_near_float32(shape: tuple[int, ...]) -> None:
    exact = linear(64, 48)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        approximate = Int8Linear(exact)
    x = torch.randn(shape)
    expected, found = exact(x), approximate(x)
    assert found.dtype == torch.float32
    error = (found - expected).abs().max() / expected.abs().max()
    assert 0 < error < 0.03


def test_a_row_of_zeros_stays_one() -> None:
    exact = linear(16, 16)
    exact.weight.data[3] = 0
    found = Int8Linear(exact)(torch.randn(7, 16))
    torch.testing.assert_close(found[:, 3], exact.bias[3].expand(7))


@torch.inference_mode()
def test_fp8_is_near_bfloat16() -> None:
    exact = linear(64, 48).to(torch.bfloat16)
    x = torch.randn(2, 8, 64, dtype=torch.bfloat16)
    approximate = Fp8Linear(exact)
    try:
        found = approximate(x)
    except (RuntimeError, NotImplementedError) as refusal:
        pytest.skip(f"this PyTorch has no FP8 product on a CPU: {refusal}")
    expected = exact(x)
    assert (found.dtype, found.shape) == (torch.bfloat16, expected.shape)
    error = (found - expected).abs().max() / expected.abs().max()
    assert 0 < error < 0.06


@torch.inference_mode()
def test_both_encoders_are_converted_and_the_rest_is_shared(
    golden_model: Sam3ImageModel, golden_prompts: Prompts
) -> None:
    fast = quantized.quantized(golden_model)
    assert not any(isinstance(part, Int8Linear) for part in golden_model.modules())
    for encoder in (fast.vision_encoder, fast.fusion_encoder):
        kinds = {type(part) for part in encoder.modules()}
        assert Int8Linear in kinds
        assert nn.Linear not in kinds
    for ours, theirs in zip(
        fast.decoder.parameters(), golden_model.decoder.parameters(), strict=True
    ):
        assert ours.data_ptr() == theirs.data_ptr()
    assert not any(parameter.requires_grad for parameter in fast.parameters())
    pixels = torch.rand(1, 3, 112, 112) * 2 - 1
    coarse = fast.vision_encoder.coarse(pixels)
    expected = golden_model.vision_encoder.coarse(pixels)
    error = (coarse - expected).abs().max() / expected.abs().max()
    assert 0 < error < 0.1
    found = fast.detect(fast.encode_image(pixels), golden_prompts)
    assert found.semantic.isfinite().all()


@pytest.mark.parametrize(
    ("capability", "dtype", "refused"),
    [
        ((8, 0), torch.bfloat16, True),
        ((9, 0), torch.float32, True),
        ((9, 0), torch.bfloat16, False),
        ((8, 9), torch.bfloat16, False),
    ],
)
def test_a_gpu_without_fp8_is_refused(
    capability: tuple[int, int], dtype: torch.dtype, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    if not refused:
        assert quantized.conversion(torch.device("cuda"), dtype) is Fp8Linear
        return
    with pytest.raises(MissingDependencyError, match=r"capability 8\.9 .* preset=exact"):
        quantized.conversion(torch.device("cuda"), dtype)
