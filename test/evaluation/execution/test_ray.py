"""A real Ray head and two workers on one machine; one worker is killed during the run."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from activesam_ros.cli import main
from activesam_ros.errors import ExecutorError, MissingDependencyError
from activesam_ros.evaluation.datasets.bag_samples import BagSource
from activesam_ros.evaluation.execution.worker import Task
from activesam_ros.execution import ray_cluster
from activesam_ros.execution.executors import InProcess
from activesam_ros.execution.ray_cluster import RayExecutor
from activesam_ros.execution.task import Part
from activesam_ros.pipeline import NetworkOptions
from activesam_ros.prompts.vocabulary import vocabulary_from_names
from activesam_ros.segmentation.methods import Method, default_settings

if TYPE_CHECKING:
    from test.evaluation.conftest import Interruptions

OBJECT_STORE_BYTES = 80 << 20
TIMINGS = ("frames_per_second", "latency_ms", "stage_latency_ms", "peak_memory_mib")


@pytest.fixture(scope="module")
def cluster(repository: Path) -> Iterator[Any]:
    """A head node without CPUs and two nodes of one CPU, each in its own process."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # where workers find fatal_source
        patch.setenv(
            "PYTHONPATH", str(repository / "test/evaluation/execution/in_workers"), os.pathsep
        )
        # 15 by default, which starves workers on a busy computer
        patch.setenv("RAY_worker_niceness", "0")
        made: Any = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "include_dashboard": False,
                "object_store_memory": OBJECT_STORE_BYTES,
            },
        )
        try:
            for _ in range(2):
                made.add_node(num_cpus=1, object_store_memory=OBJECT_STORE_BYTES)
            made.wait_for_nodes()
            yield made
        finally:
            made.shutdown()


@pytest.fixture
def task(repository: Path, weights: Path, tmp_path: Path) -> Task:
    bag = tmp_path / "drive.mcap"
    assert main(f"demo drive --frames 6 --size 96x64 --output {bag}".split()) == 0
    return Task(
        BagSource(bag, "/camera/image_raw", None),
        NetworkOptions(weights, device="cpu", cache_dir=tmp_path),
        vocabulary_from_names(["road", "sky", "car", "building"]),
        {Method.ACTIVESAM: default_settings(Method.ACTIVESAM)},
        None,
        (default_settings(Method.FULL), 2),
        threads=1,
    )


