"""Ctrl-C and SIGTERM as a flag that a loop looks at between two steps."""

from __future__ import annotations

import signal
import time
from types import FrameType, TracebackType
from typing import Any

# How long a wait may go on after a signal [s].
_SLICE_S = 0.05


class StopFlag:
    """True from the first SIGINT or SIGTERM on; a context manager that restores the handlers.

    A plain attribute, as a handler that took a lock could wait for the thread it interrupted.
    """

    def __init__(self) -> None:
        self._set = False
        self._previous: dict[signal.Signals, Any] = {}

    def __bool__(self) -> bool:
        return self._set

    def __enter__(self) -> StopFlag:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def wait_until(self, moment_s: float) -> bool:
        """Sleep up to ``moment_s`` on the monotonic clock; False when told to stop before."""
        while not self._set and (left := moment_s - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE_S))
        return not self._set

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._set = True
