"""Copies between host and device."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

from activesam_ros.segmentation.device.transfer import Transfer

CPU = torch.device("cpu")
META = torch.device("meta")


class Allocator:
    """Host memory that counts how often it was asked for; refused after ``most`` times."""

    def __init__(self, most: int) -> None:
        self.left = most
        self.made: list[Tensor] = []

    def __call__(self, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        if not self.left:
            raise RuntimeError("cannot lock memory\nat 0x1")
        self.left -= 1
        self.made.append(torch.empty(shape, dtype=dtype))
        return self.made[-1]


def test_nothing_is_copied_on_a_cpu() -> None:
    host = torch.arange(3)
    transfer = Transfer(CPU)
    assert transfer.send(host) is host
    assert transfer.receive(host)[0] is host


def test_what_is_sent_may_be_changed_at_once() -> None:
    """The device reads a copy of its own, and what is sent keeps shape and dtype."""
    allocator = Allocator(2)
    host = torch.arange(6, dtype=torch.uint8).view(2, 3).T
    sent = Transfer(META, allocator).send(host)
    assert (sent.device, sent.shape, sent.dtype) == (META, host.shape, host.dtype)
    (pinned,) = allocator.made
    assert torch.equal(pinned, host)
    assert pinned.data_ptr() != host.data_ptr()


def test_results_land_in_memory_of_their_own() -> None:
    allocator = Allocator(2)
    first, second = torch.rand(2, 3), torch.arange(4, dtype=torch.int32)
    landed = Transfer(CPU, allocator).receive(first, second)
    assert all(ours is pinned for ours, pinned in zip(landed, allocator.made, strict=True))
    assert torch.equal(landed[0], first)
    assert torch.equal(landed[1], second)


def test_where_memory_cannot_be_pinned_copies_wait(caplog: pytest.LogCaptureFixture) -> None:
    allocator = Allocator(1)
    transfer = Transfer(CPU, allocator)
    values = torch.rand(2), torch.rand(3)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            for ours, expected in zip(transfer.receive(*values), values, strict=True):
                assert torch.equal(ours, expected)
    assert len(allocator.made) == 1
    assert ["RuntimeError: cannot lock memory)" in line for line in caplog.messages] == [True]
    assert Transfer(META, Allocator(0)).send(values[0]).device == META


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_through_pinned_memory_and_back() -> None:
    transfer = Transfer(torch.device("cuda"))
    values = torch.rand(1000, 1000)
    (back,) = transfer.receive(transfer.send(values))
    assert torch.equal(back, values)
    assert back.is_pinned()
