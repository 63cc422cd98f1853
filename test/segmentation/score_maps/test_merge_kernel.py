"""The kernel that merges score maps: interpreted against plain PyTorch, and compiled for GPUs."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from activesam_ros.segmentation.background import Background
from activesam_ros.segmentation.fuse import ClassScores
from activesam_ros.segmentation.score_maps.kernel_or_loop import ScoreMerge
from activesam_ros.segmentation.score_maps.tiles import Axis
from activesam_ros.segmentation.score_maps.weighted_maps import BestTwo, WeightedMaps

pytest.importorskip("triton")
from activesam_ros.segmentation.score_maps import merge_kernel

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
NO_BACKGROUND = Background(0.0, None)
MARGIN_AWARE = Background(0.4, 1.25)
sides = st.integers(1, 70)


class Watched:
    """The Triton kernel, counting what it merged."""

    def __init__(self) -> None:
        self.merged = 0

    def __call__(
        self, so_far: BestTwo, classes: Tensor, maps: WeightedMaps, rows: Axis, columns: Axis
    ) -> None:
        merge_kernel.launch(so_far, classes, maps, rows, columns)
        self.merged += 1


def interpreted() -> ScoreMerge:
    """The Triton kernel on any device, compared with nothing: its results are what is kept."""
    return ScoreMerge(merge_kernel.launch, compares=False)


class Never(ScoreMerge):
    """No kernel: every map by itself."""

    def fits(self, device: torch.device) -> bool:
        return False


def offsets(maps: Tensor) -> Tensor:
    """Of each map, none of the first of a query."""
    return torch.arange(maps.shape[1]).div(4).expand(maps.shape[:2])


def totals(
    groups: list[tuple[list[int], Tensor, Tensor]],
    size: tuple[int, int],
    background: Background,
    merge: ScoreMerge,
) -> ClassScores:
    """Groups of (classes, maps [P, N, h, w], weights [P, N]) merged one after the other."""
    scores = ClassScores(size, DEVICE, background)
    for classes, maps, weights in groups:
        index = torch.tensor(classes, dtype=torch.int32, device=DEVICE)
        parts = (part.to(DEVICE) for part in (maps, offsets(maps), weights))
        scores.add_weighted_maps(index, WeightedMaps.of(*parts), merge)
    return scores


def random_groups(
    seed: int, queries: list[int], maps: tuple[int, int], dtype: torch.dtype
) -> list[tuple[list[int], Tensor, Tensor]]:
    """Queries of these classes in groups of three, five maps each of which some do not count."""
    generator = torch.Generator().manual_seed(seed)
    groups = []
    for start in range(0, len(queries), 3):
        classes = queries[start : start + 3]
        offset = 4 * torch.randn(len(classes), 5, 1, 1, generator=generator)
        logits = 3 * torch.randn(len(classes), 5, *maps, generator=generator) + offset
        weights = torch.rand(len(classes), 5, generator=generator)
        weights *= torch.rand(len(classes), 5, generator=generator) > 0.4
        groups.append((classes, logits.to(dtype), weights))
    return groups


def oracle(groups: list[tuple[list[int], Tensor, Tensor]], size: tuple[int, int]) -> Tensor:
    """The score of every class, and of two that never arrive, [classes, H, W]."""
    scores = torch.zeros(max(max(classes) for classes, _, _ in groups) + 3, *size)
    for classes, maps, weights in groups:
        logits = maps.float() + offsets(maps)[..., None, None]
        enlarged = F.interpolate(logits, size=size, mode="bilinear").sigmoid()
        for index, score in zip(
            classes, (enlarged * weights[..., None, None]).amax(1), strict=True
        ):
            scores[index] = scores[index].maximum(score)
    return scores


@settings(max_examples=30)
@given(
    queries=st.lists(st.integers(0, 4), min_size=1, max_size=7),
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=st.tuples(sides, sides),
    background=st.sampled_from((NO_BACKGROUND, Background(0.3, None), MARGIN_AWARE)),
    dtype=st.sampled_from((torch.float32, torch.bfloat16, torch.float16)),
    seed=st.integers(0, 2**31),
)
def test_the_kernel_merges_what_the_formulas_say(
    queries: list[int],
    grid: tuple[int, int],
    size: tuple[int, int],
    background: Background,
    dtype: torch.dtype,
    seed: int,
) -> None:
    groups = random_groups(seed, queries, grid, dtype)
    kernel = Watched()
    found = totals(groups, size, background, ScoreMerge(kernel, compares=False))
    assert kernel.merged == len(groups)
    scores = oracle(groups, size)
    best, second = scores.topk(2, dim=0).values
    torch.testing.assert_close(found.best.cpu(), best, rtol=0, atol=1e-4)
    if background.needs_second:
        torch.testing.assert_close(found.second.cpu(), second, rtol=0, atol=1e-4)
    clear = best - second > 1e-4
    assert torch.equal(found.index.cpu()[clear].long(), scores.argmax(dim=0)[clear])


@pytest.mark.parametrize("background", [NO_BACKGROUND, MARGIN_AWARE])
def test_the_first_of_equal_classes_wins_whenever_it_comes(background: Background) -> None:
    generator = np.random.default_rng(0)
    # Maps of the image's size are not interpolated, and of few levels: most pixels are tied.
    maps = torch.from_numpy(generator.integers(-2, 2, (6, 1, 40, 35)).astype(np.float32))
    groups = [([4, 2, 4], maps[:3], torch.ones(3, 1)), ([3, 0, 2], maps[3:], torch.ones(3, 1))]
    found = totals(groups, (40, 35), background, interpreted())
    scores = oracle(groups, (40, 35))
    assert torch.equal(found.index.cpu().long(), scores.argmax(dim=0))
    if background.needs_second:
        second = scores.topk(2, dim=0).values[1]
        torch.testing.assert_close(found.second.cpu(), second, rtol=0, atol=1e-6)


def test_queries_without_maps_change_nothing() -> None:
    groups = random_groups(0, [3, 1, 2], (5, 6), torch.float32)
    nothing = ([0, 1], torch.full((2, 5, 5, 6), 20.0), torch.zeros(2, 5))
    for background in (NO_BACKGROUND, MARGIN_AWARE):
        alone = totals(groups, (33, 40), background, interpreted())
        with_them = totals([nothing, *groups, nothing], (33, 40), background, interpreted())
        for name in ("best", "second", "index"):
            assert torch.equal(getattr(alone, name), getattr(with_them, name))
        empty = totals([nothing], (33, 40), background, interpreted())
        assert not empty.best.any()
        assert not empty.index.any()


@pytest.mark.parametrize("background", [NO_BACKGROUND, MARGIN_AWARE])
def test_what_is_no_number_spreads_as_without_the_kernel(background: Background) -> None:
    first, second = random_groups(1, [2, 1, 3, 0], (6, 6), torch.float32)
    first[1][1, 0, 2, 3] = torch.nan  # a cell of a map
    first[2][1, 0] = 1.0
    groups = [first, second]
    for nan_weight in (False, True):
        if nan_weight:
            second[2][0] = torch.nan  # all of a query
        ours = totals(groups, (50, 40), background, interpreted())
        expected = totals(groups, (50, 40), background, Never())
        for name in ("best", "second"):
            found, wanted = getattr(ours, name), getattr(expected, name)
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6, equal_nan=True)
        assert torch.equal(ours.index, expected.index)
        assert ours.best.isnan().any()
        assert ours.best.isnan().all() == nan_weight


def test_maps_that_cannot_matter_are_not_read() -> None:
    """In a tile that two classes hold; what is no number there would show."""
    high = torch.full((2, 1, 4, 4), 9.0)
    low = torch.full((1, 1, 4, 4), torch.nan)
    strong = ([0, 1], high, torch.tensor([[0.9], [0.8]]))
    for background in (NO_BACKGROUND, MARGIN_AWARE):
        alone = totals([strong], (64, 32), background, interpreted())
        for weight, is_read in ((0.5, False), (0.95, True)):
            more = ([2], low, torch.tensor([[weight]]))
            found = totals([strong, more], (64, 32), background, interpreted())
            assert torch.equal(found.best, alone.best) != is_read
            assert torch.equal(found.second, alone.second) or is_read
            assert found.best.isnan().all() == is_read


def test_a_kernel_that_fails_is_said_once_and_left(caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise ValueError("no ptxas\nlong story")

    merge = ScoreMerge(broken)
    assert merge.fits(DEVICE)
    groups = random_groups(2, [1, 0, 2, 2], (5, 4), torch.float32)
    with caplog.at_level(logging.WARNING):
        found = totals(groups, (20, 31), MARGIN_AWARE, merge)
    assert not merge.fits(DEVICE)
    (record,) = caplog.records
    assert "ValueError: no ptxas)" in record.getMessage()
    torch.testing.assert_close(found.best.cpu(), oracle(groups, (20, 31)).amax(0))


@pytest.mark.parametrize("background", [NO_BACKGROUND, MARGIN_AWARE])
def test_the_first_result_of_a_kind_is_compared(
    background: Background, caplog: pytest.LogCaptureFixture
) -> None:
    groups = random_groups(3, [1, 0, 2, 2, 3, 1, 0], (5, 4), torch.float32)
    kernel = Watched()
    merge = ScoreMerge(kernel)
    expected = oracle(groups, (20, 31))
    with caplog.at_level(logging.WARNING):
        found = totals(groups, (20, 31), background, merge)
    assert merge.fits(DEVICE)
    assert kernel.merged == len(groups)
    torch.testing.assert_close(found.best.cpu(), expected.amax(0), rtol=0, atol=1e-4)
    assert not caplog.records


@pytest.mark.parametrize("part", ["best", "second", "index"])
def test_a_kernel_that_gives_something_else_is_not_used(
    part: str, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(
        so_far: BestTwo, classes: Tensor, maps: WeightedMaps, rows: Axis, columns: Axis
    ) -> None:
        merge_kernel.launch(so_far, classes, maps, rows, columns)
        getattr(so_far, part)[:3, :8] += 1

    groups = random_groups(3, [1, 0, 2, 2, 3, 1, 0], (5, 4), torch.float32)
    merge = ScoreMerge(wrong)
    with caplog.at_level(logging.WARNING):
        found = totals(groups, (20, 31), MARGIN_AWARE, merge)
    assert not merge.fits(DEVICE)
    assert ["differs from" in line for line in caplog.messages] == [True]
    scores = oracle(groups, (20, 31))
    best, second = scores.topk(2, dim=0).values
    torch.testing.assert_close(found.best.cpu(), best, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.second.cpu(), second, rtol=0, atol=1e-4)
    clear = best - second > 1e-4
    assert torch.equal(found.index.cpu()[clear].long(), scores.argmax(dim=0)[clear])


def test_running_out_of_memory_is_not_the_kernels_failure() -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("full")

    merge = ScoreMerge(full)
    with pytest.raises(torch.OutOfMemoryError):
        totals(random_groups(2, [1], (5, 4), torch.float32), (20, 31), NO_BACKGROUND, merge)
    assert merge.fits(DEVICE)


def test_without_a_gpu_the_kernel_is_not_loaded() -> None:
    assert not ScoreMerge().fits(torch.device("cpu"))


COMPILE_SCRIPT = """
import itertools, json, re, subprocess, tempfile
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from activesam_ros.segmentation.score_maps.merge_kernel import WARPS, merge_kernel
from activesam_ros.segmentation.score_maps.tiles import TILE

