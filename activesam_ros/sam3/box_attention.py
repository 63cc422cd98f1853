"""The decoder's attention to the image: every query is drawn to its box by an additive bias.

On a GPU one Triton kernel adds the bias up as it goes; elsewhere it is formed for some pairs at a
time. Softmax and sums are in float32 either way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

_LOG = logging.getLogger(__name__)
# Largest number of box bias values alive at once: 16 million floats are 64 MB.
BOX_BIAS_VALUES = 1 << 24


class BoxBias(NamedTuple):
    """Additive attention bias of the image tokens for each query: a row term and a column term.

    vertical: [K, heads, queries, height]; horizontal: [K, heads, queries, width].
    """

    vertical: Tensor
    horizontal: Tensor

    @property
    def values_per_pair(self) -> int:
        """How many values :meth:`mask` makes of one pair."""
        _, heads, queries, height = self.vertical.shape
        return heads * (1 + queries) * height * self.horizontal.shape[-1]

    def mask(self, pairs: slice) -> Tensor:
        """The bias of these pairs, with zeros for the presence token -> [k, heads, 1 + Q, N]."""
        bias = self.vertical[pairs, ..., :, None] + self.horizontal[pairs, ..., None, :]
        return F.pad(bias.flatten(-2), (0, 0, 1, 0))


# (query [K, heads, 1 + Q, c], key [K, heads, N, c], value [K, heads, N, c], bias), token 0 of the
# queries being the presence token -> [K, heads, 1 + Q, c].
Attention: TypeAlias = Callable[[Tensor, Tensor, Tensor, BoxBias], Tensor]
# As Attention, with the two terms of the bias in place of it.
Kernel: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def formed_bias_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: BoxBias, most_values: int = BOX_BIAS_VALUES
) -> Tensor:
    """Attention with the bias formed, of at most ``most_values`` values, or one pair, at a time."""
    pairs = query.shape[0]
    step = max(1, most_values // bias.values_per_pair)
    if pairs <= step:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias.mask(slice(None)))
    parts = [slice(start, start + step) for start in range(0, pairs, step)]
    return torch.cat(
        [
            F.scaled_dot_product_attention(
                query[part], key[part], value[part], attn_mask=bias.mask(part)
            )
            for part in parts
        ]
    )


class BoxAttention:
    """Attention with a box bias, by the way that fits the device.

    On a GPU the fused kernel, unless gradients are wanted. Elsewhere, and where the kernel cannot
    be had, with the bias formed; the latter is logged once, since it is slower.
    """

    def __init__(self, kernel: Kernel | None = None) -> None:
        """kernel: in place of the fused one, on any device."""
        self._given = kernel
        self._failed = False

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, bias: BoxBias) -> Tensor:
        """See Attention. Raises torch.OutOfMemoryError where a kernel does."""
        tensors = (query, key, value, *bias)
        fits = self._given is not None or query.is_cuda
        learns = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        if not fits or learns or self._failed:
            return formed_bias_attention(query, key, value, bias)
        kernel = fused_kernel if self._given is None else self._given
        try:
            return kernel(*tensors)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - compilers fail in many ways
            self._give_up(error)
        return formed_bias_attention(query, key, value, bias)

    def _give_up(self, error: Exception) -> None:
        self._failed = True
        _LOG.warning(
            "The fused attention kernel of the decoder cannot be had (%s: %s); its box bias is "
            "formed instead, which is slower. The kernel needs Triton and a C compiler.",
            type(error).__name__,
            next(iter(str(error).splitlines()), ""),
        )


def fused_kernel(
    query: Tensor, key: Tensor, value: Tensor, vertical: Tensor, horizontal: Tensor
) -> Tensor:
    """The Triton kernel as one operator of PyTorch, which compilers and CUDA graphs take whole.

    See Kernel; float16, bfloat16 or float32, any strides, on a GPU or in Triton's interpreter. The
    result is laid out as [K, 1 + Q, heads, c], transposed. No gradients. Raises
    MissingDependencyError where the GPU, the dtype or the width of a head is none of its own,
    ImportError without Triton.
    """
    attended: Tensor = _operator(query, key, value, vertical, horizontal)
    return attended


@torch.library.custom_op(
    "activesam_ros::box_attention",
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, Tensor vertical, Tensor horizontal) -> Tensor",
)
def _operator(
    query: Tensor, key: Tensor, value: Tensor, vertical: Tensor, horizontal: Tensor
) -> Tensor:
    # Triton is optional, and reads at its import whether it is to interpret.
    from activesam_ros.sam3.box_attention_kernel import box_attention

    return box_attention(query, key, value, vertical, horizontal)


@_operator.register_fake
def _(query: Tensor, *_: Tensor) -> Tensor:
    pairs, heads, tokens, width = query.shape
    return query.new_empty(pairs, tokens, heads, width).transpose(1, 2)
