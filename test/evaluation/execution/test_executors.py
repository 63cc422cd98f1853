"""Results of parts equal those of one process, also when workers are lost."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import json
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activesam_ros.cli import main
from activesam_ros.errors import ExecutorError, RecordingError, UsageError
from activesam_ros.evaluation.corruptions.catalogue import Corruption, CorruptionPlan
from activesam_ros.evaluation.datasets.bag_samples import BagSource
from activesam_ros.evaluation.datasets.sample_source import SourceCount
from activesam_ros.evaluation.evaluator import Tallies
from activesam_ros.evaluation.execution.part_data import (
    JOURNAL_NAME,
    PartResult,
    evaluation_journal,
)
from activesam_ros.evaluation.execution.worker import Task
from activesam_ros.evaluation.scoring.tally import prediction_ids
from activesam_ros.execution.executors import (
    EventKind,
    InProcess,
    Outcome,
    WorkerEvent,
    run_pool,
)
from activesam_ros.execution.journaled_run import journaled_run
from activesam_ros.execution.local_processes import LocalExecutor
from activesam_ros.execution.part_queue import PartQueue, part_size
from activesam_ros.execution.task import Part
from activesam_ros.pipeline import NetworkOptions
from activesam_ros.prompts.vocabulary import vocabulary_from_names
from activesam_ros.segmentation.methods import Method, default_settings

TIMINGS = ("frames_per_second", "latency_ms", "stage_latency_ms", "peak_memory_mib")


@pytest.fixture
def fatal(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of FatalSource, on a path that workers inherit; they cannot import a test."""
    monkeypatch.syspath_prepend(repository / "test/evaluation/execution/in_workers")
    return importlib.import_module("fatal_source")


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bag = tmp_path_factory.mktemp("drive") / "drive.mcap"
    assert main(f"demo drive --frames 6 --size 96x64 --output {bag}".split()) == 0
    return bag


@pytest.fixture
def task(drive: Path, weights: Path, tmp_path: Path) -> Task:
    """One thread per network, because sums depend on the number of threads."""
    vocabulary = vocabulary_from_names(["road", "sky", "car", "building"])
    return Task(
        BagSource(drive, "/camera/image_raw", "/ground_truth/labels"),
        NetworkOptions(weights, device="cpu", cache_dir=tmp_path),
        vocabulary,
        {Method.ACTIVESAM: default_settings(Method.ACTIVESAM)},
        prediction_ids(vocabulary),
        (default_settings(Method.FULL), 2),
        CorruptionPlan((Corruption("gaussian_noise", 3),)),
        threads=1,
    )


def told(outcome: Outcome[PartResult]) -> dict[str, Any]:
    """Everything but timings."""
    tallies = outcome.result.tallies
    entries = [tallies.clean, *tallies.corrupted.values()]
    results = [
        {key: value for key, value in tally.results().items() if key not in TIMINGS}
        for entry in entries
        for tally in entry.values()
    ]
    return {
        "results": results,
        "clean": tallies.clean_agreement,
        "count": dataclasses.asdict(outcome.result.count),
    }


def test_two_processes_give_what_one_gives_though_one_is_killed(
    task: Task, fatal: Any, tmp_path: Path
) -> None:
    assert isinstance(task.source, BagSource)
    alone = InProcess().run(task, 6, lambda more: None)
    done: list[int] = []
    deadly = fatal.FatalSource(task.source, 3, tmp_path / "killed")
    outcome = LocalExecutor(2, restarts=1).run(
        dataclasses.replace(task, source=deadly), 6, done.append
    )
    assert told(outcome) == told(alone)
    assert sum(done) == 6
    executor = outcome.executor
    assert (executor["name"], executor["workers"], executor["lost_workers"]) == ("local", 2, 1)
    assert outcome.machine == alone.machine
    results = told(outcome)["results"]
    assert [entry["frames"] for entry in results] == [6, 6]
    assert results[0] != results[1]


INTERRUPTED = """
import pickle, sys
from pathlib import Path
from activesam_ros.execution.local_processes import LocalExecutor
from activesam_ros.evaluation.execution.part_data import evaluation_journal

task, folder = pickle.loads(Path(sys.argv[1]).read_bytes())
journal = evaluation_journal(folder, {"job": 1}, task)
LocalExecutor(2, restarts=0).run(task, 6, lambda more: None, journal)
"""


