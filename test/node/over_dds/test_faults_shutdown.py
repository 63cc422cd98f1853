"""Faults at the end: requests while the node shuts down, and timers due when no thread is free."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from activesam_ros.srv import SetVocabulary
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool

from activesam_ros.node.process import EXECUTOR_THREADS

if TYPE_CHECKING:
    from test.node.conftest import Peer

TIMEOUT_S = 60
# A node without a network whose shutting down waits for a line. Where threads are kept busy, it
# waits before that until the executor has queued every timer, as no thread is free to call them.
SCRIPT = """
import sys, threading
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from activesam_ros.node.process import run_node
from activesam_ros.node.segment_node import SegmentNode

busy_threads = int(sys.argv[1])
go_on = threading.Event()

class Node(SegmentNode):
    def __init__(self):
        super().__init__()
        groups = [MutuallyExclusiveCallbackGroup() for _ in range(busy_threads)]
        self.busy = [self.create_guard_condition(go_on.wait, group) for group in groups]

    def on_shutdown(self, state):
        for guard in self.busy:
            guard.trigger()
        while self.busy and not all(timer._executor_event for timer in self.timers):
            go_on.wait(0.01)
        print("shutting down", flush=True)
        sys.stdin.readline()
        go_on.set()
        return super().on_shutdown(state)

sys.exit(run_node(Node, sys.argv[2:]))
"""


@contextmanager
def stopping_node(
    namespace: str, peer: Peer, busy_threads: int, *clients: Any
) -> Iterator[subprocess.Popen[str]]:
    """A node that has been interrupted and waits for a line, after it has found the clients."""
    command = [sys.executable, "-c", SCRIPT, str(busy_threads)]
    command += ["--ros-args", "-r", f"__ns:={namespace}", "-p", "autostart:=false"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            for client in clients:
                peer.wait_for(client.service_is_ready, f"the service {client.srv_name}")
            peer.status("network", lambda _, values: values["state"] == "unconfigured", "life")
            process.send_signal(signal.SIGINT)
            assert process.stdout is not None
            assert process.stdout.readline() == "shutting down\n"
            yield process
        finally:
            process.kill()


def test_requests_during_shutdown_are_refused(namespace: str, peer: Peer) -> None:
    services = {
        "set_vocabulary": (SetVocabulary, SetVocabulary.Request(names=["car"])),
        "enable": (SetBool, SetBool.Request(data=True)),
        "set_parameters": (
            SetParameters,
            SetParameters.Request(
                parameters=[Parameter("image_timeout_s", value=5.0).to_parameter_msg()]
            ),
        ),
        "change_state": (
            ChangeState,
            ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE)),
        ),
        "get_state": (GetState, GetState.Request()),
    }
    clients = {
        name: peer.node.create_client(kind, peer.name(f"activesam/{name}"))
        for name, (kind, _) in services.items()
    }
    with stopping_node(namespace, peer, 0, *clients.values()) as process:
        answers = {
            name: clients[name].call_async(request) for name, (_, request) in services.items()
        }
        # what may compile for long does not wait for the end either
        peer.wait_for(answers["set_vocabulary"].done, "the refusal while a frame is in work")
        assert process.stdin is not None
        process.stdin.write("go on\n")
        process.stdin.flush()
        for name, answer in answers.items():
            peer.wait_for(answer.done, f"the answer of {name}")
        _, log = process.communicate(timeout=TIMEOUT_S)
    for client in clients.values():
        peer.node.destroy_client(client)
    for name in ("set_vocabulary", "enable"):
        response = answers[name].result()
        assert not response.success
        assert "shutting down" in response.message
    (refused,) = answers["set_parameters"].result().results
    assert not refused.successful
    assert "shutting down" in refused.reason
    assert not answers["change_state"].result().success
    assert answers["get_state"].result().current_state.label == "finalized"
    assert process.returncode == 0
    assert "Traceback" not in log


def test_timers_that_are_due_when_every_thread_is_busy_do_not_keep_it(
    namespace: str, peer: Peer
) -> None:
    with stopping_node(namespace, peer, EXECUTOR_THREADS - 1) as process:
        _, log = process.communicate("go on\n", timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert "Traceback" not in log
    assert "could not be served" not in log
