"""Which way the decoder's attention to the image takes, and that it computes the same."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from activesam_ros.demo.untrained import UNTRAINED_CONFIG
from activesam_ros.sam3.box_attention import (
    Attention,
    BoxBias,
    CheckedKernel,
    box_attention,
    formed_bias_attention,
    fused_attention,
)
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.decoder import Decoder, FusedScene

PAIRS, HEIGHT, WIDTH = 3, 7, 11


def projections(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, BoxBias]:
    """Of 5 boxes and two heads."""
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(PAIRS, 2, 6, 16, generator=generator)
    key, value = torch.randn(2, PAIRS, 2, HEIGHT * WIDTH, 16, generator=generator).unbind()
    vertical = 3 * torch.randn(PAIRS, 2, 5, HEIGHT, generator=generator)
    horizontal = 3 * torch.randn(PAIRS, 2, 5, WIDTH, generator=generator)
    return query, key, value, BoxBias(vertical, horizontal)


def written_out(query: Tensor, key: Tensor, value: Tensor, bias: BoxBias) -> Tensor:
    """The definition, a key at a time."""
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    for place in range(HEIGHT * WIDTH):
        row, column = divmod(place, WIDTH)
        scores[:, :, 1:, place] += bias.vertical[..., row] + bias.horizontal[..., column]
    attended: Tensor = scores.softmax(dim=-1) @ value
    return attended


def decoder(
    attend_image: Attention = box_attention, config: Sam3Config = UNTRAINED_CONFIG
) -> Decoder:
    """With boxes that move: as it is made, the last layer of the box head is zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Decoder(config, attend_image)
        last = made.bbox_embed.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.xavier_uniform_(last.weight)
    return made.requires_grad_(False)


def scene(height: int = HEIGHT, columns: int = WIDTH) -> FusedScene:
    generator = torch.Generator().manual_seed(0)
    width = UNTRAINED_CONFIG.d_model
    memory = torch.randn(PAIRS, height * columns, width, generator=generator)
    prompt_mask = torch.ones(PAIRS, 1, 1, 4, dtype=torch.bool)
    prompt_mask[1, ..., 2:] = False
    return FusedScene(
        memory=memory,
        located_memory=memory + torch.randn(height * columns, width, generator=generator),
        prompt=torch.randn(PAIRS, 4, width, generator=generator),
        prompt_mask=prompt_mask,
        height=height,
        width=columns,
    )


@pytest.mark.parametrize("most_values", [1, 2 * 2 * 6 * HEIGHT * WIDTH, 1 << 24])
def test_any_number_of_pairs_at_a_time_gives_the_same(most_values: int) -> None:
    """One pair at a time, two, and all."""
    attended = formed_bias_attention(*projections(), most_values)
    torch.testing.assert_close(attended, written_out(*projections()), rtol=1e-5, atol=1e-5)


def test_on_a_cpu_the_bias_is_formed() -> None:
    assert torch.equal(box_attention(*projections()), formed_bias_attention(*projections()))


@torch.inference_mode()
def test_a_decoder_in_parts_equals_the_whole() -> None:
    parts = decoder(partial(formed_bias_attention, most_values=1))(scene())
    for part, expected in zip(parts, decoder()(scene()), strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-4, atol=1e-4)


def formed(
    query: Tensor, key: Tensor, value: Tensor, vertical: Tensor, horizontal: Tensor
) -> Tensor:
    """A kernel that forms the bias."""
    return formed_bias_attention(query, key, value, BoxBias(vertical, horizontal))


def test_every_layer_reads_the_image_as_told() -> None:
    shapes: list[tuple[Any, ...]] = []

    def attend(query: Tensor, key: Tensor, value: Tensor, bias: BoxBias) -> Tensor:
        shapes.append((query.shape[2], key.shape[2], *(term.shape[2:] for term in bias)))
        return formed_bias_attention(query, key, value, bias)

    decoder(attend)(scene())
    queries = UNTRAINED_CONFIG.num_queries
    each = (1 + queries, HEIGHT * WIDTH, (queries, HEIGHT), (queries, WIDTH))
    assert shapes == [each] * UNTRAINED_CONFIG.decoder_layers


def test_a_kernel_that_agrees_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    """Its own result is given, which here differs by a little."""

    def near(*tensors: Tensor) -> Tensor:
        return 1.01 * formed(*tensors)

    query, key, value, bias = projections()
    attended = CheckedKernel(near)(query, key, value, *bias)
    assert torch.equal(attended, 1.01 * formed_bias_attention(query, key, value, bias))
    assert not caplog.messages


def broken(*_: Tensor) -> Tensor:
    raise RuntimeError("no compiler\nand more lines")


def wrong(
    query: Tensor, key: Tensor, value: Tensor, vertical: Tensor, horizontal: Tensor
) -> Tensor:
    """Forgets the columns."""
    return formed(query, key, value, vertical, 0 * horizontal)


