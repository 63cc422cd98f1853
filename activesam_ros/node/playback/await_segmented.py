"""Wait until a node has segmented all the images it was sent, by what its diagnostics say."""

from __future__ import annotations

import time
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from activesam_ros.errors import UsageError
from activesam_ros.node.playback.stopping import StopFlag
from activesam_ros.node.status_names import FRAMES_WAITING, network_status_name

# Nothing has to wait for so long: an image may be between the middleware and the node's counters.
SETTLED_S = 1.0
# More than the longest time between two diagnostics messages.
SILENCE_S = 70.0
_DEPTH = 10
_POLL_S = 0.1


@dataclass
class Waiting:
    """What a node's diagnostics said; times are monotonic [s], the ones since which it holds."""

    heard_s: float
    empty_s: float | None = None

    def hear(self, frames: int, now_s: float) -> None:
        """That many frames wait or are in work."""
        self.heard_s = now_s
        if frames:
            self.empty_s = None
        elif self.empty_s is None:
            self.empty_s = now_s

    @property
    def over(self) -> bool:
        """Whether the first and the last of the reports of nothing are far enough apart."""
        return self.empty_s is not None and self.heard_s - self.empty_s >= SETTLED_S


def await_segmented(node: Node, segmenter: str, stop: StopFlag) -> None:
    """Return when no image waits at the node ``segmenter`` (full name), or when told to stop.

    Raises UsageError when its diagnostics stay away.
    """
    waiting = Waiting(heard_s=time.monotonic())
    name = network_status_name(segmenter)

    def hear(message: DiagnosticArray) -> None:
        for status in message.status:
            values = {entry.key: entry.value for entry in status.values}
            if status.name == name and FRAMES_WAITING in values:
                waiting.hear(int(values[FRAMES_WAITING]), time.monotonic())

    subscription = node.create_subscription(DiagnosticArray, "/diagnostics", hear, _DEPTH)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    try:
        while not stop and not waiting.over:
            executor.spin_once(timeout_sec=_POLL_S)
            if time.monotonic() - waiting.heard_s > SILENCE_S:
                raise UsageError(
                    f"{segmenter} has published no diagnostics for {SILENCE_S:g} s; give the full "
                    "name of a node that runs, or do not wait for it."
                )
    finally:
        executor.remove_node(node)
        executor.shutdown()
        node.destroy_subscription(subscription)
