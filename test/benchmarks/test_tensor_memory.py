"""Bytes of tensors that are alive at once."""

from __future__ import annotations

import torch

from benchmarks.tensor_memory import peak_mib

CPU = torch.device("cpu")
MIB = 2**18  # float32


def test_what_is_freed_makes_room() -> None:
    def work() -> None:
        for _ in range(5):
            first = torch.zeros(MIB)
            second = first + 1
            del first, second

    assert peak_mib(work, CPU) == 2


def test_views_and_what_was_there_before_take_nothing() -> None:
    before = torch.zeros(4, MIB)

    def work() -> None:
        part = before.T[:10].view(10, 4)
        part += 1
        assert peak_mib(lambda: before[0] * 2, CPU) == 1

    assert peak_mib(work, CPU) == 1


def test_all_that_is_alive_is_added_up() -> None:
    with torch.inference_mode():
        assert peak_mib(lambda: [torch.ones(MIB) for _ in range(7)], CPU) == 7
