"""What the player and the recorder share: they stop on a signal and end with an exit status."""

from __future__ import annotations

import importlib
import signal
import time
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Any

import rclpy
from rclpy.signals import SignalHandlerOptions

from activesam_ros.console import tell_error
from activesam_ros.errors import ActiveSamError

EXIT_BAD_INPUT = 2
# The longest time for which a wait goes on after a signal [s].
_SLICE_S = 0.05


class StopFlag:
    """True after the first SIGINT or SIGTERM; leaving the context restores the signal handlers.

    The flag is a plain attribute: a handler that takes a lock can deadlock with the thread that it
    interrupts.
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
        """Sleep until ``moment_s`` on the monotonic clock; False if a signal came before that."""
        while not self._set and (left := moment_s - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE_S))
        return not self._set

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._set = True


def run_until_stopped(
    program: str, command_line: Sequence[str], work: Callable[[StopFlag], None]
) -> int:
    """Run ``work`` with rclpy initialised from ``command_line``; returns the exit status.

    That is 0, also after a signal, and EXIT_BAD_INPUT after an ActiveSamError, whose message goes
    to the standard error.
    """
    with StopFlag() as stop:
        try:
            rclpy.init(args=list(command_line), signal_handler_options=SignalHandlerOptions.NO)
            work(stop)
        except ActiveSamError as error:
            tell_error(error, program, debug="--debug" in command_line)
            return EXIT_BAD_INPUT
        finally:
            rclpy.try_shutdown()
    return 0


def message_class(message_type: str) -> Any | None:
    """The class of ``package/msg/Name``; None if it is not installed."""
    package, _, name = message_type.partition("/msg/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name, None)
    except ImportError:
        return None
