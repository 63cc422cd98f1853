"""The decoder's attention to the image, with a bias that draws each object query to its box.

On a GPU a Triton kernel computes the bias inside the attention. Elsewhere the bias is formed for a
few pairs of image and prompt at a time. Both take softmax and sums in float32.
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
# Largest relative error of a kernel's result; rounding to bfloat16 causes a tenth of it.
LARGEST_ERROR = 0.05


class BoxBias(NamedTuple):
    """Additive attention bias of the image tokens for each query: a row term and a column term.

    vertical: [K, heads, queries, height]; horizontal: [K, heads, queries, width].
    """

    vertical: Tensor
    horizontal: Tensor

    @property
    def values_per_pair(self) -> int:
        """Number of values that :meth:`mask` forms for one pair."""
        _, heads, queries, height = self.vertical.shape
        return heads * (1 + queries) * height * self.horizontal.shape[-1]

    def mask(self, pairs: slice) -> Tensor:
        """The bias of these pairs, with zeros for the presence token -> [k, heads, 1 + Q, N]."""
        # [k, heads, Q, height, width]
        bias = self.vertical[pairs, ..., :, None] + self.horizontal[pairs, ..., None, :]
        return F.pad(bias.flatten(-2), (0, 0, 1, 0))


# (query [K, heads, 1 + Q, c], key [K, heads, N, c], value [K, heads, N, c], bias)
# -> [K, heads, 1 + Q, c]. Token 0 of the queries is the presence token.
Attention: TypeAlias = Callable[[Tensor, Tensor, Tensor, BoxBias], Tensor]
# As Attention, but takes the bias as its two terms; the result's memory is [K, 1 + Q, heads, c].
Kernel: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def formed_bias_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: BoxBias, most_values: int = BOX_BIAS_VALUES
) -> Tensor:
    """Attention with the bias formed: ``most_values`` values at a time, or one pair."""
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
    """Attention by the fused kernel on a GPU; with the bias formed on a CPU and for gradients.

    See Attention for shapes. Raises torch.OutOfMemoryError.
    """
    tensors = (query, key, value, *bias)
    needs_gradients = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    if needs_gradients or not query.is_cuda:
        return formed_bias_attention(query, key, value, bias)
    return fused_attention(query, key, value, bias)


def fused_attention(query: Tensor, key: Tensor, value: Tensor, bias: BoxBias) -> Tensor:
    """Attention by the Triton kernel, as one PyTorch operator that compilers need not look into.

    See Attention for shapes. It takes any strides, on a GPU or in Triton's interpreter, and has no
    gradients. The result's memory is [K, 1 + Q, heads, c]. Where the kernel does not work the
    operator forms the bias. Raises torch.OutOfMemoryError.
    """
    attended: Tensor = _operator(query, key, value, *bias)
    return attended


class CheckedKernel:
    """A kernel that is replaced by attention with the bias formed once it fails.

    For each new shape it is checked on the first pair.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._fallback = Fallback(
            "The decoder's fused attention kernel does not work (%s). The box bias is formed "
            "instead, which is slower. The kernel needs Triton and a C compiler."
        )

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, vertical: Tensor, horizontal: Tensor
    ) -> Tensor:
        """See Kernel. Raises torch.OutOfMemoryError."""
        bias = BoxBias(vertical, horizontal)

        def formed() -> Tensor:
            attended = formed_bias_attention(query, key, value, bias)
            return attended.transpose(1, 2).contiguous().transpose(1, 2)

        def check(attended: Tensor) -> None:
            _check_first_pair(attended, query, key, value, bias)

        # A CUDA graph's capture cannot synchronise; warm-up runs have checked the shape before.
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
    """Raise DisagreementError where the first pair differs from formed_bias_attention."""
    exact = BoxBias(*(term[:1].float() for term in bias))
    expected = formed_bias_attention(query[:1].float(), key[:1].float(), value[:1].float(), exact)
    error = float((attended[:1].float() - expected).norm() / expected.norm())
    if bool(expected.isfinite().all()) and not error <= LARGEST_ERROR:
        raise DisagreementError(f"its result has a relative error of {error:.3g}")


def _triton_kernel(
    query: Tensor, key: Tensor, value: Tensor, vertical: Tensor, horizontal: Tensor
) -> Tensor:
    # Triton is optional, and decides at its import whether it interprets kernels.
    from activesam_ros.sam3.acceleration.box_attention_kernel import fused_box_attention

    return fused_box_attention(query, key, value, vertical, horizontal)


# A PyTorch operator is global to the process, so its kernel's state is, too.
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
