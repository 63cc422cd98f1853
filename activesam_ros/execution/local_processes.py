"""Processes on this computer, each with its own network.

What a worker sends is plain data (JSON, and the result of a part as its ResultFormat says), never
an object.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import multiprocessing.connection
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from activesam_ros.errors import ActiveSamError, ExecutorError, PlainDataError
from activesam_ros.execution.executors import (
    EventKind,
    Outcome,
    WorkerEvent,
    run_pool,
    worker_count,
)
from activesam_ros.execution.part_journal import PartJournal
from activesam_ros.execution.part_queue import part_queue
from activesam_ros.execution.task import AnyTask, Part, Result, ResultFormat, Task

EXIT_TIMEOUT_S = 5.0
_LARGEST_REPORT = 1 << 32


@dataclasses.dataclass(frozen=True)
class LocalExecutor:
    """Runs a task in ``workers`` processes; up to ``restarts`` lost processes are replaced.

    workers: None for one per GPU, or two without a GPU. The CPU threads are divided among the
    processes unless the task states how many each has. Processes take turns on the GPUs unless the
    task names one.
    """

    workers: int | None
    restarts: int

    def run(
        self,
        task: Task[Result],
        expected: int | None,
        progress: Callable[[int], object],
        journal: PartJournal[Result] | None = None,
    ) -> Outcome[Result]:
        workers = worker_count(task, self.workers, _gpus() or 2)
        threads = task.threads or max(torch.get_num_threads() // workers, 1)
        task = task.placed(task.network, threads)
        started_s = time.perf_counter()
        pool = _Processes(task, workers)
        try:
            parts = part_queue(task, workers, expected, journal)
            result, machine, lost = run_pool(
                pool, parts, workers, self.restarts, progress, task.results.work
            )
        finally:
            pool.close()
        executor = {
            "name": "local",
            "workers": workers,
            "lost_workers": lost,
            "seconds": time.perf_counter() - started_s,
        }
        return Outcome(result, machine, executor)


class _Processes:
    """A process and a pipe per worker. Spawned, since CUDA and OpenMP do not survive a fork."""

    def __init__(self, task: Task[Any], workers: int) -> None:
        self._task = task
        self._context = multiprocessing.get_context("spawn")
        self._processes: list[SpawnProcess | None] = [None] * workers
        self._pipes: list[Connection | None] = [None] * workers

    def start(self, worker: int) -> None:
        here, there = self._context.Pipe()
        process = self._context.Process(
            target=_work,
            args=(there,),
            name=f"activesam-worker-{worker}",
            daemon=True,
        )
        process.start()
        there.close()
        self._processes[worker], self._pipes[worker] = process, here
        # Not as an argument: start() would wait for ever for a process that ends before it has
        # read a task larger than a pipe holds.
        self._send(worker, _task_of(self._task, worker))

    def assign(self, worker: int, part: Part) -> None:
        self._send(worker, part)

    def wait(self) -> Sequence[WorkerEvent]:
        pipes = {pipe: worker for worker, pipe in enumerate(self._pipes) if pipe is not None}
        events = []
        for pipe in multiprocessing.connection.wait(list(pipes)):
            assert isinstance(pipe, Connection)
            worker = pipes[pipe]
            try:
                report = pipe.recv_bytes(_LARGEST_REPORT)
                events.append(_event(worker, report, self._task.results))
            except (EOFError, OSError):
                events.append(WorkerEvent(worker, EventKind.LOST, self._release(worker)))
        return events

    def close(self) -> None:
        for process in self._processes:
            if process is not None:
                process.terminate()
        for worker, process in enumerate(self._processes):
            if process is not None:
                process.join(EXIT_TIMEOUT_S)
                if process.is_alive():
                    process.kill()
                self._release(worker)

    def _send(self, worker: int, what: Task[Any] | Part) -> None:
        pipe = self._pipes[worker]
        assert pipe is not None
        with contextlib.suppress(OSError):  # a dead process; wait() reports it
            pipe.send(what)

    def _release(self, worker: int) -> str:
        """Free the resources of an ended process and say how it ended."""
        process, pipe = self._processes[worker], self._pipes[worker]
        assert process is not None
        assert pipe is not None
        pipe.close()
        process.join()
        code = process.exitcode or 0
        process.close()
        self._processes[worker] = self._pipes[worker] = None
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        return f"worker {worker} {how}"


def _gpus() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _task_of(task: AnyTask, worker: int) -> AnyTask:
    """``task`` on the worker's GPU, if there are several and the user named none."""
    gpus = _gpus()
    if gpus < 2 or task.network.device not in ("auto", "cuda"):
        return task
    network = dataclasses.replace(task.network, device=f"cuda:{worker % gpus}")
    return task.placed(network, task.threads)


def _work(pipe: Connection) -> None:
    """The main function of a worker: a task comes, then its parts, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends the workers

    def report(kind: EventKind, value: Any = None) -> None:
        is_result = kind is EventKind.FINISHED
        data = task.results.encode(value) if is_result else json.dumps(value).encode()
        pipe.send_bytes(kind.name.encode() + b"\n" + data)

    try:
        task: Task[Any] = pipe.recv()
        worker = task.worker()
        report(EventKind.READY, worker.machine)
        while True:
            part: Part = pipe.recv()
            result = worker.run(part, lambda: report(EventKind.ADVANCED, 1))
            report(EventKind.FINISHED, result)
    except (EOFError, BrokenPipeError):  # the parent has ended
        return
    except Exception as error:  # noqa: BLE001 - the parent reports it in one sentence
        report(EventKind.FAILED, sentence(error))


def _event(worker: int, report: bytes, results: ResultFormat[Any]) -> WorkerEvent:
    """What worker ``worker`` reports; raises ExecutorError where it is no report."""
    name, _, data = report.partition(b"\n")
    try:
        kind = EventKind[name.decode()]
        if kind is EventKind.FINISHED:
            return WorkerEvent(worker, kind, results.decode(data))
        return WorkerEvent(worker, kind, json.loads(data))
    except (PlainDataError, ValueError, KeyError) as error:
        raise ExecutorError(f"Worker {worker} sent what is no result: {error}.") from error


def sentence(error: Exception) -> str:
    """The message of an error on one line, without its full stop."""
    text = str(error) if isinstance(error, ActiveSamError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split()).rstrip(".")
