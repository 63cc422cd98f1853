"""Copies between the host and a device that neither has to wait for."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from activesam_ros.sam3.acceleration.fallback import Fallback

# (shape, dtype=...) -> host memory that a device can read and write by itself.
PinnedAllocator = Callable[..., Tensor]
_allocate_pinned: PinnedAllocator = functools.partial(torch.empty, pin_memory=True)


class Transfer:
    """To one device and back; on CUDA through pinned memory, in the order of the current stream.

    PyTorch gives such memory to nobody else before the copies from or to it are done. Where memory
    cannot be pinned copies wait instead; that is logged once, since it is slower.
    """

    def __init__(self, device: torch.device, allocate: PinnedAllocator | None = None) -> None:
        """allocate: takes the place of CUDA's pinned memory, on any device."""
        self.device = device
        self._allocate = (
            _allocate_pinned if allocate is None and device.type == "cuda" else allocate
        )
        self._pinning = Fallback(
            "Memory cannot be pinned (%s); images and label maps are copied without, which is "
            "slower. Raise the limit of locked memory (ulimit -l)."
        )

    def send(self, host: Tensor) -> Tensor:
        """``host``, which may be changed at once, on the device; itself where it is there."""
        if host.device == self.device:
            return host
        pinned = self._pinned(host)
        if pinned is None:
            return host.to(self.device)
        return pinned.copy_(host).to(self.device, non_blocking=True)

    def receive(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """``tensors`` on the host; waits until they are there."""
        return self.begin(*tensors).wait()

    def begin(self, *tensors: Tensor) -> Arrival:
        """Begin to receive: the device may be asked for more before that is waited for."""
        memory = [self._pinned(tensor) for tensor in tensors]
        landing = tuple(
            tensor.cpu() if pinned is None else pinned.copy_(tensor, non_blocking=True)
            for tensor, pinned in zip(tensors, memory, strict=True)
        )
        if self.device.type != "cuda" or not tensors:
            return Arrival(landing, None)
        landed = torch.cuda.Event()
        landed.record(torch.cuda.current_stream(self.device))
        return Arrival(landing, landed)

    def _pinned(self, tensor: Tensor) -> Tensor | None:
        """Pinned memory for a tensor, None where memory is not pinned."""
        allocate = self._allocate
        if allocate is None:
            return None
        return self._pinning.run(lambda: allocate(tensor.shape, dtype=tensor.dtype), lambda: None)


class Arrival:
    """Tensors on their way to the host."""

    def __init__(self, landing: tuple[Tensor, ...], landed: torch.cuda.Event | None) -> None:
        """landed: None where they are there."""
        self._landing = landing
        self._landed = landed

    def wait(self) -> tuple[Tensor, ...]:
        """The tensors, once they are there: with this alone the host waits for the device."""
        if self._landed is not None:
            self._landed.synchronize()
        return self._landing
