"""The decoder's attention to the image: every query is drawn to its box by an additive bias.

On a GPU one Triton kernel adds the bias up as it goes; elsewhere it is formed for some pairs at a
time. Softmax and sums are in float32 either way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from activesam_ros.sam3.acceleration.fallback import DisagreementError, Fallback

# Largest number of box bias values alive at once: 16 million floats are 64 MB.
BOX_BIAS_VALUES = 1 << 24
# Of a kernel's result, as a share of what is expected; rounding to bfloat16 leaves a tenth of it.
LARGEST_ERROR = 0.05


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
# As Attention, with the two terms of the bias in place of it; laid out as [K, 1 + Q, heads, c].
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


def box_attention(query: Tensor, key: Tensor, value: Tensor, bias: BoxBias) -> Tensor:
    """By the way that fits: fused on a GPU, unless gradients are wanted; else with the bias formed.

    See Attention. Raises torch.OutOfMemoryError.
    """
    tensors = (query, key, value, *bias)
    learns = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    if learns or not query.is_cuda:
        return formed_bias_attention(query, key, value, bias)
    return fused_attention(query, key, value, bias)


def fused_attention(query: Tensor, key: Tensor, value: Tensor, bias: BoxBias) -> Tensor:
    """By the Triton kernel, as one operator of PyTorch, which compilers and CUDA graphs take whole.

    See Attention; any strides, on a GPU or in Triton's interpreter. The result is laid out as
    [K, 1 + Q, heads, c], transposed. No gradients. Where the kernel cannot be had the bias is
    formed in the operator. Raises torch.OutOfMemoryError.
    """
    attended: Tensor = _operator(query, key, value, *bias)
    return attended


class CheckedKernel:
    """A kernel, or attention with the bias formed from the first failure of the kernel on.

    The first pair of the first inputs of each shape is checked.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._fallback = Fallback(
            "The fused attention kernel of the decoder cannot be had (%s); its box bias is "
            "formed instead, which is slower. The kernel needs Triton and a C compiler."
        )

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, vertical: Tensor, horizontal: Tensor
    ) -> Tensor:
        """See Kernel. Raises torch.OutOfMemoryError where the kernel does."""
        bias = BoxBias(vertical, horizontal)

        def formed() -> Tensor:
            attended = formed_bias_attention(query, key, value, bias)
            return attended.transpose(1, 2).contiguous().transpose(1, 2)

        def check(attended: Tensor) -> None:
            _check_first_pair(attended, query, key, value, bias)

        # A stream that is recorded cannot be waited for; what is recorded ran before.
        recorded = query.is_cuda and torch.cuda.is_current_stream_capturing()
        shape = query.device, query.dtype, query.shape[1:], vertical.shape[-1], horizontal.shape[-1]
        return self._fallback.run(
            lambda: self._kernel(query, key, value, vertical, horizontal),
            formed,
            None if recorded or not len(query) else check,
            shape,
        )


def _check_first_pair(
    attended: Tensor, query: Tensor, key: Tensor, value: Tensor, bias: BoxBias
) -> None:
    """Raise DisagreementError where the first pair is not what the definition gives."""
    exact = BoxBias(*(term[:1].float() for term in bias))
    expected = formed_bias_attention(query[:1].float(), key[:1].float(), value[:1].float(), exact)
    error = float((attended[:1].float() - expected).norm() / expected.norm())
    if bool(expected.isfinite().all()) and not error <= LARGEST_ERROR:
        raise DisagreementError(f"its result is off by {error:.3g} of what it should be")


def _triton_kernel(
    query: Tensor, key: Tensor, value: Tensor, vertical: Tensor, horizontal: Tensor
) -> Tensor:
    # Triton is optional, and reads at its import whether it is to interpret.
    from activesam_ros.sam3.acceleration.box_attention_kernel import fused_box_attention

    return fused_box_attention(query, key, value, vertical, horizontal)


# An operator belongs to the process, and so does what is known of its kernel.
_KERNEL = CheckedKernel(_triton_kernel)


@torch.library.custom_op(
    "activesam_ros::box_attention",
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, Tensor vertical, Tensor horizontal) -> Tensor",
)
def _operator(
    query: Tensor, key: Tensor, value: Tensor, vertical: Tensor, horizontal: Tensor
) -> Tensor:
    return _KERNEL(query, key, value, vertical, horizontal)


@_operator.register_fake
def _(query: Tensor, *_: Tensor) -> Tensor:
    pairs, heads, tokens, width = query.shape
    return query.new_empty(pairs, tokens, heads, width).transpose(1, 2)
