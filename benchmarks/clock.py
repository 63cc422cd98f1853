"""How long something takes, whatever else the computer does."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def timed_ms(work: Callable[[], object], device: torch.device) -> float:
    """Processor time of all threads on a CPU, time until it is done on a GPU [ms]."""
    if device.type != "cuda":
        started_s = time.process_time()
        work()
        return (time.process_time() - started_s) * 1e3
    torch.cuda.synchronize(device)
    started_s = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return (time.perf_counter() - started_s) * 1e3
