"""Callbacks that are called once in a callback group, against an executor that spins."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import pytest
import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node

from activesam_ros.node.turns import Turns

TIMEOUT_S = 60.0
CALLS = 200


class Spun:
    """A node with two groups, spun by a thread until the end of the test."""

    def __init__(self, context: rclpy.Context) -> None:
        self.node = Node("spun", context=context)
        self.groups = (MutuallyExclusiveCallbackGroup(), MutuallyExclusiveCallbackGroup())
        self.turns = Turns(self.node, self.groups)
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
        spun.turns.call(partial(called.append, number), spun.groups[0])
    spun.turns.call(done.set, spun.groups[0])
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
            spun.turns.call(go_on, spun.groups[left % 2])
        else:
            done.set()

    spun.turns.call(go_on, spun.groups[0])
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

    spun.turns.call(busy, spun.groups[0])
    assert started.wait(TIMEOUT_S)
    spun.turns.call(follow, spun.groups[0])
    other = threading.Event()
    spun.turns.call(other.set, spun.groups[1])
    assert other.wait(TIMEOUT_S), "another group does not wait"
    assert not order
    go_on.set()
    assert done.wait(TIMEOUT_S)
    assert order == ["first", "second"]
