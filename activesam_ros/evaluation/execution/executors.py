"""How the work of an evaluation is done: here and now, or in parts by several workers.

Whoever does it, the results are the same: parts are added in order, whenever they arrive, and one
whose worker is lost is done again, whole.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from activesam_ros.errors import ExecutorError
from activesam_ros.evaluation.datasets.sample_source import Part
from activesam_ros.evaluation.execution.part_journal import PartJournal
from activesam_ros.evaluation.execution.worker import PartResult, Task, Worker

PARTS_PER_WORKER = 8
LARGEST_PART = 32
UNKNOWN_PART = 16


@dataclass
class Outcome:
    """The result of the whole source, the ``machine`` entry of results.json, and ``executor``'s."""

    result: PartResult
    machine: dict[str, Any]
    executor: dict[str, Any] = field(default_factory=lambda: {"name": "none"})


class Executor(Protocol):
    """Does a task."""

    def run(
        self,
        task: Task,
        expected: int | None,
        progress: Callable[[int], object],
        journal: PartJournal | None = None,
    ) -> Outcome:
        """Evaluate the whole source.

        expected: how many images it seems to have, None where that is not known. progress: called
        with how many more (or, after the loss of a worker, fewer) images are done. journal: of the
        same task; what it has is not done again, and what is done is kept in it. Raises
        ActiveSamError.
        """
        ...


class InProcess:
    """One network in this process."""

    def run(
        self,
        task: Task,
        expected: int | None,
        progress: Callable[[int], object],
        journal: PartJournal | None = None,
    ) -> Outcome:
        worker = Worker(task)
        if journal is None:
            return Outcome(worker.run(Part(0), lambda: progress(1)), worker.machine)
        parts = PartQueue(1, expected, journal)  # an interruption costs no more than one image
        while (part := parts.take()) is not None:
            parts.done(part, worker.run(part, lambda: progress(1)))
        assert parts.total is not None
        return Outcome(parts.total, worker.machine)


class EventKind(enum.Enum):
    """What a worker has to say."""

    READY = enum.auto()
    ADVANCED = enum.auto()
    FINISHED = enum.auto()
    FAILED = enum.auto()
    LOST = enum.auto()


@dataclass(frozen=True)
class WorkerEvent:
    """Something that worker number ``worker`` said, or what became of it.

    value: of READY the worker's machine, of ADVANCED how many images more, of FINISHED the
    PartResult, of FAILED a sentence without its full stop, of LOST the like.
    """

    worker: int
    what: EventKind
    value: Any = None


class WorkerPool(Protocol):
    """Workers that can be started, given parts, listened to and dismissed."""

    def start(self, worker: int) -> None:
        """Start worker ``worker``, or another one in the place of a lost one."""
        ...

    def give(self, worker: int, part: Part) -> None:
        """Let a worker that is ready do ``part``."""
        ...

    def listen(self) -> Sequence[WorkerEvent]:
        """Wait for events; raises ExecutorError where none can come any more."""
        ...

    def dismiss(self) -> None:
        """End every worker."""
        ...


class PartQueue:
    """Which parts are to do, and the sum of those that are done.

    Where a source ends is not known before one of its parts has come to the end. Parts that are in
    ``journal`` are not taken again, and others are put there.
    """

    def __init__(self, size: int, expected: int | None, journal: PartJournal | None = None) -> None:
        self._size = size
        self._expected = expected
        self._next = 0
        self._again: deque[Part] = deque()
        self._out: set[Part] = set()
        self._waiting: dict[int, tuple[Part, PartResult]] = {}
        self._added = 0
        self._journal = journal
        self.total: PartResult | None = None
        for part, result in journal.parts() if journal else ():
            assert part.stop is not None
            for start in range(self._next, part.start, size):  # a gap that was never done
                self._again.append(Part(start, min(start + size, part.start)))
            self._next = part.stop
            self._add(part, result)

    @property
    def finished(self) -> bool:
        """The sum is that of the whole source."""
        return self.total is not None and self.total.count.ended

    def take(self) -> Part | None:
        """A part to be done, None where there is none now."""
        if self._again:
            part = self._again.popleft()
        elif self._ended() or (
            self._expected is not None and self._next >= self._expected and self._out
        ):
            return None
        else:
            part = Part(self._next, self._next + self._size)
            self._next += self._size
        self._out.add(part)
        return part

    def done(self, part: Part, result: PartResult) -> None:
        """Add ``result`` as soon as all before it is added; raises RecordingError."""
        self._out.discard(part)
        if self._journal is not None:
            self._journal.keep(part, result)  # before others are added to it
        self._add(part, result)

    def _add(self, part: Part, result: PartResult) -> None:
        self._waiting[part.start] = (part, result)
        while self._added in self._waiting and not self.finished:
            following, made = self._waiting.pop(self._added)
            if self.total is None:
                made.count.check()
                self.total = made
            else:
                self.total.extend(made)
            self._added = following.stop or 0

    def lost(self, part: Part) -> None:
        """Have ``part`` done again, before any other."""
        self._out.discard(part)
        self._again.append(part)

    def _ended(self) -> bool:
        return self.finished or any(entry.count.ended for _, entry in self._waiting.values())


def part_size(workers: int, expected: int | None) -> int:
    """Images of a part: several parts for each worker, so that all end at about the same time."""
    if expected is None:
        return UNKNOWN_PART
    return min(max(expected // (workers * PARTS_PER_WORKER), 1), LARGEST_PART)


def run_pool(
    crew: WorkerPool,
    workers: int,
    restarts: int,
    expected: int | None,
    progress: Callable[[int], object],
    journal: PartJournal | None = None,
) -> tuple[PartResult, dict[str, Any], int]:
    """Have a source evaluated by ``workers`` workers.

    restarts: how many lost workers are replaced, all in all. Returns the sum of all parts, the
    machine of the first worker that was ready, and how many were lost. Raises ExecutorError.
    """
    parts = PartQueue(part_size(workers, expected), expected, journal)
    doing: dict[int, Part] = {}
    idle: set[int] = set()
    advanced: dict[int, int] = dict.fromkeys(range(workers), 0)
    machine: dict[str, Any] | None = None
    lost = 0
    for worker in range(workers):
        crew.start(worker)
    while machine is None or not parts.finished:
        for event in crew.listen():
            worker = event.worker
            if event.what is EventKind.READY:
                machine = machine or event.value
                idle.add(worker)
            elif event.what is EventKind.ADVANCED:
                advanced[worker] += event.value
                progress(event.value)
            elif event.what is EventKind.FINISHED:
                parts.done(doing.pop(worker), event.value)
                advanced[worker] = 0
                idle.add(worker)
            elif event.what is EventKind.FAILED:
                raise ExecutorError(f"{_doing(doing.get(worker))}: {event.value}.")
            else:
                lost += 1
                progress(-advanced[worker])
                advanced[worker] = 0
                idle.discard(worker)
                part = doing.pop(worker, None)
                if lost > restarts:
                    raise ExecutorError(
                        f"{_doing(part)}: {event.value}; {lost} workers were lost and no more than "
                        f"{restarts} are replaced (--worker-restarts)."
                    )
                if part is not None:
                    parts.lost(part)
                crew.start(worker)
        for worker in sorted(idle):
            part = parts.take()
            if part is None:
                break
            idle.remove(worker)
            doing[worker] = part
            crew.give(worker, part)
    assert parts.total is not None
    return parts.total, machine, lost


def _doing(part: Part | None) -> str:
    if part is None:
        return "A worker of the evaluation could not start"
    return f"The evaluation stopped at {part}"
