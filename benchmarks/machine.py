"""Which computer measures, and how fast it multiplies matrices."""

from __future__ import annotations

import os
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch

MATRIX_SIDE = {"cpu": 1536, "cuda": 8192}
REPEATS = 9


@dataclass(frozen=True)
class Machine:
    """matrix_tflops: measured rate of large matrix products, in 10^12 operations per second.

    load: average number of running processes at the start.
    """

    processor: str
    cores: int
    threads: int
    load: float
    device: str
    dtype: str
    torch: str
    matrix_tflops: float


def describe(device: torch.device, dtype: torch.dtype) -> Machine:
    """Describe this computer; takes seconds."""
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        load=os.getloadavg()[0],
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        dtype=str(dtype).removeprefix("torch."),
        torch=torch.__version__,
        matrix_tflops=matrix_tflops(device, dtype),
    )


def matrix_tflops(device: torch.device, dtype: torch.dtype) -> float:
    """Median rate of square products in 10^12 operations per second, two for each multiply-add."""
    side = MATRIX_SIDE[device.type]
    factor = torch.randn(side, side, device=device, dtype=dtype)
    product = torch.empty_like(factor)
    seconds = []
    for _ in range(REPEATS):
        begin_s = time.perf_counter()
        torch.mm(factor, factor, out=product)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - begin_s)
    return float(2 * side**3 / statistics.median(seconds[1:]) / 1e12)


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()
