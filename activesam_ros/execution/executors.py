"""Run a task: in this process, or in parts by a pool of workers.

The results do not depend on who computes them: parts are added in order, whenever they arrive, and
a part whose worker is lost is done again as a whole.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol

from activesam_ros.errors import ExecutorError, UsageError
from activesam_ros.execution.part_journal import PartJournal
from activesam_ros.execution.part_queue import PartQueue
from activesam_ros.execution.task import Part, Result, Task


@dataclass
class Outcome(Generic[Result]):
    """The result of the whole source. machine, executor: their entries in results.json."""

    result: Result
    machine: dict[str, Any]
    executor: dict[str, Any] = field(default_factory=lambda: {"name": "none"})


class Executor(Protocol):
    """Runs a task."""

    def run(
        self,
        task: Task[Result],
        expected: int | None,
        progress: Callable[[int], object],
        journal: PartJournal[Result] | None = None,
    ) -> Outcome[Result]:
        """Compute the whole source.

        expected: the estimated number of images, None when unknown. progress: called with the
        change in the number of finished images, which is negative when a worker is lost. journal:
        of the same task; its parts are not done again, and new parts are added to it. None for a
        streamed task. Raises ActiveSamError.
        """
        ...


class InProcess:
    """One network in this process."""

    def run(
        self,
        task: Task[Result],
        expected: int | None,
        progress: Callable[[int], object],
        journal: PartJournal[Result] | None = None,
    ) -> Outcome[Result]:
        worker = task.worker()
        if journal is None:
            return Outcome(worker.run(Part(0), lambda: progress(1)), worker.machine)
        parts = PartQueue(1, expected, journal)  # an interruption loses one image at most
        while (part := parts.take()) is not None:
            parts.done(part, worker.run(part, lambda: progress(1)))
        assert parts.total is not None
        return Outcome(parts.total, worker.machine)


class EventKind(enum.Enum):
    """What a worker reports, or what happened to it."""

    READY = enum.auto()
    ADVANCED = enum.auto()
    FINISHED = enum.auto()
    FAILED = enum.auto()
    LOST = enum.auto()


@dataclass(frozen=True)
class WorkerEvent:
    """A report of worker number ``worker``, or its loss.

    value: READY carries the worker's machine, ADVANCED the number of further images, FINISHED the
    result. FAILED and LOST carry a one-sentence reason without its full stop.
    """

    worker: int
    kind: EventKind
    value: Any = None


class WorkerPool(Protocol):
    """Starts workers, hands them parts and collects their events."""

    def start(self, worker: int) -> None:
        """Start worker ``worker``, or its replacement when it was lost."""
        ...

    def assign(self, worker: int, part: Part) -> None:
        """Let a ready worker compute ``part``."""
        ...

    def wait(self) -> Sequence[WorkerEvent]:
        """Wait for events; raises ExecutorError when none can come."""
        ...

    def close(self) -> None:
        """End every worker."""
        ...


def worker_count(task: Task[Any], workers: int | None, default: int) -> int:
    """How many workers ``task`` gets: ``workers`` if stated, else ``default``; one if streamed.

    Raises UsageError when several workers are stated for a streamed task.
    """
    if not task.is_streamed:
        return workers or default
    if workers is not None and workers > 1:
        raise UsageError(
            f"--workers {workers} cannot be used with streaming=true: the active set of a frame "
            "depends on the frames before it, so one worker must segment them all; leave --workers "
            "out."
        )
    return 1


def run_pool(
    pool: WorkerPool,
    parts: PartQueue[Result],
    workers: int,
    restarts: int,
    progress: Callable[[int], object],
    work: str,
) -> tuple[Result, dict[str, Any], int]:
    """Have all ``parts`` computed by ``workers`` workers.

    restarts: how many lost workers are replaced, in all. work: see Task. Returns the sum of all
    parts, the machine of the first ready worker, and the number of lost workers. Raises
    ExecutorError.
    """
    running: dict[int, Part] = {}
    idle: set[int] = set()
    advanced: dict[int, int] = dict.fromkeys(range(workers), 0)
    machine: dict[str, Any] | None = None
    lost = 0
    for worker in range(workers):
        pool.start(worker)
    while machine is None or not parts.finished:
        for event in pool.wait():
            worker = event.worker
            if event.kind is EventKind.READY:
                machine = machine or event.value
                idle.add(worker)
            elif event.kind is EventKind.ADVANCED:
                advanced[worker] += event.value
                progress(event.value)
            elif event.kind is EventKind.FINISHED:
                parts.done(running.pop(worker), event.value)
                advanced[worker] = 0
                idle.add(worker)
            elif event.kind is EventKind.FAILED:
                raise ExecutorError(f"{_where(work, running.get(worker))}: {event.value}.")
            else:
                lost += 1
                progress(-advanced[worker])
                advanced[worker] = 0
                idle.discard(worker)
                part = running.pop(worker, None)
                if lost > restarts:
                    raise ExecutorError(
                        f"{_where(work, part)}: {event.value}; {lost} workers were lost and "
                        f"at most {restarts} are replaced (--worker-restarts)."
                    )
                if part is not None:
                    parts.lost(part)
                pool.start(worker)
        for worker in sorted(idle):
            part = parts.take()
            if part is None:
                break
            idle.remove(worker)
            running[worker] = part
            pool.assign(worker, part)
    assert parts.total is not None
    return parts.total, machine, lost


def _where(work: str, part: Part | None) -> str:
    if part is None:
        return f"A worker of the {work} could not start"
    return f"The {work} stopped at {part}"
