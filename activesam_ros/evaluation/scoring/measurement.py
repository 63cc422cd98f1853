"""How long a segmentation takes and how much memory is in use at most meanwhile."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from activesam_ros.segmentation.result import Segmentation
from activesam_ros.streaming.streams import StreamingSegmenter

_MIB = 1 << 20
_CLEAR_REFERENCES = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"  # proc(5): sets the peak resident set size to the present one


class ImageSegmenter(Protocol):
    """What replay and evaluation need of a Segmenter."""

    def segment(self, image: NDArray[np.uint8], /) -> Segmentation: ...


def for_frame(segmenter: ImageSegmenter, camera: str, stamp_ns: int | None) -> ImageSegmenter:
    """What segments a camera's next frame: ``segmenter`` itself where nothing is carried on."""
    if isinstance(segmenter, StreamingSegmenter):
        return segmenter.frame(camera, stamp_ns)
    return segmenter


@dataclass(frozen=True)
class Measured:
    """A segmentation with its wall time [ms] and peak memory [MiB], None where unknown."""

    result: Segmentation
    latency_ms: float
    peak_memory_mib: float | None


class PeakMemory:
    """Peak memory between :meth:`reset` and :meth:`read_mib`.

    On CUDA what PyTorch has allocated on the device; elsewhere the whole process's resident set,
    which only Linux tells.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._known = True

    def reset(self) -> None:
        """Begin a new measurement."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            return
        try:
            _CLEAR_REFERENCES.write_text(_RESET_PEAK)
        except OSError:
            self._known = False

    def read_mib(self) -> float | None:
        """Peak since the last reset, None where the system does not tell."""
        if self._device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self._device)) / _MIB
        if not self._known:
            return None
        lines = _STATUS.read_text().splitlines()
        (peak_kib,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
        return float(peak_kib) / 1024


def measure(segmenter: ImageSegmenter, image: NDArray[np.uint8], memory: PeakMemory) -> Measured:
    """Segment ``image`` [H, W, 3] and take the time until its labels are on the host."""
    memory.reset()
    started_s = time.perf_counter()
    result = segmenter.segment(image)
    latency_ms = (time.perf_counter() - started_s) * 1e3
    return Measured(result, latency_ms, memory.read_mib())
