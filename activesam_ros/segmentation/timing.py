"""Wall time per stage without stopping the device in between."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Iterator

import torch


class StageTimer:
    """Adds up the time of named stages; a stage may run many times.

    On CUDA the stages are bracketed by events, which are read once all work is done, so that
    measuring does not serialise host and device.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._started_s = time.perf_counter()
        self._elapsed_ms: dict[str, float] = {}
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    def branch(self) -> StageTimer:
        """A timer that goes on from what was measured so far, for one image of a batch."""
        other = copy.copy(self)
        other._elapsed_ms = dict(self._elapsed_ms)
        other._events = list(self._events)
        return other

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body as part of the stage ``name``."""
        if self._cuda:
            begin = torch.cuda.Event(enable_timing=True)
            end = torch.cuda.Event(enable_timing=True)
            begin.record()
            yield
            end.record()
            self._events.append((name, begin, end))
            return
        begin_s = time.perf_counter()
        yield
        self._add(name, (time.perf_counter() - begin_s) * 1e3)

    def finish(self) -> dict[str, float]:
        """Milliseconds per stage and "total"; call once everything has been computed."""
        if self._cuda:
            torch.cuda.synchronize()
            for name, begin, end in self._events:
                self._add(name, begin.elapsed_time(end))
        return {**self._elapsed_ms, "total": (time.perf_counter() - self._started_s) * 1e3}

    def _add(self, name: str, elapsed_ms: float) -> None:
        self._elapsed_ms[name] = self._elapsed_ms.get(name, 0.0) + elapsed_ms
