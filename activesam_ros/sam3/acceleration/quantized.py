"""Linear layers in eight bits: approximate, and faster where the processor supports them.

On a CPU PyTorch's kernels multiply int8, with a scale for each output channel of the weights and
one for the activations of a call. Activations use seven bits, since kernels without VNNI add pairs
in 16 bits. On a GPU the format is FP8 (e4m3), with one scale for the weights and one for the
activations of a call.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from activesam_ros.errors import MissingDependencyError
from activesam_ros.sam3.checkpoint import shapes_only
from activesam_ros.sam3.model import Sam3ImageModel

FP8_CAPABILITY = (8, 9)
FP8_LARGEST = 448.0
INT8_LARGEST = 127
# Both sides of an FP8 weight must be multiples of this.
FP8_MULTIPLE = 16


class Int8Linear(nn.Module):
    """y = x W + b with int8 weights, on a CPU."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()  # [out, in]
        scales = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / INT8_LARGEST
        zeros = torch.zeros(len(weight), dtype=torch.long)
        with warnings.catch_warnings():
            # PyTorch warns that later versions may drop this tensor type.
            warnings.simplefilter("ignore", UserWarning)
            quantized = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        bias = None if linear.bias is None else linear.bias.detach().float()
        self._packed = torch.ops.quantized.linear_prepack(quantized, bias)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out] in the same dtype."""
        output: Tensor = torch.ops.quantized.linear_dynamic(x.float(), self._packed, True)
        return output.to(x.dtype)


class Fp8Linear(nn.Module):
    """y = x W + b with FP8 operands and float32 sums, for bfloat16 activations."""

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scale = _fp8(linear.weight.detach())
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] bfloat16 -> [..., out] bfloat16."""
        rows, scale = _fp8(x.flatten(0, -2))  # [rows, in]
        product: Tensor = torch._scaled_mm(
            rows,
            self.weight.t(),
            scale_a=scale,
            scale_b=self.scale,
            bias=self.bias,
            out_dtype=torch.bfloat16,
        )
        output: Tensor = product.unflatten(0, x.shape[:-1])
        return output


def _fp8(x: Tensor) -> tuple[Tensor, Tensor]:
    """x as e4m3, and the float32 scale [] that restores it."""
    scale = x.abs().amax().float().clamp(min=torch.finfo(torch.float32).tiny) / FP8_LARGEST
    return (x.float() / scale).to(torch.float8_e4m3fn), scale


def quantized(model: Sam3ImageModel) -> Sam3ImageModel:
    """A network with the linear layers of both encoders in eight bits.

    It shares the rest with ``model``, which stays as it is. Raises MissingDependencyError where the
    device lacks the kernels.
    """
    convert = conversion(model.device, model.dtype)
    with shapes_only():
        other = Sam3ImageModel(model.config)
    other.load_state_dict(model.state_dict(), assign=True)
    for encoder in (other.vision_encoder, other.fusion_encoder):
        for parent in list(encoder.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Linear) and _fits(child, model.device):
                    setattr(parent, name, convert(child))
    return other.eval().requires_grad_(False)


def conversion(device: torch.device, dtype: torch.dtype) -> Callable[[nn.Linear], nn.Module]:
    """The eight-bit layer for a device; raises MissingDependencyError where there is none."""
    if device.type == "cpu":
        if not hasattr(torch, "quantize_per_channel") or torch.backends.quantized.engine == "none":
            raise MissingDependencyError(
                f"preset=fast needs int8 kernels, which PyTorch {torch.__version__} lacks on this "
                "computer. Give preset=exact."
            )
        return Int8Linear
    capability = torch.cuda.get_device_capability(device)
    if capability < FP8_CAPABILITY or dtype != torch.bfloat16:
        raise MissingDependencyError(
            "preset=fast computes linear layers in FP8 on a GPU, which needs compute capability "
            f"8.9 and dtype bfloat16; {device} has {capability[0]}.{capability[1]} and the dtype "
            f"is {str(dtype).removeprefix('torch.')}. Give preset=exact."
        )
    return Fp8Linear


def _fits(linear: nn.Linear, device: torch.device) -> bool:
    return device.type == "cpu" or not (
        linear.in_features % FP8_MULTIPLE or linear.out_features % FP8_MULTIPLE
    )
