"""How long something takes, as little affected by other work as can be."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def timed_ms(work: Callable[[], object], device: torch.device) -> float:
    """Processor time of all threads on a CPU; wall time until a GPU is done [ms]."""
    if device.type != "cuda":
        started_s = time.process_time()
        work()
        return (time.process_time() - started_s) * 1e3
    torch.cuda.synchronize(device)
    started_s = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return (time.perf_counter() - started_s) * 1e3
