"""Faults of whole processes: cameras and nodes that are killed and come back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray
from sensor_msgs.msg import Image

if TYPE_CHECKING:
    from test.node.conftest import OpenCamera, Peer, StartNode

StartCamera: TypeAlias = "Callable[[str], subprocess.Popen[str]]"


@pytest.fixture
def start_camera(repository: Path, golden: Path, peer: Peer) -> Iterator[StartCamera]:
    """Start a camera that publishes with a reliability, 20 images a second."""
    started: list[subprocess.Popen[str]] = []

    def start(reliability: str) -> subprocess.Popen[str]:
        script = repository / "test" / "node" / "over_dds" / "camera_process.py"
        picture = golden / "background.png"
        command = [sys.executable, str(script), peer.name("image"), reliability, "20", str(picture)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_camera_that_is_killed_and_comes_back_otherwise(
    start_node: StartNode, start_camera: StartCamera, peer: Peer, masks: list[Any]
) -> None:
    node = start_node({"image_timeout_s": 1.5})
    camera = start_camera("RELIABLE")
    peer.wait_for(lambda: masks, "masks")
    # No goodbye: for a while the graph still shows the publisher.
    camera.kill()
    status = peer.status("image", lambda _, values: values["state"] == "stale", "a dead camera")
    assert status.level in (b"\x01", b"\x02")
    assert "image" in status.message
    masks.clear()
    start_camera("BEST_EFFORT")
    peer.wait_for(lambda: masks, "masks of the camera that came back")
    assert masks[-1].header.frame_id == "BEST_EFFORT"
    peer.status("image", lambda _, values: values["state"] == "active", "active again")
    assert node.interrupt() == 0
    assert "Traceback" not in node.log()


def test_a_node_that_is_killed_and_started_again(
    start_node: StartNode,
    open_camera: OpenCamera,
    peer: Peer,
    photo: NDArray[np.uint8],
) -> None:
    first = start_node({"image_timeout_s": 60.0})
    camera = open_camera(Image, "image")
    camera.first_mask(lambda stamp_ns: peer.image(photo, stamp_ns))
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()
    # its publisher goes on, with nobody to hear it
    for _ in range(30):
        camera.publish(peer.image(photo, peer.next_stamp()))
    second = start_node({"image_timeout_s": 60.0})
    camera.first_mask(lambda stamp_ns: peer.image(photo, stamp_ns))
    peer.status("image", lambda _, values: values["state"] == "active", "active again")
    assert second.interrupt() == 0
    assert "Traceback" not in second.log()
