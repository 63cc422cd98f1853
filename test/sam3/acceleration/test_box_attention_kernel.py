"""The fused kernel of attention with a box bias: interpreted without a GPU, and compiled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from activesam_ros.demo.untrained import UNTRAINED_CONFIG
from activesam_ros.errors import MissingDependencyError
from activesam_ros.sam3.box_attention import (
    Attention,
    BoxBias,
    formed_bias_attention,
    fused_attention,
)
from activesam_ros.sam3.decoder import Decoder, FusedScene

pytest.importorskip("triton")

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TOLERANCE = 1e-5


def projections(
    pairs: int,
    heads: int,
    queries: int,
    grid: tuple[int, int],
    width: int,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor, Tensor, BoxBias]:
    """Laid out as the decoder's layers give them: heads inside the tokens, and innermost."""
    generator = torch.Generator().manual_seed(queries)

    def projected(tokens: int) -> Tensor:
        x = torch.randn(pairs, tokens, heads, width, generator=generator)
        return x.to(DEVICE, dtype).transpose(1, 2)

    def terms(length: int) -> Tensor:
        x = 3 * torch.randn(pairs, queries, length, heads, generator=generator)
        return x.to(DEVICE, dtype).permute(0, 3, 1, 2)

    tokens = grid[0] * grid[1]
    bias = BoxBias(terms(grid[0]), terms(grid[1]))
    return projected(1 + queries), projected(tokens), projected(tokens), bias


def kernel(query: Tensor, key: Tensor, value: Tensor, bias: BoxBias) -> Tensor:
    """Without anything to fall back on."""
    from activesam_ros.sam3.acceleration.box_attention_kernel import fused_box_attention

    return fused_box_attention(query, key, value, *bias)


def in_float32(query: Tensor, key: Tensor, value: Tensor, bias: BoxBias) -> Tensor:
    return formed_bias_attention(
        query.float(), key.float(), value.float(), BoxBias(*(term.float() for term in bias))
    )


def assert_close(query: Tensor, key: Tensor, value: Tensor, bias: BoxBias) -> None:
    attended = kernel(query, key, value, bias)
    expected = in_float32(query, key, value, bias)
    assert attended.shape == expected.shape
    torch.testing.assert_close(attended, expected, rtol=TOLERANCE, atol=TOLERANCE)


@hypothesis.settings(max_examples=25)
@given(
    pairs=st.integers(1, 3),
    heads=st.integers(1, 3),
    queries=st.integers(0, 40),
    grid=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    width=st.sampled_from([4, 8, 16, 24, 32, 64]),
)
def test_any_shape_in_float32(
    pairs: int, heads: int, queries: int, grid: tuple[int, int], width: int
) -> None:
    assert_close(*projections(pairs, heads, queries, grid, width))


@pytest.mark.parametrize("queries", [20, 200])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rounds_weights_and_result_alone(dtype: torch.dtype, queries: int) -> None:
    """Scores and sums are in float32, which a formed bias, itself rounded, is not."""
    given_tensors = projections(2, 2, queries, (9, 13), 32, dtype)
    attended = kernel(*given_tensors)
    expected = in_float32(*given_tensors)
    assert attended.dtype == dtype
    # Two roundings, each of an epsilon at most, of what is no larger than the largest value.
    bound = 2 * torch.finfo(dtype).eps * given_tensors[2].abs().max()
    assert (attended.float() - expected).abs().max() <= bound


def test_any_strides() -> None:
    """Contiguous; the same element for many; every other one; back to front in memory."""
    query, key, value, bias = projections(2, 3, 17, (6, 10), 16)
    contiguous = BoxBias(*(term.contiguous() for term in bias))
    assert_close(query.contiguous(), key.contiguous(), value.contiguous(), contiguous)
    assert_close(query, key[:1].expand_as(key), value[:, :1].expand_as(value), bias)
    spread = torch.stack((query, query), dim=-1)[..., 0]
    assert spread.stride(-1) == 2
    rows = bias.vertical.transpose(-1, -2).contiguous().transpose(-1, -2)
    assert_close(
        spread,
        key,
        value.transpose(-1, -2).contiguous().transpose(-1, -2),
        BoxBias(rows, bias.horizontal),
    )


def test_large_scores_do_not_overflow() -> None:
    query, key, value, bias = projections(1, 2, 9, (9, 9), 16)
    assert_close(100 * query, key, value, BoxBias(1000 * bias.vertical, bias.horizontal))


def test_the_operator_is_what_it_tells_compilers() -> None:
    """Its schema, the strides of its result, and that it changes no input."""
    query, key, value, bias = projections(2, 2, 5, (3, 4), 16)
    operator = torch.ops.activesam_ros.box_attention.default
    torch.library.opcheck(operator, (query, key, value, *bias))


@pytest.mark.parametrize("width", [65, 128])
def test_wider_heads_are_refused(width: int) -> None:
    query, key, value, bias = projections(1, 1, 2, (2, 2), width)
    with pytest.raises(MissingDependencyError, match=f"up to 64 wide .* not {width}"):
        kernel(query, key, value, bias)


