"""Isolation of the whole test run: a ROS domain and a ROS log folder of its own."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import hypothesis
import pytest

# Before torch is imported anywhere; child processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "2")

# Before triton is: without a GPU its kernels are interpreted.
if not Path("/proc/driver/nvidia").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Where the tests run in the background, Ctrl-C is ignored, and so it would be by every process they
# start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow computer is no failure; CI tries the same examples every time.
hypothesis.settings.register_profile("project", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("project")

# Builders of recordings and of signatures, a segmenter without a network, the golden weights.
pytest_plugins = ["golden_fixtures", "recording_fixtures", "signature_fixtures"]


def _import_from_checkout(name: str) -> None:
    """Make the folder ``name`` of the checkout importable.

    Not by the checkout on sys.path: its folder launch/ would pass for ROS's launch.
    """
    folder = Path(__file__).resolve().parents[1] / name
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[name] = package
    spec.loader.exec_module(package)


for _name in ("benchmarks", "training"):
    _import_from_checkout(_name)


# Files whose tests take longest, as measured in CPU time. They begin first, so that no worker of
# pytest-xdist is left with one of them at the end.
LONGEST_FILES = (
    "evaluation/execution/test_executors.py",
    "evaluation/execution/test_ray.py",
    "commands/test_demo_run.py",
    "node/over_dds/",
    "benchmarks/",
    "evaluation/execution/test_resume.py",
    "segmentation/",
    "commands/test_calibrate.py",
    "sam3/acceleration/",
    "replay/",
)


def _place_in_run(path: Path) -> int:
    """0 for the longest files, len(LONGEST_FILES) for all that are not among them."""
    name = path.relative_to(Path(__file__).parent).as_posix()
    places = (place for place, start in enumerate(LONGEST_FILES) if name.startswith(start))
    return next(places, len(LONGEST_FILES))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the longest files first; the order within a file stays."""
    items.sort(key=lambda item: _place_in_run(item.path))


def _free_domain() -> AbstractContextManager[int]:
    """A ROS domain id that no other test run on this computer holds."""
    try:
        import domain_coordinator
    except ImportError:
        return nullcontext(random.randint(1, 101))
    reserved: AbstractContextManager[int] = domain_coordinator.domain_id(
        lambda: random.randint(1, 100)
    )
    return reserved


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root folder of the checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def activesam() -> str:
    """The installed command, as a user starts it; :func:`activesam_ros.cli.main` is faster."""
    path = shutil.which("activesam")
    assert path is not None, "activesam is not on the path; source env.sh"
    return path


@pytest.fixture(scope="session", autouse=True)
def ros_domain_id(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """ROS domain id of this run, in the environment of every node and child process it starts."""
    with _free_domain() as domain_id, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(domain_id))
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        patch.setenv("ROS_LOG_DIR", str(tmp_path_factory.mktemp("ros_log")))
        patch.setenv("RCUTILS_COLORIZED_OUTPUT", "0")
        yield domain_id


@pytest.fixture(autouse=True)
def no_progress_in_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests compare what commands print, also on a slow computer, where each step takes seconds."""
    monkeypatch.setattr("activesam_ros.progress.FIRST_LINE_S", threading.TIMEOUT_MAX)
