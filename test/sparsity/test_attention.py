"""Sparse attention against dense attention under the same mask."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import hypothesis
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from activesam_ros.sparsity.attention import (
    PatternAttention,
    SparsePattern,
    block_mask,
    gathered_attention,
    take,
)

CPU = torch.device("cpu")
TOLERANCE = 1e-4
# Multiples of the block and not, of the quad and not, and fewer tokens than a block has.
TOKENS = (1, 5, 36, 63, 64, 144, 169, 576, 577, 1030, 2305)
DENSITIES = (0.1, 0.3, 0.4, 0.5, 0.7, 0.99)


def dense_mask(tokens: int, block: int, density: float) -> Tensor:
    """The definition: the first floor(density x blocks) key blocks and the query's own."""
    own = torch.arange(tokens) // block
    blocks = math.ceil(tokens / block)
    return (own[None] < math.floor(density * blocks + 1e-9)) | (own[None] == own[:, None])


def projections(tokens: int, *, batch: int = 2, heads: int = 3, width: int = 16) -> list[Tensor]:
    generator = torch.Generator().manual_seed(tokens)
    return [3 * torch.randn(batch, heads, tokens, width, generator=generator) for _ in range(3)]


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("density", DENSITIES)
def test_gathering_equals_the_dense_mask(tokens: int, density: float) -> None:
    query, key, value = projections(tokens)
    pattern = SparsePattern.of(tokens, density)
    mask = dense_mask(tokens, pattern.block, density)
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    ours = gathered_attention(query, key, value, pattern)
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() < TOLERANCE
    assert pattern.density == pytest.approx(mask.float().mean().item(), abs=1e-6)


@hypothesis.settings(max_examples=40)
@given(
    tokens=st.integers(1, 200),
    block=st.integers(1, 40),
    kept=st.integers(0, 12),
    width=st.integers(1, 9),
)
def test_any_pattern_equals_its_mask(tokens: int, block: int, kept: int, width: int) -> None:
    query, key, value = projections(tokens, width=width)
    pattern = SparsePattern(tokens, block, min(kept * block, tokens))
    own = torch.arange(tokens) // block
    mask = (own[None] < kept) | (own[None] == own[:, None])
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    assert (gathered_attention(query, key, value, pattern) - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize(
    ("tokens", "block", "bar"),
    [(5184, 128, 2048), (2304, 128, 896), (576, 64, 192), (256, 32, 96), (64, 8, 24), (36, 8, 16)],
)
def test_patterns_at_density_0_4(tokens: int, block: int, bar: int) -> None:
    pattern = SparsePattern.of(tokens, 0.4)
    assert (pattern.block, pattern.bar) == (block, bar)
    assert 0.38 < pattern.density < 0.56


def test_a_density_means_what_it_says() -> None:
    assert SparsePattern.of(12800, 0.29).bar == 29 * 128


@pytest.mark.parametrize(("tokens", "density"), [(36, 0.4), (576, 0.1), (576, 0.4), (1030, 0.7)])
def test_the_kernels_mask_is_the_same(tokens: int, density: float) -> None:
    from torch.nn.attention.flex_attention import create_mask, flex_attention

    pattern = SparsePattern.of(tokens, density)
    mask = dense_mask(tokens, pattern.block, density)
    built = block_mask(pattern, CPU)
    assert torch.equal(create_mask(built.mask_mod, None, None, tokens, tokens, "cpu")[0, 0], mask)
    # No tile that the mask needs is skipped, and no other is computed.
    tiles = math.ceil(tokens / 128)
    padded = F.pad(mask, (0, tiles * 128 - tokens, 0, tiles * 128 - tokens))
    needed = padded.unflatten(0, (tiles, 128)).unflatten(2, (tiles, 128)).any(1).any(-1)
    assert torch.equal(built.to_dense()[0, 0].bool(), needed)
    query, key, value = projections(tokens)
    attended = flex_attention(query, key, value, block_mask=built)
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    assert isinstance(attended, Tensor)
    assert (attended - expected).abs().max() < TOLERANCE


def test_on_a_cpu_keys_are_gathered() -> None:
    query, key, value = projections(144)
    pattern = SparsePattern.of(144, 0.4)
    ours = PatternAttention()(query, key, value, pattern)
    assert torch.equal(ours, gathered_attention(query, key, value, pattern))


def test_a_patterns_mask_is_built_once_and_given_to_the_kernel() -> None:
    """FlexAttention without compiling it, which a CPU can do."""
    from torch.nn.attention.flex_attention import BlockMask, flex_attention

    masks: list[BlockMask] = []

    def kernel(query: Tensor, key: Tensor, value: Tensor, *, block_mask: BlockMask) -> Any:
        masks.append(block_mask)
        return flex_attention(query, key, value, block_mask=block_mask)

    attention = PatternAttention(kernel)
    for tokens in (169, 144, 169):
        query, key, value = projections(tokens)
        pattern = SparsePattern.of(tokens, 0.4)
        expected = gathered_attention(query, key, value, pattern)
        assert (attention(query, key, value, pattern) - expected).abs().max() < TOLERANCE
    assert masks[0] is masks[2]
    assert masks[0] is not masks[1]


def test_without_kernels_keys_are_gathered_and_the_log_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried: list[int] = []

    def broken(*_: Tensor, block_mask: object) -> Tensor:
        tried.append(1)
        raise RuntimeError("Cannot find a working triton installation.\nMore lines.")

    attention = PatternAttention(broken)
    query, key, value = projections(144)
    pattern = SparsePattern.of(144, 0.4)
    for _ in range(2):
        attended = attention(query, key, value, pattern)
        assert torch.equal(attended, gathered_attention(query, key, value, pattern))
    assert tried == [1]
    (message,) = caplog.messages
    assert "RuntimeError: Cannot find a working triton installation.)." in message


def test_a_kernel_that_runs_out_of_memory_is_no_reason_for_another_way() -> None:
    def full(*_: Tensor, block_mask: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    query, key, value = projections(144)
    with pytest.raises(torch.OutOfMemoryError):
        PatternAttention(full)(query, key, value, SparsePattern.of(144, 0.4))


@given(tokens=st.integers(1, 20), seed=st.integers(0, 9))
def test_tokens_are_taken_in_each_heads_order(tokens: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 3, tokens, 4, generator=generator)
    order = torch.rand(2, 3, tokens, generator=generator).argsort(dim=-1)
    strided = x.transpose(1, 2).contiguous().transpose(1, 2)
    for source in (x, strided):
        assert torch.equal(take(source, order), x.gather(2, order[..., None].expand_as(x)))


MEMORY_SCRIPT = """
import resource
import torch
from activesam_ros.sparsity.attention import SparsePattern, gathered_attention

tokens = 12_000
query, key, value = torch.randn(3, 1, 2, tokens, 16).unbind()
pattern = SparsePattern.of(tokens, 0.3)
with torch.inference_mode():
    gathered_attention(query[..., :2000, :], key[..., :2000, :], value[..., :2000, :],
                       SparsePattern.of(2000, 0.3))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gathered_attention(query, key, value, pattern)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_no_matrix_of_tokens_by_tokens_is_formed() -> None:
    """12,000 tokens: such a matrix takes 137 MiB of truth values, 549 MiB a head in float32."""
    command = [sys.executable, "-c", MEMORY_SCRIPT]
    growth_mib = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert growth_mib < 60