def test_a_cluster_gives_what_one_process_gives_though_a_worker_is_killed(
    cluster: Any,
    task: Task,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(repository / "test/evaluation/execution/in_workers")
    fatal = importlib.import_module("fatal_source")
    alone = InProcess().run(task, 6, lambda more: None)
    deadly = fatal.FatalSource(task.source, 3, tmp_path / "killed")
    done: list[int] = []
    outcome = RayExecutor(cluster.address, workers=None, restarts=2).run(
        dataclasses.replace(task, source=deadly), 6, done.append
    )
    assert (outcome.executor["workers"], outcome.executor["lost_workers"]) == (2, 1)
    assert sum(done) == 6
    results = [
        {
            key: value
            for key, value in each.result.tallies.clean[Method.ACTIVESAM].results().items()
            if key not in TIMINGS
        }
        for each in (outcome, alone)
    ]
    assert results[0] == results[1]
    assert outcome.result.count == alone.result.count

    broken = dataclasses.replace(task, source=fatal.FatalSource(task.source, 0, None))
    with pytest.raises(ExecutorError, match=r"stopped at .*: ZeroDivisionError: on purpose\.$"):
        RayExecutor(cluster.address, 1, restarts=0).run(broken, 6, done.append)


def test_a_killed_evaluation_on_a_cluster_goes_on_where_it_stopped(
    cluster: Any,
    task: Task,
    weights: Path,
    tmp_path: Path,
    interruptions: Interruptions,
    done_here: list[Part],
) -> None:
    assert isinstance(task.source, BagSource)
    names = tmp_path / "names.txt"
    names.write_text("road\nsky\ncar\nbuilding\n")
    whole, output = tmp_path / "whole", tmp_path / "output"
    command = (
        f"evaluate bag {task.source.path} --image-topic /camera/image_raw "
        f"--label-topic /ground_truth/labels --weights {weights} --device cpu --threads 1 "
        f"--vocabulary {names} --cache-dir {tmp_path} --output"
    ).split()
    assert main([*command, str(whole)]) == 0
    command += [str(output), "--executor", "ray", "--address", cluster.address]
    assert interruptions.die("SIGKILL", 2, command) == -signal.SIGKILL
    before = interruptions.kept(output)
    assert 2 <= len(before) < interruptions.images
    done_here.clear()
    assert main(command) == 0
    done = interruptions.places(done_here)
    assert sorted([*before, *done]) == list(range(interruptions.images))
    assert interruptions.results(output) == interruptions.results(whole)
    assert json.loads((output / "results.json").read_text())["executor"]["name"] == "ray"


def test_a_calibration_on_a_cluster_gives_what_one_process_gives(
    cluster: Any, activesam: str, golden_dir: Path, golden_v2_dir: Path, tmp_path: Path
) -> None:
    command = [
        *("calibrate", str(golden_v2_dir / "pool"), "--weights", str(golden_dir / "model.pt")),
        *("--vocabulary", str(golden_v2_dir / "voc20.vocabulary.txt"), "--device", "cpu"),
        *("--threads", "1", "--limit", "4", "--set", "min_pixels=2", "--output"),
    ]
    alone, divided = tmp_path / "alone.npz", tmp_path / "divided.npz"
    assert main([*command, str(alone)]) == 0
    ended = subprocess.run(
        [activesam, *command, str(divided), "--executor", "ray", "--address", cluster.address],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    with np.load(alone) as one, np.load(divided) as other:
        assert set(one) == set(other)
        for name in one:
            assert np.array_equal(one[name], other[name], equal_nan=name == "m_bg"), name


def test_without_a_cluster_or_without_ray_one_sentence_says_so(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    with pytest.raises(ExecutorError, match="no Ray cluster at --address nonsense"):
        RayExecutor("nonsense", 1, 0).run(task, 6, lambda more: None)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"\.\[ray\]"):
        RayExecutor("127.0.0.1:1", 1, 0).run(task, 6, lambda more: None)


class SilentRay:
    """A ray module whose cluster never answers; notes what init is given."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.before = before
        self.options: dict[str, Any] = {}
        self.waits = threading.Event()

    def init(self, **options: Any) -> None:
        self.options = options
        self.before()
        self.waits.wait(60)


def test_a_cluster_that_does_not_answer_is_one_sentence(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = SilentRay()
    monkeypatch.setattr(ray_cluster, "_ray", lambda: silent)
    monkeypatch.setattr(ray_cluster, "CONNECT_TIMEOUT_S", 0.1)
    with pytest.raises(ExecutorError, match=r"no Ray cluster at --address 10.*answered"):
        RayExecutor("10.1.1.1:1", 1, 0).run(task, 6, lambda more: None)
    assert "_node_ip_address" not in silent.options
    silent.waits.set()


def test_sigterm_ends_the_wait_for_a_cluster(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = SilentRay(lambda: os.kill(os.getpid(), signal.SIGTERM))
    monkeypatch.setattr(ray_cluster, "_ray", lambda: silent)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        RayExecutor("10.1.1.1:1", 1, 0).run(task, 6, lambda more: None)
    assert signal.getsignal(signal.SIGTERM) == before
    silent.waits.set()


def test_a_cluster_that_we_start_is_bound_to_this_computer(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise RuntimeError("enough seen")

    silent = SilentRay(refuse)
    monkeypatch.setattr(ray_cluster, "_ray", lambda: silent)
    with pytest.raises(ExecutorError, match="enough seen"):
        RayExecutor("local", 1, 0).run(task, 6, lambda more: None)
    assert silent.options["_node_ip_address"] == "127.0.0.1"
    assert silent.options["include_dashboard"] is False
