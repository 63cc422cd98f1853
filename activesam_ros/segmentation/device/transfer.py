"""Asynchronous copies between the host and a device."""

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
    """Copies to one device and back; on CUDA through pinned memory, in stream order.

    PyTorch does not reuse pinned memory before the copies from or to it are done. Where memory
    cannot be pinned, copies synchronise; that is logged once, since it is slower.
    """

    def __init__(self, device: torch.device, allocate: PinnedAllocator | None = None) -> None:
        """allocate: takes the place of CUDA's pinned memory, on any device."""
        self.device = device
        self._allocate = (
            _allocate_pinned if allocate is None and device.type == "cuda" else allocate
        )
        self._pinning = Fallback(
            "Memory cannot be pinned (%s); images and label maps are copied without it, which is "
            "slower. Raise the limit of locked memory (ulimit -l)."
        )

    def send(self, host: Tensor) -> Tensor:
        """A copy of ``host`` on the device, or ``host`` itself if it is there.

        The caller may change ``host`` at once.
        """
        if host.device == self.device:
            return host
        pinned = self._pinned(host)
        if pinned is None:
            return host.to(self.device)
        return pinned.copy_(host).to(self.device, non_blocking=True)

    def receive(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Copies of ``tensors`` on the host; synchronises."""
        return self.begin(*tensors).wait()

    def begin(self, *tensors: Tensor) -> PendingCopy:
        """Begin to copy ``tensors`` to the host; work for the device may be queued meanwhile."""
        memory = [self._pinned(tensor) for tensor in tensors]
        copies = tuple(
            tensor.cpu() if pinned is None else pinned.copy_(tensor, non_blocking=True)
            for tensor, pinned in zip(tensors, memory, strict=True)
        )
        if self.device.type != "cuda" or not tensors:
            return PendingCopy(copies, None)
        done = torch.cuda.Event()
        done.record(torch.cuda.current_stream(self.device))
        return PendingCopy(copies, done)

    def _pinned(self, tensor: Tensor) -> Tensor | None:
        """Pinned memory for a tensor, None where memory is not pinned."""
        allocate = self._allocate
        if allocate is None:
            return None
        return self._pinning.run(lambda: allocate(tensor.shape, dtype=tensor.dtype), lambda: None)


class PendingCopy:
    """Tensors on their way to the host."""

    def __init__(self, copies: tuple[Tensor, ...], done: torch.cuda.Event | None) -> None:
        """done: None where the copies are complete."""
        self._copies = copies
        self._done = done

    def wait(self) -> tuple[Tensor, ...]:
        """The tensors on the host; synchronises."""
        if self._done is not None:
            self._done.synchronize()
        return self._copies
