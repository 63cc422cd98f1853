"""Triton kernel of attention with a box bias; box_attention.py imports it when it first runs.

It computes an online softmax over tiles of keys. A tile is a square of the token grid, so that a
few row terms and column terms make its whole bias: their product with a constant matrix of zeros
and ones, which is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from activesam_ros.errors import MissingDependencyError

WIDEST_HEAD = 64
# The narrowest that matrix instructions take.
NARROWEST_HEAD = 16
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
# The first compute capability with matrix instructions for bfloat16.
CAPABILITY = (8, 0)
# Rows and columns of a tile of keys; 2 x 8 terms are the depth of one matrix instruction.
SIDE = 8


@dataclass(frozen=True)
class Launch:
    """The queries and warps of one program, and the tiles of keys that it loads ahead."""

    queries: int
    warps: int
    stages: int

    @classmethod
    def of(cls, tokens: int, dtype: torch.dtype) -> Launch:
        """The launch for this number of queries, the presence token included.

        With more queries in a program the keys are read less often; in float32 the registers limit
        them.
        """
        most = 16 if dtype == torch.float32 else 128
        queries = min(max(triton.next_power_of_2(tokens), 16), most)
        return cls(queries, warps=8 if queries == 128 else 4, stages=3)


@triton.jit(do_not_specialize=["tokens", "height", "width", "heads"])
def box_attention_kernel(
    query,
    key,
    value,
    vertical,
    horizontal,
    output,
    tokens,
    height,
    width,
    heads,
    query_pair,
    query_head,
    query_token,
    query_channel,
    key_pair,
    key_head,
    key_token,
    key_channel,
    value_pair,
    value_head,
    value_token,
    value_channel,
    vertical_pair,
    vertical_head,
    vertical_query,
    vertical_row,
    horizontal_pair,
    horizontal_head,
    horizontal_query,
    horizontal_column,
    HEAD_WIDTH: tl.constexpr,
    CHANNELS: tl.constexpr,
    QUERIES: tl.constexpr,
    SIDE: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """Attend for QUERIES queries of one head and pair; strides are in elements.

    CHANNELS: HEAD_WIDTH or the next power of two; WIDEN: multiply in float32, which changes no
    product of two bfloat16 values.
    """
    LOG2_E: tl.constexpr = 1.4426950408889634
    # Divides the products of queries and keys.
    SCALE: tl.constexpr = HEAD_WIDTH**0.5
    KEYS: tl.constexpr = SIDE * SIDE
    blocks = tl.cdiv(tokens, QUERIES)
    program = tl.program_id(0)
    head = (program // blocks) % heads
    pair = (program // blocks // heads).to(tl.int64)
    token = (program % blocks) * QUERIES + tl.arange(0, QUERIES)
    channel = tl.arange(0, CHANNELS)
    is_channel = channel < HEAD_WIDTH
    step = tl.arange(0, SIDE)
    place = tl.arange(0, KEYS)

    query += pair * query_pair + head * query_head
    key += pair * key_pair + head * key_head
    value += pair * value_pair + head * value_head
    vertical += pair * vertical_pair + head * vertical_head
    horizontal += pair * horizontal_pair + head * horizontal_head
    # Token 0 is the presence token, which has no box.
    box = (token - 1)[:, None]
    has_box = (box >= 0) & (box < tokens - 1)

    queries = tl.load(
        query + token[:, None] * query_token + channel[None, :] * query_channel,
        mask=(token[:, None] < tokens) & is_channel[None, :],
        other=0.0,
    )  # [QUERIES, CHANNELS]
    # [row 0, column 0, row 1, ...] @ choice -> the bias of each key
    term = tl.arange(0, 2 * SIDE)[:, None]
    chosen = tl.where(term % 2 == 0, place[None, :] // SIDE, place[None, :] % SIDE)
    choice = (chosen == term // 2).to(tl.float32)  # [2 * SIDE, KEYS]
    if WIDEN:
        queries = queries.to(tl.float32)
    else:
        choice = choice.to(query.dtype.element_ty)

    largest = tl.full([QUERIES], float("-inf"), tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    sums = tl.zeros([QUERIES, CHANNELS], tl.float32)
    across = tl.cdiv(width, SIDE)
    for tile in range(tl.cdiv(height, SIDE) * across):
        top = tile // across * SIDE
        left = tile % across * SIDE
        row = top + place // SIDE
        column = left + place % SIDE
        is_key = (row < height) & (column < width)
        index = row * width + column
        rows = tl.load(
            vertical + box * vertical_query + (top + step)[None, :] * vertical_row,
            mask=has_box & ((top + step)[None, :] < height),
            other=0.0,
        )  # [QUERIES, SIDE]
        columns = tl.load(
            horizontal + box * horizontal_query + (left + step)[None, :] * horizontal_column,
            mask=has_box & ((left + step)[None, :] < width),
            other=0.0,
        )  # [QUERIES, SIDE]
        terms = tl.reshape(tl.join(rows, columns), [QUERIES, 2 * SIDE])
        keys = tl.load(
            key + index[None, :] * key_token + channel[:, None] * key_channel,
            mask=is_key[None, :] & is_channel[:, None],
            other=0.0,
        )  # [CHANNELS, KEYS]
        if WIDEN:
            terms = terms.to(tl.float32)
            keys = keys.to(tl.float32)
        # [QUERIES, KEYS]
        scores = tl.dot(terms, choice, input_precision="ieee") * SCALE
        scores = tl.dot(queries, keys, scores, input_precision="ieee")
        scores = tl.where(is_key[None, :], scores * (LOG2_E / SCALE), float("-inf"))
        # The first tile has a key, so this is finite.
        larger = tl.maximum(largest, tl.max(scores, 1))
        weights = tl.exp2(scores - larger[:, None])
        kept = tl.exp2(largest - larger)
        total = total * kept + tl.sum(weights, 1)
        values = tl.load(
            value + index[:, None] * value_token + channel[None, :] * value_channel,
            mask=is_key[:, None] & is_channel[None, :],
            other=0.0,
        )  # [KEYS, CHANNELS]
        weights = weights.to(values.dtype)
        if WIDEN:
            weights = weights.to(tl.float32)
            values = values.to(tl.float32)
        sums = tl.dot(weights, values, sums * kept[:, None], input_precision="ieee")
        largest = larger

    # output: contiguous [pairs, tokens, heads, HEAD_WIDTH]
    start = (pair * tokens + token) * heads + head
    tl.store(
        output + start[:, None] * HEAD_WIDTH + channel[None, :],
        (sums / total[:, None]).to(output.dtype.element_ty),
        mask=(token[:, None] < tokens) & is_channel[None, :],
    )


def fused_box_attention(
    query: Tensor, key: Tensor, value: Tensor, vertical: Tensor, horizontal: Tensor
) -> Tensor:
    """See box_attention.Kernel; takes float16, bfloat16 or float32 and any strides.

    Raises MissingDependencyError for an older GPU, another dtype or a wider head.
    """
    pairs, heads, tokens, width = query.shape
    if width > WIDEST_HEAD or query.dtype not in DTYPES:
        raise MissingDependencyError(
            f"The kernel takes heads up to {WIDEST_HEAD} wide in float16, bfloat16 or float32, not "
            f"{width} in {query.dtype}."
        )
    if query.is_cuda and torch.cuda.get_device_capability(query.device) < CAPABILITY:
        raise MissingDependencyError("The kernel needs compute capability 8.0.")
    output = query.new_empty(pairs, tokens, heads, width)
    launch = Launch.of(tokens, query.dtype)
    with torch.cuda.device_of(query):
        box_attention_kernel[(triton.cdiv(tokens, launch.queries) * heads * pairs,)](
            query,
            key,
            value,
            vertical,
            horizontal,
            output,
            tokens,
            vertical.shape[-1],
            horizontal.shape[-1],
            heads,
            *query.stride(),
            *key.stride(),
            *value.stride(),
            *vertical.stride(),
            *horizontal.stride(),
            HEAD_WIDTH=width,
            CHANNELS=max(triton.next_power_of_2(width), NARROWEST_HEAD),
            QUERIES=launch.queries,
            SIDE=SIDE,
            # Triton's interpreter cannot multiply bfloat16.
            WIDEN=not isinstance(box_attention_kernel, triton.JITFunction),
            num_warps=launch.warps,
            num_stages=launch.stages,
        )
    return output.transpose(1, 2)