def test_when_all_is_killed_its_finished_parts_are_not_done_again(
    task: Task, fatal: Any, tmp_path: Path
) -> None:
    assert isinstance(task.source, BagSource)
    task = dataclasses.replace(task, pictures=True)
    alone = InProcess().run(task, 6, lambda more: None)
    deadly = fatal.FatalSource(task.source, 3, tmp_path / "killed", parent=True)
    job = tmp_path / "job.pickle"
    job.write_bytes(pickle.dumps((dataclasses.replace(task, source=deadly), tmp_path / "out")))
    paths = os.pathsep.join([str(Path(fatal.__file__).parent), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(job)],
        env=os.environ | {"PYTHONPATH": paths},
        check=False,
        timeout=300,
    )
    assert ended.returncode == -signal.SIGKILL
    journal = evaluation_journal(tmp_path / "out", {"job": 1}, task)
    kept = journal.images
    assert 2 <= kept < 6  # of two workers one got image 3 when two images were done
    done: list[int] = []
    outcome = LocalExecutor(2, restarts=0).run(task, 6, done.append, journal)
    journal.close()
    assert told(outcome) == told(alone)
    assert sum(done) == 6 - kept
    pictures, expected = outcome.result.tallies.pictures, alone.result.tallies.pictures
    assert pictures is not None
    assert expected is not None
    assert pictures.groups() == expected.groups()


def test_workers_are_replaced_no_more_often_than_stated(
    task: Task, fatal: Any, tmp_path: Path
) -> None:
    assert isinstance(task.source, BagSource)
    deadly = fatal.FatalSource(task.source, 1, tmp_path / "killed")
    with pytest.raises(
        ExecutorError, match=r"at images 1 to 1: worker 0 was killed by SIGKILL; 1 .* at most 0 are"
    ):
        LocalExecutor(1, restarts=0).run(
            dataclasses.replace(task, source=deadly), 6, lambda more: None
        )


def test_a_worker_that_ends_before_it_has_read_its_task_is_lost(task: Task, fatal: Any) -> None:
    unreadable = dataclasses.replace(task, source=fatal.UnreadableSource())
    with pytest.raises(ExecutorError, match=r"could not start: worker 0 exited with 3; 1 workers"):
        LocalExecutor(1, restarts=0).run(unreadable, 6, lambda more: None)


def test_what_a_worker_raises_is_told_in_one_sentence(task: Task, fatal: Any, drive: Path) -> None:
    assert isinstance(task.source, BagSource)
    broken = fatal.FatalSource(task.source, 0, None)
    executor = LocalExecutor(1, restarts=3)
    with pytest.raises(
        ExecutorError, match=r"^The evaluation stopped at .*: ZeroDivisionError: on purpose\.$"
    ):
        executor.run(dataclasses.replace(task, source=broken), 6, lambda more: None)
    missing = dataclasses.replace(task.network, weights=drive.with_name("missing.pt"))
    with pytest.raises(ExecutorError, match=r"^A worker .* could not start: .*missing\.pt"):
        executor.run(dataclasses.replace(task, network=missing), 6, lambda more: None)


