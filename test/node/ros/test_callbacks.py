"""One-shot callbacks, against an executor that spins, and answers to every transition."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import rclpy
import torch
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node

from activesam_ros.node.ros.callbacks import OneShotCallbacks, answer_every_transition

TIMEOUT_S = 60.0
CALLS = 200


class Spun:
    """A node with two groups, spun by a thread until the end of the test."""

    def __init__(self, context: rclpy.Context) -> None:
        self.node = Node("spun", context=context)
        self.groups = (MutuallyExclusiveCallbackGroup(), MutuallyExclusiveCallbackGroup())
        self.callbacks = OneShotCallbacks(self.node, self.groups)
        self.faults: list[BaseException] = []
        self.ended = threading.Event()
        self._executor = MultiThreadedExecutor(num_threads=4, context=context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def close(self) -> None:
        self.ended.set()
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()

    def _spin(self) -> None:
        while not self.ended.is_set():
            try:
                self._executor.spin_once(timeout_sec=0.05)
            except Exception as error:  # noqa: BLE001 - what the executor stumbled over
                self.faults.append(error)


@pytest.fixture
def spun() -> Iterator[Spun]:
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    made = Spun(context)
    yield made
    made.close()
    rclpy.shutdown(context=context)


def test_every_callback_is_called_once_and_in_order(spun: Spun) -> None:
    called: list[int] = []
    done = threading.Event()
    for number in range(CALLS):
        spun.callbacks.call(partial(called.append, number), spun.groups[0])
    spun.callbacks.call(done.set, spun.groups[0])
    assert done.wait(TIMEOUT_S)
    assert called == list(range(CALLS))
    assert not spun.faults


def test_callbacks_that_ask_for_the_next_turn_get_it(spun: Spun) -> None:
    """As shutting down does, from group to group."""
    done = threading.Event()
    left = CALLS

    def go_on() -> None:
        nonlocal left
        left -= 1
        if left:
            spun.callbacks.call(go_on, spun.groups[left % 2])
        else:
            done.set()

    spun.callbacks.call(go_on, spun.groups[0])
    assert done.wait(TIMEOUT_S)
    assert not spun.faults


def test_a_turn_comes_when_no_other_of_its_group_is_under_way(spun: Spun) -> None:
    started, go_on, done = threading.Event(), threading.Event(), threading.Event()
    order: list[str] = []

    def busy() -> None:
        started.set()
        assert go_on.wait(TIMEOUT_S)
        order.append("first")

    def follow() -> None:
        order.append("second")
        done.set()

    spun.callbacks.call(busy, spun.groups[0])
    assert started.wait(TIMEOUT_S)
    spun.callbacks.call(follow, spun.groups[0])
    other = threading.Event()
    spun.callbacks.call(other.set, spun.groups[1])
    assert other.wait(TIMEOUT_S), "another group does not wait"
    assert not order
    go_on.set()
    assert done.wait(TIMEOUT_S)
    assert order == ["first", "second"]


@pytest.mark.parametrize(
    "error",
    [RuntimeError("no such transition"), MemoryError("2 GiB"), torch.OutOfMemoryError("2 GiB")],
)
@pytest.mark.parametrize("stopping", [False, True])
def test_a_transition_that_raises_is_refused(
    error: Exception, stopping: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    def raises(request: Any, response: Any) -> Any:
        raise error

    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = LifecycleNode("answering", context=context)
    (service,) = [entry for entry in node.services if entry.srv_type is ChangeState]
    service.callback = raises
    answer_every_transition(node, lambda: stopping)
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
    response = service.callback(request, ChangeState.Response(success=True))
    assert not response.success
    log = capfd.readouterr().err
    assert "The transition 1 is refused" in log
    assert ("shutting down" if stopping else str(error)) in log
    node.destroy_node()
    rclpy.shutdown(context=context)
