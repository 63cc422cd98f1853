"""Child processes that never outlive the demo, and the events that they report."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import TypeAlias

from activesam_ros.errors import ActiveSamError
from activesam_ros.node.playback.reports import Report

# Seconds that a process has after each signal before it gets the next one.
PATIENCE_S = {signal.SIGINT: 15.0, signal.SIGTERM: 5.0, signal.SIGKILL: 5.0}
_SHOWN_LOG_CHARACTERS = 400


class DemoError(ActiveSamError):
    """The demo failed."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A child process ended, with ``code`` as subprocess gives it."""

    name: str
    code: int


ChildEvent: TypeAlias = "Report | Ended"


class Children:
    """Child processes, each in its own process group; leaving the context ends all of them.

    ``events`` receives their reports, and an Ended for each, in order.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        patience_s: Mapping[signal.Signals, float] = PATIENCE_S,
    ) -> None:
        """The output of each child goes to ``folder``/NAME.log."""
        self._folder = folder
        self._patience_s = patience_s
        self._environment = dict(environment)
        self._children: dict[str, subprocess.Popen[str]] = {}
        self._threads: list[threading.Thread] = []
        self.events: queue.Queue[ChildEvent] = queue.Queue()

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            for name in reversed(self._children):
                self.stop(name)
        finally:
            # A second Ctrl-C interrupts the wait; then the rest are killed.
            for child in self._children.values():
                if child.poll() is None:
                    _signal_group(child.pid, signal.SIGKILL)
            for thread in self._threads:
                thread.join()

    def start(self, name: str, command: Sequence[str], reports: bool = False) -> None:
        """Start ``command``; ``reports``: its standard output holds reports, one a line."""
        with interrupts_deferred(), self.log(name).open("w", encoding="utf-8") as log:
            child = subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if reports else log,
                stderr=log,
                text=True,
                # Ctrl-C reaches only the demo, which then ends its children in order.
                start_new_session=True,
            )
            self._children[name] = child
            thread = threading.Thread(
                target=self._follow, args=(name, child), name=f"follow {name}"
            )
            thread.start()
            self._threads.append(thread)

    def stop(self, name: str) -> int:
        """End a child and its children, with SIGINT first; returns its exit code."""
        child = self._children[name]
        for number, patience_s in self._patience_s.items():
            if child.poll() is None:
                _signal_group(child.pid, number)
                try:
                    child.wait(patience_s)
                except subprocess.TimeoutExpired:
                    continue
            break
        return child.wait()

    def log(self, name: str) -> Path:
        """The file that holds the output of the child."""
        return self._folder / f"{name}.log"

    def last_words(self, name: str) -> str:
        """The last line with text in the log of the child, shortened."""
        lines = self.log(name).read_text(encoding="utf-8", errors="replace").split("\n")
        spoken = [line.strip() for line in lines if line.strip()]
        return spoken[-1][-_SHOWN_LOG_CHARACTERS:].rstrip(".") if spoken else "it printed nothing"

    def _follow(self, name: str, child: subprocess.Popen[str]) -> None:
        if child.stdout is not None:
            with child.stdout:
                for line in child.stdout:
                    # A library may print other lines.
                    with suppress(ValueError):
                        self.events.put(Report.parse(line))
        self.events.put(Ended(name, child.wait()))


def is_clean_end(code: int) -> bool:
    """Whether this is the exit code of a child that ended by itself or by a first SIGINT.

    A child whose work is done no longer catches the signal while its interpreter shuts down.
    """
    return code in (0, -signal.SIGINT)


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # the group has just ended
        os.killpg(group, number)


def termination_as_interrupt() -> AbstractContextManager[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt as Ctrl-C does, so that the children end too."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    return _handling((signal.SIGTERM, signal.SIGHUP), interrupt)


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Delay an interrupt to the end of the context, so that every started child is registered."""
    interrupted = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True

    with _handling((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), remember):
        yield
    if interrupted:
        raise KeyboardInterrupt


@contextmanager
def _handling(
    numbers: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