def test_the_installed_command_divides_its_work(
    activesam: str, drive: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("road\nsky\ncar\n")
    command = (
        f"evaluate bag {drive} --image-topic /camera/image_raw --weights {weights} --device cpu "
        f"--vocabulary {names} --cache-dir {tmp_path} --corruption fog --output {tmp_path}/out"
    )
    ended = subprocess.run(
        [activesam, *f"{command} --executor local --workers 1 --threads 1".split()],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert content["executor"]["name"] == "local"
    assert content["executor"]["lost_workers"] == 0
    assert content["machine"]["threads"] == 1
    assert content["methods"]["activesam2"]["frames"] == 6
    assert list(content["corruptions"]["runs"]) == ["fog:5"]
    assert "fog:5" in ended.stdout
    for wrong, message in {
        "--workers 2": "--workers 2 needs --executor",
        "--executor local --workers 0": "--workers 0 must be 1 or more",
        "--threads 0": "--threads 0 must be",
        "--worker-restarts -1": "--worker-restarts -1 must be 0",
    }.items():
        assert main(f"{command} {wrong}".split()) == 2
        assert message in capsys.readouterr().err


@functools.cache
def without_methods() -> Task:
    """The task of :func:`part_result`."""
    source = BagSource(Path("drive.mcap"), "/camera", None)
    return Task(source, NetworkOptions(Path("sam3.pt")), vocabulary_from_names(["road"]), {}, None)


def part_result(part: Part, images: int) -> PartResult:
    """The result of a part of a source of ``images`` images."""
    stop = images if part.stop is None else min(part.stop, images)
    places = list(range(part.start, stop))
    count = SourceCount(images=len(places), ended=part.stop is None or part.stop > images)
    count.problems.update(map(str, places))
    return PartResult(Tallies({}, {}, {}), count)


class FakePool:
    """Workers that report in any order; ``losses`` of them are lost."""

    def __init__(self, images: int, losses: int, choose: Callable[[int], int]) -> None:
        self.images, self.losses, self.choose = images, losses, choose
        self.pending: list[WorkerEvent] = []
        self.given: list[Part] = []

    def start(self, worker: int) -> None:
        self.pending.append(WorkerEvent(worker, EventKind.READY, {"worker": worker}))

    def assign(self, worker: int, part: Part) -> None:
        self.given.append(part)
        if self.losses and self.choose(2):
            self.losses -= 1
            begun = min(part_result(part, self.images).count.images, 1)
            self.pending.append(WorkerEvent(worker, EventKind.ADVANCED, begun))
            self.pending.append(WorkerEvent(worker, EventKind.LOST, "gone"))
            return
        result = part_result(part, self.images)
        self.pending.append(WorkerEvent(worker, EventKind.ADVANCED, result.count.images))
        self.pending.append(WorkerEvent(worker, EventKind.FINISHED, result))

    def wait(self) -> Sequence[WorkerEvent]:
        assert self.pending, "nobody works and the source is not done"
        worker = self.pending[self.choose(len(self.pending))].worker
        event = next(event for event in self.pending if event.worker == worker)
        self.pending.remove(event)
        return [event]

    def close(self) -> None:
        pass


@given(
    images=st.integers(0, 40),
    workers=st.integers(1, 4),
    guess=st.one_of(st.none(), st.integers(0, 60)),
    losses=st.integers(0, 5),
    seed=st.integers(0, 1000),
)
def test_every_image_counts_once_and_in_order(
    images: int, workers: int, guess: int | None, losses: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    pool = FakePool(images, losses, lambda below: int(random.integers(below)))
    parts: PartQueue[PartResult] = PartQueue(part_size(workers, guess), guess)
    progress: list[int] = []
    total, machine, lost = run_pool(pool, parts, workers, 5, progress.append, "evaluation")
    assert list(total.count.problems) == [str(place) for place in range(images)]
    assert set(total.count.problems.values()) <= {1}
    assert sum(progress) == images
    assert lost <= losses - pool.losses  # one may be lost beyond the end, when all is done
    assert machine["worker"] < workers


@pytest.fixture
def streamed(task: Task) -> Task:
    """A task whose frames depend on the frames before them: the active set grows."""
    values = {
        "streaming": True,
        "max_active": 4,
        "enter_threshold": 0.0,
        "leave_threshold": 0.0,
        "scene_change_threshold": 0.0,
    }
    settings = {method: each.replace(values) for method, each in task.settings.items()}
    names = ("road", "car", "tree", "sky", "person", "bus", "dog", "lamp", "wall", "sign")
    vocabulary = vocabulary_from_names(list(names))
    ids = prediction_ids(vocabulary)
    return dataclasses.replace(
        task, vocabulary=vocabulary, label_ids=ids, settings=settings, corruptions=None
    )


def test_a_stream_is_not_cut_into_parts(streamed: Task) -> None:
    alone = InProcess().run(streamed, 6, lambda more: None)
    active = alone.result.tallies.clean[Method.ACTIVESAM].results()["active_classes_over_time"]
    assert isinstance(active, dict)
    assert len(set(active["active_classes"])) > 1  # cutting the stream would change the results
    done: list[int] = []
    executor = LocalExecutor(None, restarts=0)
    with journaled_run(executor, streamed, None, 6, "frame", "evaluating") as outcome:
        pass
    assert told(outcome) == told(alone)
    assert outcome.executor["workers"] == 1
    assert LocalExecutor(1, restarts=0).run(streamed, 6, done.append).executor["workers"] == 1
    assert sum(done) == 6


def test_a_stream_starts_again_when_its_worker_is_lost(
    streamed: Task, fatal: Any, tmp_path: Path
) -> None:
    assert isinstance(streamed.source, BagSource)
    alone = InProcess().run(streamed, 6, lambda more: None)
    deadly = fatal.FatalSource(streamed.source, 3, tmp_path / "killed")
    done: list[int] = []
    outcome = LocalExecutor(1, restarts=1).run(
        dataclasses.replace(streamed, source=deadly), 6, done.append
    )
    assert told(outcome) == told(alone)
    assert outcome.executor["lost_workers"] == 1
    assert (min(done), sum(done)) == (-3, 6)


def test_several_workers_for_a_stream_are_refused(streamed: Task) -> None:
    with pytest.raises(UsageError, match="--workers 2 cannot be used with streaming=true"):
        LocalExecutor(2, restarts=0).run(streamed, 6, lambda more: None)


class Interrupted(Exception):
    """Interrupts the work of a pool."""


@settings(max_examples=25)
@given(
    images=st.integers(0, 20),
    workers=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    guess=st.one_of(st.none(), st.integers(0, 60)),
    events=st.integers(0, 30),
    seed=st.integers(0, 1000),
)
def test_interrupted_anywhere_every_image_counts_once(
    images: int, workers: tuple[int, int], guess: int | None, events: int, seed: int
) -> None:
    random = np.random.default_rng(seed)

    def choose(below: int) -> int:
        nonlocal events
        events -= 1
        if events < 0:
            raise Interrupted
        return int(random.integers(below))

    with tempfile.TemporaryDirectory() as folder:
        journal = evaluation_journal(Path(folder) / "out", {"job": 1}, without_methods())
        with contextlib.suppress(Interrupted):
            parts = PartQueue(part_size(workers[0], guess), guess, journal)
            run_pool(FakePool(images, 0, choose), parts, workers[0], 0, lambda more: None, "")
        journal.close()
        journal = evaluation_journal(Path(folder) / "out", {"job": 1}, without_methods())
        before, progress = journal.images, [0]
        pool = FakePool(images, 0, lambda below: int(random.integers(below)))
        parts = PartQueue(part_size(workers[1], guess), guess, journal)
        total, _, _ = run_pool(pool, parts, workers[1], 0, progress.append, "evaluation")
        journal.remove()
        assert not (Path(folder) / "out").exists()
    assert list(total.count.problems) == [str(place) for place in range(images)]
    assert set(total.count.problems.values()) <= {1}
    assert before + sum(progress) == images


def test_a_journal_in_use_of_another_kind_or_tampered_with_is_refused(tmp_path: Path) -> None:
    journal = evaluation_journal(tmp_path, {"job": 1}, without_methods())
    part = Part(0, 2)
    journal.keep(part, part_result(part, 9))
    with pytest.raises(UsageError, match="wait for the evaluation that has it open"):
        evaluation_journal(tmp_path, {"job": 1}, without_methods())
    journal.close()
    with pytest.raises(UsageError, match="an interrupted evaluation with another job"):
        evaluation_journal(tmp_path, {"job": 2}, without_methods())
    with contextlib.closing(sqlite3.connect(tmp_path / JOURNAL_NAME)) as database, database:
        database.execute("UPDATE parts SET result = ?", (b"torn",))
    journal = evaluation_journal(tmp_path, {"job": 1}, without_methods())
    with pytest.raises(RecordingError, match="a checksum is wrong"):
        list(journal.parts())
    journal.close()
    (tmp_path / JOURNAL_NAME).write_text("something else altogether, not a database at all")
    with pytest.raises(RecordingError, match="is not what an interrupted evaluation leaves"):
        evaluation_journal(tmp_path, {"job": 1}, without_methods())


def test_a_journal_of_an_earlier_version_is_refused_and_kept(tmp_path: Path) -> None:
    journal = evaluation_journal(tmp_path, {"job": 1}, without_methods())
    part = Part(0, 2)
    journal.keep(part, part_result(part, 9))
    journal.close()
    with contextlib.closing(sqlite3.connect(tmp_path / JOURNAL_NAME)) as database:
        database.execute("PRAGMA user_version=0")  # what versions before the first wrote
    with pytest.raises(UsageError, match=r"interrupted evaluation of another version.*remove the"):
        evaluation_journal(tmp_path, {"job": 1}, without_methods())
    with contextlib.closing(sqlite3.connect(tmp_path / JOURNAL_NAME)) as database:
        assert database.execute("SELECT count(*) FROM parts").fetchone() == (1,)


def test_lost_parts_come_first_and_nothing_is_taken_beyond_the_end() -> None:
    parts: PartQueue[PartResult] = PartQueue(2, 4)
    first, second = parts.take(), parts.take()
    assert (first, second) == (Part(0, 2), Part(2, 4))
    assert parts.take() is None  # four images are expected, and more may show
    assert second is not None
    assert first is not None
    parts.lost(second)
    assert parts.take() == second
    parts.done(second, part_result(second, 3))
    assert parts.take() is None
    assert not parts.finished
    parts.done(first, part_result(first, 3))
    assert parts.finished
    assert parts.total is not None
    assert parts.total.count.images == 3


def test_parts_are_small_enough_for_all_workers_and_bounded() -> None:
    assert [part_size(2, count) for count in (None, 0, 50, 10_000)] == [16, 1, 3, 32]
