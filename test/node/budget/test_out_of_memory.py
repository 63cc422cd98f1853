"""Errors that say memory ran out, and the buckets after one."""

from __future__ import annotations

import pytest
import torch

from activesam_ros.node.budget.out_of_memory import KEPT_FRAMES, BucketSizes, is_out_of_memory

CPU_ERROR = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (CPU_ERROR, True),
        (RuntimeError("shape 3 does not fit 4"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_out_of_memory_is_known(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_the_cpus_own_error_is_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_buckets_shrink_to_one_and_grow_again() -> None:
    buckets = BucketSizes()
    assert buckets.size(32) == 32
    sizes = []
    while buckets.shrink(32):
        sizes.append(buckets.size(32))
    assert sizes == [8, 2, 1]
    for _ in range(KEPT_FRAMES - 1):
        buckets.succeeded()
    assert buckets.size(32) == 1
    buckets.succeeded()
    assert buckets.size(32) == 32


def test_a_smaller_configured_size_holds() -> None:
    buckets = BucketSizes()
    assert buckets.shrink(32)
    assert buckets.size(4) == 4
