"""Time per stage of a frame, without synchronising host and device between stages."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Iterator

import torch


class StageTimer:
    """Adds up the time of named stages; a stage may run many times.

    On CUDA, events on the device's current stream bracket each stage. They are read once all work
    is done, so that measuring does not serialise host and device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._started_s = time.perf_counter()
        self._elapsed_ms: dict[str, float] = {}
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    def branch(self) -> StageTimer:
        """A timer that continues from the times so far, for one image of a batch."""
        other = copy.copy(self)
        other._elapsed_ms = dict(self._elapsed_ms)
        other._events = list(self._events)
        return other

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the body to the stage ``name``."""
        if self._device.type == "cuda":
            begin = self._event()
            yield
            self._events.append((name, begin, self._event()))
            return
        begin_s = time.perf_counter()
        yield
        self._add(name, (time.perf_counter() - begin_s) * 1e3)

    def finish(self) -> dict[str, float]:
        """Milliseconds per stage and "total"; synchronises with the device."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            for name, begin, end in self._events:
                self._add(name, begin.elapsed_time(end))
        return {**self._elapsed_ms, "total": (time.perf_counter() - self._started_s) * 1e3}

    def _event(self) -> torch.cuda.Event:
        """An event on the model's device, which need not be the current one."""
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def _add(self, name: str, elapsed_ms: float) -> None:
        self._elapsed_ms[name] = self._elapsed_ms.get(name, 0.0) + elapsed_ms
