"""Attention in stripe order: each block of queries attends to the keep bar and its own block.

The keep bar is the first floor(density x blocks) blocks of keys (SparseSAM).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from activesam_ros.sam3.acceleration.fallback import Fallback

# FlexAttention imports PyTorch's compiler, which takes longer than all other imports together, so
# it is imported when first used.
if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

# (query, key, value, block_mask=...) -> attended values, as FlexAttention.
Kernel: TypeAlias = Callable[..., Any]
Attend: TypeAlias = "Callable[[Tensor, Tensor, Tensor, SparsePattern], Tensor]"

# The largest block size that gives at least FEWEST_BLOCKS is used. Large blocks are faster, small
# ones come nearer to the density.
BLOCK_SIZES = (128, 64, 32, 16, 8)
FEWEST_BLOCKS = 8
# Added before rounding down, since 0.29 x 100 is 28.999999999999996.
_ROUNDING = 1e-9
# Rows of keys that gathered_attention copies at once; bounds its memory.
_KEYS_PER_CALL = 8192
# FlexAttention's kernels support tiles of this many tokens on every GPU, and no smaller heads.
_TILE = 128
_SMALLEST_HEAD = 16


@dataclass(frozen=True)
class SparsePattern:
    """A query attends to the first ``bar`` of the ``tokens`` keys and to its own block.

    block: size of a block [tokens].
    """

    tokens: int
    block: int
    bar: int

    @classmethod
    def of(cls, tokens: int, density: float) -> SparsePattern:
        """The pattern for this number of tokens at a density of 0 to 1."""
        fitting = (size for size in BLOCK_SIZES if tokens >= size * FEWEST_BLOCKS)
        block = next(fitting, BLOCK_SIZES[-1])
        blocks = -(-tokens // block)
        kept = math.floor(density * blocks + _ROUNDING)
        return cls(tokens, block, min(kept * block, tokens))

    @property
    def density(self) -> float:
        """The share of query-key pairs that are computed, own blocks included."""
        rest = self.tokens - self.bar
        blocks, last = divmod(rest, self.block)
        own = blocks * self.block**2 + last**2
        return (self.tokens * self.bar + own) / self.tokens**2


def gathered_attention(query: Tensor, key: Tensor, value: Tensor, pattern: SparsePattern) -> Tensor:
    """Attention of tokens in stripe order that gathers the keys of some blocks at a time.

    All tensors are [B, heads, N, d]. It forms no mask, and its memory does not grow with N x N.
    """
    bar, block, tokens = pattern.bar, pattern.block, pattern.tokens
    parts = []
    if bar:
        inside = slice(0, bar)
        parts.append(_attention(query, key, value, inside, bar))
    ragged = bar + (tokens - bar) // block * block
    step = max(_KEYS_PER_CALL // (bar + block), 1) * block
    for start in range(bar, ragged, step):
        span = slice(start, min(start + step, ragged))
        parts.append(_blocks_attention(query, key, value, span, pattern))
    if ragged < tokens:
        parts.append(_attention(query, key, value, slice(ragged, tokens), bar))
    return torch.cat(parts, dim=-2)


def _attention(query: Tensor, key: Tensor, value: Tensor, span: slice, bar: int) -> Tensor:
    """Attention of one span's queries to the bar and to the span."""
    if span.start == 0:
        seen = key[..., span, :], value[..., span, :]
    else:
        seen = _seen(key, span, bar), _seen(value, span, bar)
    return F.scaled_dot_product_attention(query[..., span, :], *seen)


def _seen(x: Tensor, span: slice, bar: int) -> Tensor:
    return torch.cat((x[..., :bar, :], x[..., span, :]), dim=-2)


def _blocks_attention(
    query: Tensor, key: Tensor, value: Tensor, span: slice, pattern: SparsePattern
) -> Tensor:
    """Attention of whole blocks outside the bar; to the kernel each block is a head of its own."""

    def own(x: Tensor) -> Tensor:
        # [B, heads, blocks, block, d]
        blocks: Tensor = x[..., span, :].unflatten(-2, (-1, pattern.block))
        return blocks

    def seen(x: Tensor) -> Tensor:
        blocks = own(x)
        bar = x[..., None, : pattern.bar, :].expand(-1, -1, blocks.shape[2], -1, -1)
        return torch.cat((bar, blocks), dim=-2).flatten(0, 1)  # [B * heads, blocks, bar + block, d]

    attended = F.scaled_dot_product_attention(own(query).flatten(0, 1), seen(key), seen(value))
    output: Tensor = attended.unflatten(0, query.shape[:2]).flatten(2, 3)  # [B, heads, n, d]
    return output


def block_mask(pattern: SparsePattern, device: torch.device) -> BlockMask:
    """The pattern as FlexAttention's mask, for any batch and number of heads."""
    from torch.nn.attention.flex_attention import create_block_mask

    bar, block, tokens = pattern.bar, pattern.block, pattern.tokens

    def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key < bar) | (key // block == query // block)

    return create_block_mask(sees, None, None, tokens, tokens, device=device, BLOCK_SIZE=_TILE)


class PatternAttention:
    """Attention of tokens in stripe order.

    On a GPU block-sparse kernels compute it. They are compiled, and each pattern's mask is built,
    when first used. On a CPU, for heads that are too small, and after a failure of the kernels,
    keys are gathered.
    """

    def __init__(self, kernel: Kernel | None = None) -> None:
        """kernel: takes the place of compiled FlexAttention, on any device."""
        self._masks: dict[tuple[SparsePattern, torch.device], BlockMask] = {}
        self._given = kernel
        self._kernel = kernel
        self._fallback = Fallback(
            "Block-sparse attention kernels do not work (%s). Sparse attention gathers keys "
            "instead, which is slower. FlexAttention needs Triton and a C compiler."
        )
        # Compiled layers call it, and must leave the compiled kernel in it alone.
        self._uncompiled: Attend = torch.compiler.disable(self._attend, recursive=False)
        self._run = torch.compiler.disable(self._fallback.run, recursive=False)

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, pattern: SparsePattern) -> Tensor:
        """query, key and value [B, heads, N, d] -> [B, heads, N, d].

        Raises torch.OutOfMemoryError.
        """
        return self._uncompiled(query, key, value, pattern)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, pattern: SparsePattern) -> Tensor:
        tensors = query, key, value
        fits = self._given is not None or (query.is_cuda and query.shape[-1] >= _SMALLEST_HEAD)
        if not fits:
            return gathered_attention(*tensors, pattern)
        attended: Tensor = self._run(
            lambda: self._by_kernel(*tensors, pattern),
            lambda: gathered_attention(*tensors, pattern),
        )
        return attended

    def _by_kernel(
        self, query: Tensor, key: Tensor, value: Tensor, pattern: SparsePattern
    ) -> Tensor:
        if self._kernel is None:
            from torch.nn.attention.flex_attention import flex_attention

            self._kernel = torch.compile(flex_attention, dynamic=False)
        place = pattern, query.device
        if place not in self._masks:
            self._masks[place] = block_mask(*place)
        attended: Tensor = self._kernel(query, key, value, block_mask=self._masks[place])
        return attended


def take(x: Tensor, order: Tensor) -> Tensor:
    """Tokens of x [B, heads, N, d] in the order int64 [B, heads, N] of each head."""
    first = torch.arange(order.shape[0] * order.shape[1], device=x.device) * order.shape[2]
    rows = (order.flatten(0, 1) + first[:, None]).flatten()  # [B * heads * N]
    return x.reshape(-1, x.shape[-1]).index_select(0, rows).view_as(x)
