"""How the work of an evaluation is done: here and now, or in parts by several workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from activesam_ros.evaluation.sources import Part
from activesam_ros.evaluation.worker import PartResult, Task, Worker


@dataclass
class Outcome:
    """The result of the whole source, the ``machine`` entry of results.json, and ``executor``'s."""

    result: PartResult
    machine: dict[str, Any]
    executor: dict[str, Any] = field(default_factory=lambda: {"name": "none"})


class Executor(Protocol):
    """Does a task."""

    def run(self, task: Task, expected: int | None, progress: Callable[[int], object]) -> Outcome:
        """Evaluate the whole source.

        expected: how many images it seems to have, None where that is not known. progress: called
        with how many more (or, after the loss of a worker, fewer) images are done. Raises
        ActiveSamError.
        """
        ...


class InProcess:
    """One network in this process."""

    def run(self, task: Task, expected: int | None, progress: Callable[[int], object]) -> Outcome:
        worker = Worker(task)
        return Outcome(worker.run(Part(0), lambda: progress(1)), worker.machine)
