"""Starting and stopping the node as a process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from activesam_ros.srv import SetVocabulary
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from activesam_ros.node.playback.command import StopFlag
from activesam_ros.node.segment_node import main

if TYPE_CHECKING:
    from test.node.conftest import OpenCamera, Peer, StartNode

TIMEOUT_S = 60


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-p", "confidence_threshold:=2.0"], "confidence_threshold=2.0 is out of range"),
        (["-p", "confidence_treshold:=0.2"], "Did you mean confidence_threshold?"),
        (["-p", "image_transport:=theora"], "give one of raw, compressed"),
        (["--params-file", "/no/such.yaml"], "/no/such.yaml"),
        (["--log-level", "shouting"], "shouting"),
    ],
)
def test_a_bad_start_is_one_clear_line_and_no_success(
    arguments: list[str], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with StopFlag():  # gives the signal handlers back
        assert main(["--ros-args", *arguments]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("segment_node: ")
    assert reason in line


@pytest.mark.parametrize("place", ["a file", "no/such"])
def test_a_log_folder_that_cannot_be_written_is_one_sentence(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a file").touch()
    folder = str(tmp_path / place) if place == "a file" else f"/proc/{place}"
    monkeypatch.setenv("ROS_LOG_DIR", folder)
    assert main([]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"segment_node: The log folder {folder} cannot be written (")
    assert "set ROS_LOG_DIR" in line


def test_sigterm_ends_it_cleanly(start_node: StartNode, peer: Peer, tmp_path: Path) -> None:
    params_file = tmp_path / "params.yaml"
    params_file.write_text("activesam: {ros__parameters: {max_active: 3}}")  # no namespace
    values = {"autostart": False, "max_image_age_ms": 5, "pinned": []}
    node = start_node(values, ["--params-file", str(params_file)])
    peer.status("network", lambda _, values: values["state"] == "unconfigured", "life")
    assert f"{params_file} has parameters only for activesam, so none is used" in node.log()
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(TIMEOUT_S) == 0


# A node whose engine takes for ever to do what its first argument says.
SLOW_NODE = """
import sys, threading
from activesam_ros.node import session
from activesam_ros.node.engine import Engine
from activesam_ros.node.frame_processor import FrameProcessor
from activesam_ros.node.process import run_node
from activesam_ros.node.segment_node import SegmentNode

slow = sys.argv[1]

def hang(what):
    if what == slow:
        print(what, flush=True)
        threading.Event().wait()

class SlowEngine(Engine):
    compilations = 0

    def compile(self, vocabulary, parameters, *more):
        self.count()
        return super().compile(vocabulary, parameters, *more)

    def compile_for_swap(self, vocabulary, parameters, *more):
        self.count()
        return super().compile_for_swap(vocabulary, parameters, *more)

    def count(self):
        self.compilations += 1
        hang(f"compilation {self.compilations}")

class SlowProcessor(FrameProcessor):
    def process(self, frames):
        hang("frame")
        super().process(frames)

session.FrameProcessor = SlowProcessor

class Node(SegmentNode):
    def load_engine(self, options):
        hang("loading")
        engine = super().load_engine(options)
        return SlowEngine(engine._network, engine._method)

sys.exit(run_node(Node, sys.argv[2:]))
"""


@pytest.mark.parametrize("slow", ["loading", "compilation 1"])
def test_ctrl_c_while_it_configures_ends_it_at_once(
    start_node: StartNode, peer: Peer, slow: str
) -> None:
    node = start_node({}, program=["-c", SLOW_NODE, slow])
    peer.wait_for(lambda: slow in node.log(), slow)
    assert node.interrupt() == 0
    assert "Traceback" not in node.log()
    assert "never retrieved" not in node.log()


def test_ctrl_c_while_a_vocabulary_compiles_finishes_the_frames_alone(
    start_node: StartNode, peer: Peer, open_camera: OpenCamera, photo: NDArray[np.uint8]
) -> None:
    slow = "compilation 2"
    node = start_node({}, program=["-c", SLOW_NODE, slow])
    camera = open_camera(Image, "image")
    camera.first_mask(lambda stamp_ns: peer.image(photo, stamp_ns))
    client = peer.node.create_client(SetVocabulary, peer.name("activesam/set_vocabulary"))
    peer.wait_for(client.service_is_ready, "the service")
    client.call_async(SetVocabulary.Request(names=["car"]))
    peer.wait_for(lambda: slow in node.log(), slow)
    camera.mask_of(peer.image(photo, peer.next_stamp()))
    assert node.interrupt() == 0
    assert "Traceback" not in node.log()
    peer.node.destroy_client(client)
    peer.node.destroy_publisher(camera.publisher)


def test_sigterm_gives_up_a_frame_that_takes_too_long(
    start_node: StartNode, peer: Peer, photo: NDArray[np.uint8]
) -> None:
    node = start_node({}, program=["-c", SLOW_NODE, "frame"])
    publisher = peer.publisher(Image, "image")
    peer.wait_for(lambda: "Masks are published" in node.log(), "an active node")

    def in_work() -> bool:
        publisher.publish(peer.image(photo, peer.next_stamp()))  # until both sides have met
        return "frame\n" in node.log()

    peer.wait_for(in_work, "a frame in work")
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(TIMEOUT_S) == 0
    assert "takes longer than 3 s; it is given up" in node.log()
    peer.node.destroy_publisher(publisher)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("program", [["bin/segment_node"], ["-m", "activesam_ros.node.playback"]])
def test_a_signal_while_it_imports_is_a_clean_end(
    repository: Path, program: list[str], number: signal.Signals
) -> None:
    # -X importtime tells of every import as it ends: a moment to interrupt that needs no clock.
    command = [sys.executable, "-X", "importtime", *program]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=repository) as process:
        assert process.stderr is not None
        log = ""
        while "numpy" not in log:
            log += process.stderr.readline()
        process.send_signal(number)
        try:
            _, rest = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "Traceback" not in log + rest
