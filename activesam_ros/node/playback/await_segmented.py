"""Wait until a node has segmented all images that it was sent, according to its diagnostics."""

from __future__ import annotations

import time
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from activesam_ros.errors import UsageError
from activesam_ros.node.node_status import node_statuses
from activesam_ros.node.playback.command import StopFlag

# No image may be waiting for this long: one can be between the middleware and the node's counters.
SETTLED_S = 1.0
# Longer than the longest diagnostics_period_s.
SILENCE_S = 70.0
_DEPTH = 10
_POLL_S = 0.1


@dataclass
class WaitingFrames:
    """Whether frames wait at a node, from its reports; times are monotonic [s].

    heard_s: the last report. empty_s: the first of the latest reports without a waiting frame, None
    while frames wait.
    """

    heard_s: float
    empty_s: float | None = None

    def hear(self, frames: int, now_s: float) -> None:
        """Take in a report that ``frames`` frames wait or are being segmented."""
        self.heard_s = now_s
        if frames:
            self.empty_s = None
        elif self.empty_s is None:
            self.empty_s = now_s

    @property
    def over(self) -> bool:
        """Whether nothing has been waiting for at least SETTLED_S."""
        return self.empty_s is not None and self.heard_s - self.empty_s >= SETTLED_S


def await_segmented(node: Node, segmenter: str, stop: StopFlag) -> None:
    """Return when no image waits at the node ``segmenter`` (full name), or when ``stop`` is set.

    Raises UsageError if that node publishes no diagnostics.
    """
    waiting = WaitingFrames(heard_s=time.monotonic())
    name = "/" + segmenter.lstrip("/")

    def hear(message: DiagnosticArray) -> None:
        for status in node_statuses(message):
            if status.node == name:
                waiting.hear(status.frames_waiting, time.monotonic())

    subscription = node.create_subscription(DiagnosticArray, "/diagnostics", hear, _DEPTH)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    try:
        while not stop and not waiting.over:
            executor.spin_once(timeout_sec=_POLL_S)
            if time.monotonic() - waiting.heard_s > SILENCE_S:
                raise UsageError(
                    f"{segmenter} has published no diagnostics for {SILENCE_S:g} s; give the full "
                    "name of a running node, or leave --await-segmented out."
                )
    finally:
        executor.remove_node(node)
        executor.shutdown()
        node.destroy_subscription(subscription)