def decoder(attention: Attention) -> Decoder:
    """With boxes that move: as it is made, the last layer of the box head is zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Decoder(UNTRAINED_CONFIG, attention)
        last = made.bbox_embed.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.xavier_uniform_(last.weight)
    return made.requires_grad_(False).to(DEVICE)


def scene(pairs: int) -> FusedScene:
    generator = torch.Generator().manual_seed(pairs)
    width, height, columns = UNTRAINED_CONFIG.d_model, 7, 11
    memory = torch.randn(pairs, height * columns, width, generator=generator).to(DEVICE)
    return FusedScene(
        memory=memory,
        located_memory=memory.flip(1),
        prompt=torch.randn(pairs, 4, width, generator=generator).to(DEVICE),
        prompt_mask=torch.ones(pairs, 1, 1, 4, dtype=torch.bool, device=DEVICE),
        height=height,
        width=columns,
    )


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name.startswith("activesam_ros")]


@torch.inference_mode()
def test_a_whole_decoder_gives_the_same(caplog: pytest.LogCaptureFixture) -> None:
    fused, plain = decoder(fused_attention), decoder(formed_bias_attention)
    for ours, expected in zip(fused(scene(3)), plain(scene(3)), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fused.presence(scene(3)), plain.presence(scene(3)))
    assert not warnings(caplog)


@torch.inference_mode()
def test_a_compiled_layer_holds_the_kernel(caplog: pytest.LogCaptureFixture) -> None:
    """Without a break in its graph, and whatever the number of pairs."""
    torch.compiler.reset()  # what other tests compiled of the same layers counts towards a limit
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    plain, fused = decoder(formed_bias_attention), decoder(fused_attention)
    for layer in fused.layers:
        layer.compile(backend=backend, fullgraph=True, dynamic=True)
    for pairs in (2, 3, 4):
        for ours, expected in zip(fused(scene(pairs)), plain(scene(pairs)), strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    operators = [[str(node.target) for node in graph.graph.nodes] for graph in graphs]
    assert operators
    assert all("activesam_ros.box_attention.default" in names for names in operators)
    assert not warnings(caplog)


COMPILE = """
import json, subprocess, sys, tempfile
from pathlib import Path
import torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from activesam_ros.sam3.acceleration.box_attention_kernel import SIDE, Launch, box_attention_kernel

def usage(capability, width, tokens, dtype):
    launch = Launch.of(tokens, getattr(torch, dtype))
    pointers = {"query", "key", "value", "vertical", "horizontal", "output"}
    constants = {
        "HEAD_WIDTH": width, "CHANNELS": width, "QUERIES": launch.queries, "SIDE": SIDE,
        "WIDEN": False,
        # strides of one, as the projections and the bias of the decoder have them
        "query_channel": 1, "key_channel": 1, "value_channel": 1,
        "vertical_head": 1, "horizontal_head": 1,
    }
    pointer = "*" + {"bfloat16": "bf16", "float32": "fp32"}[dtype]
    signature, divisible = {}, {}
    for index, name in enumerate(box_attention_kernel.arg_names):
        kind = pointer if name in pointers else "i32"
        signature[name] = "constexpr" if name in constants else kind
        is_stride = name.startswith(("query_", "key_", "value_"))
        if name in pointers or is_stride and name not in constants:
            divisible[(index,)] = [["tt.divisibility", 16]]
    compiled = triton.compile(
        ASTSource(box_attention_kernel, signature, constants, divisible),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": launch.warps, "num_stages": launch.stages},
    )
    bundled = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        command = [bundled, "-res-usage", file.name]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    words = [word for word in text.split() if word.startswith(("REG:", "STACK:", "LOCAL:"))]
    ptx = compiled.asm["ptx"]
    return {
        "shared": compiled.metadata.shared,
        "matrix_instructions": ptx.count("mma.sync") + ptx.count("wgmma.mma_async"),
        **{name.lower(): int(value) for name, value in (word.split(":") for word in words)},
    }

print(json.dumps([usage(*case) for case in json.loads(sys.argv[1])]))
"""
# (compute capability, width of a head, queries and the presence token, dtype)
CASES = (
    (80, 32, 201, "bfloat16"),
    (87, 32, 201, "bfloat16"),
    (89, 32, 201, "bfloat16"),
    (90, 32, 201, "bfloat16"),
    (80, 64, 201, "bfloat16"),
    (90, 64, 201, "bfloat16"),
    (80, 32, 201, "float32"),
    (90, 64, 201, "float32"),
    (89, 16, 33, "bfloat16"),
)


def test_it_compiles_without_spilling() -> None:
    """Registers that do not fit would lie on the stack."""
    command = [sys.executable, "-c", COMPILE, json.dumps(CASES)]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    for (capability, width, _, dtype), usage in zip(CASES, json.loads(result.stdout), strict=True):
        case = f"{capability}, {width} wide, {dtype}: {usage}"
        assert usage["stack"] == usage["local"] == 0, case
        # What one program may have where that is least, at 8.6 and 8.9.
        assert usage["shared"] <= 99 * 1024, case
        assert (usage["matrix_instructions"] > 0) == (dtype != "float32"), case
