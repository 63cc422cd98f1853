"""Measure the time and the peak memory of a segmentation."""

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
_RESET_PEAK = "5"  # proc(5): sets the peak resident set size to the current size


class ImageSegmenter(Protocol):
    """The part of a Segmenter that replay and evaluation use."""

    def segment(self, image: NDArray[np.uint8], /) -> Segmentation: ...


def for_frame(segmenter: ImageSegmenter, camera: str, stamp_ns: int | None) -> ImageSegmenter:
    """The segmenter of a camera's next frame: ``segmenter`` itself without streaming."""
    if isinstance(segmenter, StreamingSegmenter):
        return segmenter.frame(camera, stamp_ns)
    return segmenter


@dataclass(frozen=True)
class Measured:
    """A segmentation with its wall time [ms] and peak memory [MiB], None if unknown."""

    result: Segmentation
    latency_ms: float
    peak_memory_mib: float | None


class PeakMemory:
    """Peak memory between :meth:`reset` and :meth:`read_mib`.

    On CUDA the memory PyTorch allocated on the device; elsewhere the resident memory of the whole
    process, which is known on Linux only.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._known = True

    def reset(self) -> None:
        """Start a new measurement."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            return
        try:
            _CLEAR_REFERENCES.write_text(_RESET_PEAK)
        except OSError:
            self._known = False

    def read_mib(self) -> float | None:
        """The peak since the last reset [MiB], None if unknown."""
        if self._device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self._device)) / _MIB
        if not self._known:
            return None
        lines = _STATUS.read_text().splitlines()
        (peak_kib,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
        return float(peak_kib) / 1024


def measure(segmenter: ImageSegmenter, image: NDArray[np.uint8], memory: PeakMemory) -> Measured:
    """Segment ``image`` [H, W, 3]; the time ends when its labels are on the host."""
    memory.reset()
    started_s = time.perf_counter()
    result = segmenter.segment(image)
    latency_ms = (time.perf_counter() - started_s) * 1e3
    return Measured(result, latency_ms, memory.read_mib())
