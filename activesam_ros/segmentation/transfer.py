"""Copies between the host and a device that neither has to wait for."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

import torch
from torch import Tensor

from activesam_ros.errors import in_short

_LOG = logging.getLogger(__name__)

# (shape, dtype=...) -> host memory that a device can read and write by itself.
Room = Callable[..., Tensor]
_pinned_room: Room = functools.partial(torch.empty, pin_memory=True)


class Transfer:
    """To one device and back; on CUDA through pinned memory, in the order of the current stream.

    PyTorch gives such memory to nobody else before the copies from or to it are done. Where memory
    cannot be pinned copies wait instead; that is logged once, since it is slower.
    """

    def __init__(self, device: torch.device, room: Room | None = None) -> None:
        """room: in place of CUDA's pinned memory, on any device."""
        self.device = device
        self._room = _pinned_room if room is None and device.type == "cuda" else room

    def send(self, host: Tensor) -> Tensor:
        """``host``, which may be changed at once, on the device; itself where it is there."""
        if host.device == self.device:
            return host
        room = self._pinned(host)
        if room is None:
            return host.to(self.device)
        return room.copy_(host).to(self.device, non_blocking=True)

    def receive(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """``tensors`` on the host; waits until they are there."""
        return self.begin(*tensors).wait()

    def begin(self, *tensors: Tensor) -> Arrival:
        """Begin to receive: the device may be asked for more before that is waited for."""
        rooms = [self._pinned(tensor) for tensor in tensors]
        landing = tuple(
            tensor.cpu() if room is None else room.copy_(tensor, non_blocking=True)
            for tensor, room in zip(tensors, rooms, strict=True)
        )
        if self.device.type != "cuda" or not tensors:
            return Arrival(landing, None)
        landed = torch.cuda.Event()
        landed.record(torch.cuda.current_stream(self.device))
        return Arrival(landing, landed)

    def _pinned(self, tensor: Tensor) -> Tensor | None:
        """Room for a tensor, None where memory is not pinned."""
        if self._room is None:
            return None
        try:
            return self._room(tensor.shape, dtype=tensor.dtype)
        except RuntimeError as error:
            self._room = None
            _LOG.warning(
                "Memory cannot be pinned (%s); images and label maps are copied without, which "
                "is slower. Raise the limit of locked memory (ulimit -l).",
                in_short(error),
            )
            return None


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
