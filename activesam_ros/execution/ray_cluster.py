"""Actors on a Ray cluster, each with its own network: one per GPU, or one per machine without."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from activesam_ros.errors import ExecutorError, MissingDependencyError
from activesam_ros.execution.executors import (
    EventKind,
    Outcome,
    WorkerEvent,
    run_pool,
    worker_count,
)
from activesam_ros.execution.local_processes import sentence
from activesam_ros.execution.part_journal import PartJournal
from activesam_ros.execution.part_queue import part_queue
from activesam_ros.execution.task import Part, Result, Task, Worker

LOCAL = "local"
"""The address that starts a cluster of this computer alone, for the time of the evaluation."""
CONNECT_TIMEOUT_S = 20.0
START_TIMEOUT_S = 600.0
"""The work ends with an error when no worker has started or worked for so long."""


@dataclasses.dataclass(frozen=True)
class RayExecutor:
    """Runs a task in actors on the cluster at ``address``; up to ``restarts`` are replaced.

    workers: None for one per GPU of the cluster, or one per machine without GPUs. The task's paths
    must mean the same on every machine, and this package must be installed there.
    """

    address: str
    workers: int | None
    restarts: int

    def run(
        self,
        task: Task[Result],
        expected: int | None,
        progress: Callable[[int], object],
        journal: PartJournal[Result] | None = None,
    ) -> Outcome[Result]:
        ray = _ray()
        started_s = time.perf_counter()
        with _sigterm_is_ctrl_c():
            _connect(ray, self.address)
            try:
                pool = _Actors(ray, task, self.workers)
                try:
                    parts = part_queue(task, pool.workers, expected, journal)
                    result, machine, lost = run_pool(
                        pool, parts, pool.workers, self.restarts, progress, task.results.work
                    )
                finally:
                    pool.close()
            finally:
                ray.shutdown()
        executor = {
            "name": "ray",
            "workers": pool.workers,
            "gpus_per_worker": pool.gpus,
            "lost_workers": lost,
            "seconds": time.perf_counter() - started_s,
        }
        return Outcome(result, machine, executor)


class _RemoteWorker:
    """The actor. It reports errors as text, so that no exception class has to be sent."""

    def __init__(self, task: Task[Any]) -> None:
        self._task = task
        self._worker: Worker[Any] | None = None

    def machine(self) -> tuple[EventKind, Any]:
        """Load the network and open the source."""
        try:
            self._worker = self._task.worker()
        except Exception as error:  # noqa: BLE001 - the driver reports it in one sentence
            return EventKind.FAILED, sentence(error)
        return EventKind.READY, self._worker.machine

    def part(self, part: Part) -> tuple[EventKind, Any]:
        """Compute ``part``."""
        assert self._worker is not None
        try:
            return EventKind.FINISHED, self._worker.run(part)
        except Exception as error:  # noqa: BLE001 - the driver reports it in one sentence
            return EventKind.FAILED, sentence(error)


class _Actors:
    """An actor per worker, each with one pending call."""

    def __init__(self, ray: Any, task: Task[Any], workers: int | None) -> None:
        self._ray = ray
        resources = ray.cluster_resources()
        machines = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        on_gpu = task.network.device != "cpu" and resources.get("GPU", 0) >= 1
        self.gpus = 1 if on_gpu else 0
        default = int(resources["GPU"]) if on_gpu else max(len(machines), 1)
        self.workers = worker_count(task, workers, default)
        per_machine = 1 if on_gpu else max(math.ceil(self.workers / max(len(machines), 1)), 1)
        cpus = min((node["Resources"]["CPU"] for node in machines), default=1)
        self._cpus = 1 if on_gpu else max(int(cpus) // per_machine, 1)
        if task.threads is None and not on_gpu:
            task = task.placed(task.network, self._cpus)
        self._task = ray.put(task)
        self._actors: dict[int, Any] = {}
        self._pending: dict[Any, int] = {}
        self._starting: set[int] = set()

    def start(self, worker: int) -> None:
        remote = self._ray.remote(num_cpus=self._cpus, num_gpus=self.gpus, max_restarts=0)(
            _RemoteWorker
        )
        self._actors[worker] = remote.remote(self._task)
        self._starting.add(worker)
        self._pending[self._actors[worker].machine.remote()] = worker

    def assign(self, worker: int, part: Part) -> None:
        self._pending[self._actors[worker].part.remote(part)] = worker

    def wait(self) -> Sequence[WorkerEvent]:
        # A replacement may wait for a machine that never comes, while the other workers go on.
        nobody_works = self._starting == set(self._pending.values())
        done, _ = self._ray.wait(
            list(self._pending), timeout=START_TIMEOUT_S if nobody_works else None
        )
        if not done:
            raise ExecutorError(
                f"No worker could start on the Ray cluster in {START_TIMEOUT_S:.0f} s; each needs "
                f"{self._cpus} CPUs and {self.gpus} GPUs ('ray status' shows what is free)."
            )
        events = []
        for call in done:
            worker = self._pending.pop(call)
            self._starting.discard(worker)
            try:
                kind, value = self._ray.get(call)
            except self._ray.exceptions.RayError as error:
                self._ray.kill(self._actors.pop(worker))
                why = f"worker {worker} was lost ({_reason(error)})"
                events.append(WorkerEvent(worker, EventKind.LOST, why))
                continue
            if kind is EventKind.FINISHED:
                events.append(WorkerEvent(worker, EventKind.ADVANCED, value.images))
            events.append(WorkerEvent(worker, kind, value))
        return events

    def close(self) -> None:
        for actor in self._actors.values():
            self._ray.kill(actor)


def _reason(error: Exception) -> str:
    """Ray's first line; for an error while an actor started the last line, which names it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return (lines[-1] if "creation task" in lines[0] else lines[0]).rstrip(".")


@contextlib.contextmanager
def _sigterm_is_ctrl_c() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt in the block, so that what was started ends with it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _connect(ray: Any, address: str) -> None:
    """Join the cluster at ``address``; LOCAL starts one that only this computer can reach.

    Raises ExecutorError, at the latest after CONNECT_TIMEOUT_S, or START_TIMEOUT_S for LOCAL.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    timeout_s = CONNECT_TIMEOUT_S
    if address == LOCAL:
        # Ray would listen on every interface, and whoever reaches it can run code here.
        timeout_s = START_TIMEOUT_S
        options |= {"_node_ip_address": "127.0.0.1", "include_dashboard": False}
    outcome: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

    def connect() -> None:
        try:
            ray.init(address=address, **options)
        except Exception as error:  # noqa: BLE001 - the waiting thread tells it
            outcome.put(error)
        else:
            outcome.put(None)

    # In a thread, because Ray waits for minutes and does not heed signals meanwhile.
    threading.Thread(target=connect, name="ray_init", daemon=True).start()
    try:
        error = outcome.get(timeout=timeout_s)
    except queue.Empty:
        error = TimeoutError(f"nothing answered in {timeout_s:.0f} s")
    if error is not None:
        raise ExecutorError(
            f"There is no Ray cluster at --address {address}: {sentence(error)}."
        ) from error


def _ray() -> Any:
    # Of Ray's native code, which writes to stderr beside our one sentence.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            f"--executor ray needs Ray ({error}): run pip install '.[ray]' in the checkout "
            "of activesam_ros."
        ) from error
    return ray