POINTERS = {
    "best_ptr": "fp32", "second_ptr": "fp32", "index_ptr": "i32", "classes_ptr": "i32",
    "offsets_ptr": "fp32", "weights_ptr": "fp32", "order_ptr": "i64",
    "counts_ptr": "i32",
    "row_cell_ptr": "i64", "row_share_ptr": "fp32",
    "column_cell_ptr": "i64", "column_share_ptr": "fp32",
}
found = []
for capability, maps, needs_second in itertools.product(
    (80, 87, 89, 90), ("bf16", "fp32"), (False, True)
):
    constants = {"needs_second": needs_second, "tile": TILE, "ranks": 256}
    signature = {
        name: "*" + POINTERS.get(name, maps) if name.endswith("_ptr") else
        "constexpr" if name in constants else "i32"
        for name in merge_kernel.arg_names
    }
    source = ASTSource(merge_kernel, signature, constants)
    source.attrs = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(merge_kernel.arg_names) if name.endswith("_ptr")
    }
    compiled = triton.compile(
        source,
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": WARPS, "enable_fp_fusion": True},
    )
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        tool = triton.knobs.nvidia.cuobjdump.path
        usage = subprocess.run(
            [tool, "--dump-resource-usage", file.name], check=True, capture_output=True, text=True
        ).stdout
    found.append({name: int(number) for name, number in re.findall("([A-Z]+):([0-9]+)", usage)})
print(json.dumps(found))
"""


def test_it_compiles_for_gpus() -> None:
    """For compute capability 8.0, 8.7, 8.9 and 9.0."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", COMPILE_SCRIPT]
    result = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    usages = json.loads(result.stdout)
    assert len(usages) == 16
    for usage in usages:
        assert 0 < usage["REG"] <= 80  # three programs of 256 threads at once; 3.9 takes 64, 3.6 78
        assert usage["STACK"] + usage["LOCAL"] <= 16  # a pointer or two, from before the loops on
        assert usage["SHARED"] <= 1024
