"""Recordings by shape: what is copied, what is replayed, what is forgotten."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from activesam_ros.sam3.acceleration import cuda_graphs
from activesam_ros.sam3.acceleration.cuda_graphs import Recordings, leaves, mapped, signature
from activesam_ros.sam3.model import Prompts


class CpuRecorder:
    """Stands for CUDA graphs: a replay computes from the inputs held into the outputs held."""

    def __init__(self) -> None:
        self.recorded = 0
        self.replayed = 0

    def __call__(self, run: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        self.recorded += 1
        outputs = run()
        held = list(leaves(outputs))

        def replay() -> None:
            self.replayed += 1
            for old, new in zip(held, leaves(run()), strict=True):
                old.copy_(new)

        return outputs, replay


def prompts(count: int, fill: float = 0.0) -> Prompts:
    return Prompts(torch.full((count, 3, 2), fill), torch.zeros(count, 3, dtype=torch.bool))


def doubled(inputs: tuple[Tensor, Prompts]) -> Prompts:
    scale, given = inputs
    return Prompts(given.tokens * scale, ~given.padding)


def call(recordings: Recordings, name: str, run: Callable[[Any], Any], arguments: object) -> Any:
    recording = recordings.find_or_make(name, run, arguments)
    assert recording is not None
    return recordings.replay(recording, arguments)


def test_leaves_and_what_is_made_of_them() -> None:
    value = (prompts(2), (torch.ones(1), None, 3))
    assert [part.numel() for part in leaves(value)] == [12, 6, 1]
    other = mapped(value, lambda part: part + 1 if part.is_floating_point() else part)
    assert isinstance(other[0], Prompts)
    assert other[0].tokens.eq(1).all()
    assert other[1][0].eq(2).all()
    assert other[1][1:] == (None, 3)


def test_a_signature_tells_shapes_dtypes_and_numbers_apart() -> None:
    same = [(prompts(2, fill), 5) for fill in (0.0, 1.0)]
    assert signature(same[0]) == signature(same[1])
    others = [(prompts(3), 5), (prompts(2), 6), (prompts(2).tokens, 5), (prompts(2), None)]
    narrow = Prompts(prompts(2).tokens.half(), prompts(2).padding)
    assert len({signature(value) for value in (*others, same[0], (narrow, 5))}) == 6


def test_what_is_no_tensor_or_number_cannot_be_recorded() -> None:
    with pytest.raises(TypeError, match="function cannot be an input"):
        signature((torch.ones(1), test_leaves_and_what_is_made_of_them))


def test_a_call_is_recorded_once_for_each_shape_and_replayed() -> None:
    recorder = CpuRecorder()
    recordings = Recordings(recorder)
    scale = torch.tensor(2.0)
    assert not recordings.has("double", (scale, prompts(2)))
    first = call(recordings, "double", doubled, (scale, prompts(2, 1.0)))
    second = call(recordings, "double", doubled, (scale * 2, prompts(2, 3.0)))
    wider = call(recordings, "double", doubled, (scale, prompts(4, 1.0)))
    assert recordings.has("double", (scale, prompts(2)))
    assert (recorder.recorded, recorder.replayed, len(recordings)) == (2, 3, 2)
    # Outputs are copies: the later call of the same shape left the first as it was.
    assert first.tokens.eq(2).all()
    assert second.tokens.eq(12).all()
    assert wider.tokens.shape == (4, 3, 2)
    assert wider.tokens.eq(2).all()


def test_inputs_are_copied_and_stay_as_they_are() -> None:
    recordings = Recordings(CpuRecorder())
    given = prompts(2, 1.0)
    call(recordings, "double", doubled, (torch.tensor(2.0), given))
    call(recordings, "double", doubled, (torch.tensor(2.0), prompts(2, 7.0)))
    assert given.tokens.eq(1).all()


def test_the_same_shape_under_another_name_is_another_recording() -> None:
    recordings = Recordings(CpuRecorder())
    inputs = torch.tensor(2.0), prompts(2, 1.0)
    call(recordings, "double", doubled, inputs)
    found = call(recordings, "inputs", lambda value: value[1].tokens, inputs)
    assert len(recordings) == 2
    assert found.eq(1).all()


def test_the_recording_longest_unused_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "MOST_RECORDINGS", 2)
    recordings = Recordings(CpuRecorder())
    scale = torch.tensor(2.0)
    for count in (1, 2, 1, 3):
        call(recordings, "double", doubled, (scale, prompts(count)))
    kept = [recordings.has("double", (scale, prompts(count))) for count in (1, 2, 3)]
    assert kept == [True, False, True]


def test_a_recording_that_fails_leaves_nothing() -> None:
    recordings = Recordings(CpuRecorder())

    def fail(value: object) -> Tensor:
        raise RuntimeError("no such kernel")

    with pytest.raises(RuntimeError, match="no such kernel"):
        recordings.find_or_make("fail", fail, torch.ones(1))
    assert len(recordings) == 0
    assert call(recordings, "double", doubled, (torch.tensor(2.0), prompts(1))) is not None


def test_while_one_thread_records_no_other_waits() -> None:
    started, go_on = threading.Event(), threading.Event()

    def slow(inputs: tuple[Tensor, Prompts]) -> Prompts:
        started.set()
        assert go_on.wait(30)
        return doubled(inputs)

    recorder = CpuRecorder()
    recordings = Recordings(recorder)
    scale = torch.tensor(2.0)
    call(recordings, "double", doubled, (scale, prompts(1)))
    with ThreadPoolExecutor() as threads:
        made = threads.submit(recordings.find_or_make, "slow", slow, (scale, prompts(2)))
        try:
            assert started.wait(30)
            known = threads.submit(call, recordings, "double", doubled, (scale, prompts(1, 3.0)))
            assert known.result(30).tokens.eq(6).all()
            for name in ("slow", "double"):  # the same recording, and another new one
                new = threads.submit(recordings.find_or_make, name, doubled, (scale, prompts(2)))
                assert new.result(30) is None
        finally:
            go_on.set()
        assert made.result(30) is not None
    assert recordings.find_or_make("slow", slow, (scale, prompts(2))) is made.result()
    assert recorder.recorded == len(recordings) == 2
