"""Stages are timed where the network runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from activesam_ros.segmentation.device.timing import StageTimer

SECOND_GPU = torch.device("cuda", 1)


class FakeEvent:
    """Stands for a CUDA event: remembers the streams of all events, each later by 2 ms."""

    streams: list[Any]

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self, stream: Any = "of the current device") -> None:
        self.streams.append(stream)
        self._time_ms = 2.0 * len(self.streams)

    def elapsed_time(self, end: FakeEvent) -> float:
        return end._time_ms - self._time_ms


def test_stages_of_a_second_gpu_are_timed_on_its_own_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    synchronized: list[Any] = []
    FakeEvent.streams = []
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *device: synchronized.append(device))
    timer = StageTimer(SECOND_GPU)
    for _ in range(2):
        with timer.stage("decode"):
            pass
    assert timer.finish()["decode"] == 4.0
    assert FakeEvent.streams == ["stream of cuda:1"] * 4
    assert synchronized == [(SECOND_GPU,)]


def test_stages_add_up_and_a_branch_goes_on_alone() -> None:
    timer = StageTimer(torch.device("cpu"))
    with timer.stage("encode"):
        pass
    branches = [timer.branch(), timer.branch()]
    with branches[0].stage("decode"):
        pass
    first, second = (branch.finish() for branch in branches)
    assert set(first) == {"encode", "decode", "total"}
    assert set(second) == {"encode", "total"}
    assert first["encode"] == second["encode"]
