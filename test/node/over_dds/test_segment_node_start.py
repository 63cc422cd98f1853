"""Starting and stopping the node as a process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from test.node.conftest import Peer, StartNode

TIMEOUT_S = 60


@pytest.mark.parametrize(
    ("parameters", "arguments", "reason"),
    [
        ({"confidence_threshold": 2.0}, [], "confidence_threshold=2.0 is out of range"),
        ({"confidence_treshold": 0.2}, [], "Did you mean confidence_threshold?"),
        ({"image_transport": "theora"}, [], "give one of raw, compressed"),
        ({}, ["--params-file", "/no/such.yaml"], "/no/such.yaml"),
        ({}, ["--log-level", "shouting"], "shouting"),
    ],
)
def test_a_bad_start_is_one_clear_line_and_no_success(
    start_node: StartNode, parameters: dict[str, Any], arguments: list[str], reason: str
) -> None:
    node = start_node(parameters, arguments)
    assert node.process.wait(TIMEOUT_S) == 2
    lines = node.log().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("segment_node: ")
    assert reason in lines[0]


def test_sigterm_ends_it_cleanly(start_node: StartNode, peer: Peer) -> None:
    node = start_node({"autostart": False, "max_image_age_ms": 5, "pinned": []})
    peer.status("network", lambda _, values: values["state"] == "unconfigured", "life")
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(TIMEOUT_S) == 0


SLOW_NODE = """
import sys
from activesam_ros.errors import UsageError
from activesam_ros.node.process import run_node
from activesam_ros.node.segment_node import SegmentNode

class Node(SegmentNode):
    def load_engine(self, options):
        print("loading", flush=True)
        sys.stdin.readline()
        raise UsageError("The weights came too late.")

sys.exit(run_node(Node, sys.argv[1:]))
"""


def test_ctrl_c_while_it_configures(namespace: str) -> None:
    command = [sys.executable, "-c", SLOW_NODE, "--ros-args", "-r", f"__ns:={namespace}"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        _, log = process.communicate("go on\n", timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert "The weights came too late." in log
    assert "Traceback" not in log
    assert "never retrieved" not in log


def test_ctrl_c_while_it_imports(repository: Path) -> None:
    # -X importtime tells of every import as it ends: a moment to interrupt that needs no clock.
    command = [sys.executable, "-X", "importtime", str(repository / "bin" / "segment_node")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        log = ""
        while "numpy" not in log:
            log += process.stderr.readline()
        process.send_signal(signal.SIGINT)
        try:
            _, rest = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in log + rest
