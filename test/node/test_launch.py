"""segment.launch.py: what can be read of it everywhere, and a real launch where launch_ros is."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from activesam_ros.node.options import parameter_named

if TYPE_CHECKING:
    from test.node.conftest import OpenCamera, Peer

TIMEOUT_S = 60
LAUNCHER = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

file, *pairs = sys.argv[1:]
arguments = [pair.split(":=", 1) for pair in pairs]
source = PythonLaunchDescriptionSource(file)
service = LaunchService(noninteractive=True)
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
)
sys.exit(service.run())
"""


@pytest.fixture(scope="module")
def launch_file(repository: Path) -> Path:
    return repository / "launch" / "segment.launch.py"


@pytest.fixture(scope="module")
def tables(launch_file: Path) -> dict[str, Any]:
    """The constants of the launch file, read without running it."""
    tree = ast.parse(launch_file.read_text("utf-8"))
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def test_every_argument_has_a_description(tables: dict[str, Any]) -> None:
    names = [name for name, _, _ in tables["ARGUMENTS"]]
    assert len(names) == len(set(names))
    wanted = "image_topic image_transport vocabulary weights device params_file namespace"
    assert {*wanted.split(), "use_sim_time", "log_level"} <= set(names)
    for name, default, description in tables["ARGUMENTS"]:
        assert isinstance(default, str), name
        assert description.endswith("."), name


def test_arguments_that_are_parameters_are_known_to_the_node(tables: dict[str, Any]) -> None:
    names = [name for name, _, _ in tables["ARGUMENTS"]]
    for name in tables["PARAMETERS"]:
        assert parameter_named(name) is not None
        assert name in names


def test_a_launched_node_segments_and_comes_back_after_a_crash(
    launch_file: Path,
    golden: Path,
    small_vocabulary: Path,
    namespace: str,
    peer: Peer,
    open_camera: OpenCamera,
    photo: NDArray[np.uint8],
    tmp_path: Path,
) -> None:
    pytest.importorskip("launch_ros", reason="launch_ros is not installed")
    params_file = tmp_path / "params.yaml"
    params_file.write_text(
        "/**:\n  ros__parameters:\n    hypernym_tokens: 0\n    vocabulary: no_such_vocabulary\n"
    )
    arguments = {
        "image_topic": "camera/image_raw",
        "weights": golden / "model.pt",
        "vocabulary": small_vocabulary,
        "params_file": params_file,
        "namespace": namespace,
        "respawn_delay": 0.1,
    }
    command = [sys.executable, "-c", LAUNCHER, str(launch_file)]
    command += [f"{name}:={value}" for name, value in arguments.items()]
    log_file = tmp_path / "launch.txt"
    with (
        log_file.open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as launcher,
    ):
        try:
            camera = open_camera(Image, "camera/image_raw")
            camera.first_mask(lambda stamp_ns: peer.image(photo, stamp_ns))
            (pid,) = started(log_file)
            os.kill(pid, signal.SIGKILL)
            peer.wait_for(lambda: len(started(log_file)) == 2, "a new process")
            peer.wait_for(camera.publisher.get_subscription_count, "its subscription")
            camera.first_mask(lambda stamp_ns: peer.image(photo, stamp_ns))
            launcher.send_signal(signal.SIGINT)
            assert launcher.wait(TIMEOUT_S) == 0
        finally:
            launcher.kill()
            for pid in started(log_file):
                if Path(f"/proc/{pid}").exists():
                    os.kill(pid, signal.SIGKILL)
    assert "process has finished cleanly" in log_file.read_text("utf-8")


def started(log_file: Path) -> list[int]:
    """Process ids of the nodes the launcher started, in order."""
    return [
        int(pid)
        for pid in re.findall(r"process started with pid \[(\d+)\]", log_file.read_text("utf-8"))
    ]
