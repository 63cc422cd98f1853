"""Computations recorded once for each shape of their inputs and replayed: CUDA graphs.

A replay costs the host one call instead of hundreds of launches. It reads and writes fixed memory:
inputs are copied there, and outputs are copied before the next replay overwrites them.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import torch
from torch import Tensor

# Recordings kept; the least recently used go first. Bounds memory where shapes keep changing.
MOST_RECORDINGS = 64
# Runs before a recording, in which kernels are compiled and libraries allocate memory.
WARM_UP_RUNS = 2

Output = TypeVar("Output")
# Runs a function without arguments -> its outputs, and a function that recomputes them in place.
Recorder: TypeAlias = Callable[[Callable[[], Any]], tuple[Any, Callable[[], None]]]


def leaves(value: object) -> Iterator[Tensor]:
    """The tensors in nested tuples and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from leaves(part)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from leaves(getattr(value, field.name))


def mapped(value: Output, change: Callable[[Tensor], Tensor]) -> Output:
    """The same nested tuples and dataclasses with every tensor changed."""
    result: Any = value
    if isinstance(value, Tensor):
        result = change(value)
    elif isinstance(value, tuple):
        parts = [mapped(part, change) for part in value]
        result = type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        result = type(value)(**{name: mapped(getattr(value, name), change) for name in names})
    return result  # type: ignore[no-any-return]


def signature(value: object) -> Hashable:
    """A key that is equal for values of equal structure, shapes, dtypes, devices and numbers.

    Raises TypeError for values that a recording cannot hold.
    """
    if isinstance(value, Tensor):
        return tuple(value.shape), value.dtype, value.device
    if isinstance(value, tuple):
        return type(value), *map(signature, value)
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return type(value), *(signature(getattr(value, field.name)) for field in fields)
    if value is None or isinstance(value, int):
        return value
    raise TypeError(f"{type(value).__name__} cannot be an input of a recording")


@dataclass(frozen=True)
class RecordedStage(Generic[Output]):
    """A computation with the memory that it reads and writes; ``key`` tells it from others."""

    key: Hashable
    inputs: tuple[Tensor, ...]
    outputs: Output
    replay: Callable[[], None]


class Recordings:
    """Recordings by name and signature of the arguments; safe to use from several threads.

    One thread at a time makes a recording, which may compile and take seconds. No other thread
    waits for it.
    """

    def __init__(self, record: Recorder) -> None:
        self._record = record
        self._made: dict[Hashable, RecordedStage[Any]] = {}
        self._lock = threading.Lock()
        self._making = threading.Lock()

    def __len__(self) -> int:
        return len(self._made)

    def has(self, name: str, arguments: object) -> bool:
        """True where such a call is recorded."""
        return (name, signature(arguments)) in self._made

    def find_or_make(
        self, name: str, run: Callable[[Any], Output], arguments: object
    ) -> RecordedStage[Output] | None:
        """The recording of run(arguments); None if it is missing and another thread makes one.

        ``run`` must not read tensors on the host; ``name`` identifies it.
        """
        key = name, signature(arguments)
        found = self._find(key)
        if found is not None or not self._making.acquire(blocking=False):
            return found
        try:
            found = self._find(key)  # Another thread may have made it a moment ago.
            if found is None:
                held = mapped(arguments, torch.clone)
                outputs, replay = self._record(lambda: run(held))
                found = RecordedStage(key, tuple(leaves(held)), outputs, replay)
                with self._lock:
                    self._made[key] = found
                    while len(self._made) > MOST_RECORDINGS:
                        del self._made[next(iter(self._made))]
            return found
        finally:
            self._making.release()

    def replay(self, recording: RecordedStage[Output], arguments: object) -> Output:
        """The outputs for other arguments of the recorded shapes, as copies."""
        with self._lock:
            for held, given in zip(recording.inputs, leaves(arguments), strict=True):
                held.copy_(given)
            recording.replay()
            return mapped(recording.outputs, Tensor.clone)

    def _find(self, key: Hashable) -> RecordedStage[Any] | None:
        with self._lock:
            found = self._made.pop(key, None)
            if found is not None:
                self._made[key] = found  # now the most recently used
            return found


def cuda_recorder(device: torch.device) -> Recorder:
    """Records CUDA graphs on ``device``; they share memory, since replays never overlap.

    Other threads may use the device during a recording.
    """
    pool = torch.cuda.graph_pool_handle()

    def record(run: Callable[[], Output]) -> tuple[Output, Callable[[], None]]:
        with torch.cuda.device(device):
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(WARM_UP_RUNS):
                    run()
            torch.cuda.current_stream().wait_stream(aside)
            torch.cuda.synchronize()
            torch.cuda.empty_cache()  # frees the warm-up's memory; the recording has its own
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                outputs = run()
            return outputs, graph.replay

    return record