def undefined(*tensors: Tensor) -> Tensor:
    return formed(*tensors) * torch.nan


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (broken, "(RuntimeError: no compiler)."),
        (wrong, "(DisagreementError: its result has a relative error of"),
        (undefined, "(DisagreementError: its result has a relative error of nan)."),
    ],
)
def test_after_a_failure_the_bias_is_formed_and_the_log_says_so_once(
    kernel: Callable[..., Tensor], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[int] = []

    def counted(*tensors: Tensor) -> Tensor:
        tried.append(1)
        return kernel(*tensors)

    checked = CheckedKernel(counted)
    for seed in range(2):
        query, key, value, bias = projections(seed)
        attended = checked(query, key, value, *bias)
        assert torch.equal(attended, formed_bias_attention(query, key, value, bias))
        assert attended.transpose(1, 2).is_contiguous(), "what compilers are told"
    assert tried == [1]
    (message,) = caplog.messages
    assert reason in message
    assert "box bias is formed instead" in message


def test_a_kernel_is_checked_once_for_a_shape_and_dtype(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """So not from the second pair or call on, where a check would wait for a GPU."""
    works = True

    def kernel(*tensors: Tensor) -> Tensor:
        return formed(*tensors) if works else wrong(*tensors)

    checked = CheckedKernel(kernel)
    query, key, value, bias = projections()
    checked(query, key, value, *bias)
    works = False
    attended = checked(query[:2], key[:2], value[:2], *(term[:2] for term in bias))
    assert torch.equal(attended, wrong(query[:2], key[:2], value[:2], *(term[:2] for term in bias)))
    assert not caplog.messages
    fewer = query[:, :, :-1], key, value, *(term[:, :, :-1] for term in bias)
    assert torch.equal(checked(*fewer), formed(*fewer))
    assert len(caplog.messages) == 1


def test_inputs_without_a_result_are_not_held_against_a_kernel(
    caplog: pytest.LogCaptureFixture,
) -> None:
    query, key, value, bias = projections()
    assert CheckedKernel(formed)(query, key, value * torch.inf, *bias).isnan().any()
    assert not caplog.messages


def test_a_kernel_that_runs_out_of_memory_is_no_reason_for_another_way() -> None:
    def full(*_: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    query, key, value, bias = projections()
    with pytest.raises(torch.OutOfMemoryError):
        CheckedKernel(full)(query, key, value, *bias)


def test_where_gradients_are_wanted_there_are_some() -> None:
    query, key, value, bias = projections()
    bias.vertical.requires_grad_()
    box_attention(query, key, value, bias).sum().backward()
    assert bias.vertical.grad is not None
    assert bias.vertical.grad.abs().max() > 0


class Operators(TorchDispatchMode):
    """Notes the operators called, and the largest tensor that one gave."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []
        self.largest = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.names.append(func.name())
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.largest = max(self.largest, *sizes, 0)
        return result


@torch.inference_mode()
@pytest.mark.parametrize("presence_alone", [False, True])
def test_with_the_kernel_no_bias_is_formed_and_no_value_read(presence_alone: bool) -> None:
    """On tensors without values: reading one, which makes a host wait for its GPU, would fail."""
    seen = scene(24, 24)
    there = seen._replace(
        memory=seen.memory.to("meta"),
        located_memory=seen.located_memory.to("meta"),
        prompt=seen.prompt.to("meta"),
        prompt_mask=seen.prompt_mask.to("meta"),
    )
    config = dataclasses.replace(UNTRAINED_CONFIG, num_queries=40)
    made = decoder(fused_attention, config).to("meta")
    with Operators() as operators:
        output = made.presence(there) if presence_alone else made(there).boxes
    assert output.is_meta
    biased = config.decoder_layers - presence_alone
    assert operators.names.count("activesam_ros::box_attention") == biased
    one_bias = config.attention_heads * config.num_queries * 24 * 24
    assert operators.largest < PAIRS * one_bias


WITHOUT_TRITON = """
import logging, sys
logging.basicConfig()
sys.modules["triton"] = None
import torch
from activesam_ros.sam3.box_attention import BoxBias, formed_bias_attention, fused_attention
query, key, value = torch.randn(1, 2, 3, 16), torch.randn(1, 2, 4, 16), torch.randn(1, 2, 4, 16)
bias = BoxBias(torch.randn(1, 2, 2, 2), torch.randn(1, 2, 2, 2))
attended = fused_attention(query, key, value, bias)
assert torch.equal(attended, formed_bias_attention(query, key, value, bias))
"""


def test_triton_is_optional() -> None:
    command = [sys.executable, "-c", WITHOUT_TRITON]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "ModuleNotFoundError: import of triton halted" in result.stderr
