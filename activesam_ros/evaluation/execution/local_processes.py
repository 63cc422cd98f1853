"""Several processes of this computer, each with a network of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from activesam_ros.errors import ActiveSamError
from activesam_ros.evaluation.datasets.sample_source import Part
from activesam_ros.evaluation.execution.executors import EventKind, Outcome, WorkerEvent, run_pool
from activesam_ros.evaluation.execution.part_journal import PartJournal
from activesam_ros.evaluation.execution.worker import Task, Worker

DISMISSAL_S = 5.0


@dataclasses.dataclass(frozen=True)
class LocalExecutor:
    """``workers`` processes; up to ``restarts`` that die are replaced.

    The CPU's threads are divided among them unless the task says how many each has. On a computer
    with several GPUs they take turns, unless the task names one.
    """

    workers: int
    restarts: int

    def run(
        self,
        task: Task,
        expected: int | None,
        progress: Callable[[int], object],
        journal: PartJournal | None = None,
    ) -> Outcome:
        threads = task.threads or max(torch.get_num_threads() // self.workers, 1)
        task = dataclasses.replace(task, threads=threads)
        started_s = time.perf_counter()
        crew = _Processes(task, self.workers)
        try:
            result, machine, lost = run_pool(
                crew, self.workers, self.restarts, expected, progress, journal
            )
        finally:
            crew.dismiss()
        executor = {
            "name": "local",
            "workers": self.workers,
            "lost_workers": lost,
            "seconds": time.perf_counter() - started_s,
        }
        return Outcome(result, machine, executor)


class _Processes:
    """A process and a pipe a worker. Spawned, since a forked CUDA or OpenMP does not work."""

    def __init__(self, task: Task, workers: int) -> None:
        self._task = task
        self._context = multiprocessing.get_context("spawn")
        self._processes: list[SpawnProcess | None] = [None] * workers
        self._pipes: list[Connection | None] = [None] * workers

    def start(self, worker: int) -> None:
        here, there = self._context.Pipe()
        process = self._context.Process(
            target=_work,
            args=(there, _task_of(self._task, worker)),
            name=f"activesam-worker-{worker}",
            daemon=True,
        )
        process.start()
        there.close()
        self._processes[worker], self._pipes[worker] = process, here

    def give(self, worker: int, part: Part) -> None:
        pipe = self._pipes[worker]
        assert pipe is not None
        with contextlib.suppress(OSError):  # where it is dead; listening tells
            pipe.send(part)

    def listen(self) -> Sequence[WorkerEvent]:
        pipes = {pipe: worker for worker, pipe in enumerate(self._pipes) if pipe is not None}
        events = []
        for pipe in wait(list(pipes)):
            assert isinstance(pipe, Connection)
            worker = pipes[pipe]
            try:
                what, value = pipe.recv()
                events.append(WorkerEvent(worker, what, value))
            except (EOFError, OSError):
                events.append(WorkerEvent(worker, EventKind.LOST, self._bury(worker)))
        return events

    def dismiss(self) -> None:
        for process in self._processes:
            if process is not None:
                process.terminate()
        for worker, process in enumerate(self._processes):
            if process is not None:
                process.join(DISMISSAL_S)
                if process.is_alive():
                    process.kill()
                self._bury(worker)

    def _bury(self, worker: int) -> str:
        process, pipe = self._processes[worker], self._pipes[worker]
        assert process is not None
        assert pipe is not None
        pipe.close()
        process.join()
        code = process.exitcode or 0
        process.close()
        self._processes[worker] = self._pipes[worker] = None
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return f"worker {worker} {how}"


def _task_of(task: Task, worker: int) -> Task:
    """``task`` on the GPU whose turn it is, where the user left the choice."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus < 2 or task.network.device not in ("auto", "cuda"):
        return task
    network = dataclasses.replace(task.network, device=f"cuda:{worker % gpus}")
    return dataclasses.replace(task, network=network)


def _work(pipe: Connection, task: Task) -> None:
    """A worker's life: until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us

    def say(what: EventKind, value: Any = None) -> None:
        pipe.send((what, value))

    try:
        worker = Worker(task)
        say(EventKind.READY, worker.machine)
        while True:
            part: Part = pipe.recv()
            result = worker.run(part, lambda: say(EventKind.ADVANCED, 1))
            say(EventKind.FINISHED, result)
    except EOFError:
        return
    except Exception as error:  # noqa: BLE001 - told in one sentence by the parent
        say(EventKind.FAILED, sentence(error))


def sentence(error: Exception) -> str:
    """What a worker says of an error, without a full stop."""
    text = str(error) if isinstance(error, ActiveSamError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split()).rstrip(".")
