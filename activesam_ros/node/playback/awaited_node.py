"""A segment_node that playing waits for: at the start to be active, at the end to be done.

All that is known about it comes from its diagnostics.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from activesam_ros.errors import UsageError
from activesam_ros.node.dropped_frames import RATE_LIMITED, SUPERSEDED
from activesam_ros.node.node_status import NodeStatus, node_statuses
from activesam_ros.node.playback.command import StopFlag

# The node is active for this long before playing begins: it follows the publisher's quality of
# service, and subscribers find its masks. At the end no image may be waiting for this long: one can
# be between the middleware and the node's counters.
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


class AwaitedNode:
    """The segment_node ``name``, as its diagnostics tell; :meth:`close` ends the subscription."""

    def __init__(self, node: Node, name: str) -> None:
        """``node`` must not be in an executor; ``name`` is a full name."""
        self.name = "/" + name.lstrip("/")
        self._node = node
        self._status: NodeStatus | None = None
        self._before: NodeStatus | None = None
        self._waiting = WaitingFrames(heard_s=time.monotonic())
        self._subscription = node.create_subscription(
            DiagnosticArray, "/diagnostics", self._hear, _DEPTH
        )
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)

    def close(self) -> None:
        """Hear nothing more."""
        self._executor.remove_node(self._node)
        self._executor.shutdown()
        self._node.destroy_subscription(self._subscription)

    def await_active(self, topics: Collection[str], timeout_s: float, stop: StopFlag) -> bool:
        """Return True when the node is active and knows the publishers of ``topics``, for a while.

        Topics to which it does not subscribe do not count. False when ``stop`` is set before that.
        Raises UsageError if a transition of the node has failed, if it subscribes to none of the
        topics, or if the time is over.
        """
        deadline_s = time.monotonic() + timeout_s
        ready_s: float | None = None
        while not stop:
            now_s, status = time.monotonic(), self._status
            if status is not None and status.failure:
                raise UsageError(f"{self.name} cannot segment. {status.failure}")
            if status is None or not self._is_ready(status, topics):
                ready_s = None
                if now_s > deadline_s:
                    raise UsageError(self._not_active(status, timeout_s))
            elif ready_s is None:
                ready_s = now_s
            elif now_s - ready_s >= SETTLED_S:
                self._before = status
                return True
            self._executor.spin_once(timeout_sec=_POLL_S)
        return False

    def await_segmented(self, played: Mapping[str, int], stop: StopFlag) -> None:
        """Return when every image is segmented, or when ``stop`` is set.

        ``played``: the number of messages by topic, since :meth:`await_active`. Raises UsageError
        if the node is done with fewer, or publishes no diagnostics.
        """
        self._waiting = WaitingFrames(heard_s=time.monotonic())
        while not stop:
            self._executor.spin_once(timeout_sec=_POLL_S)
            status, before = self._status, self._before
            if time.monotonic() - self._waiting.heard_s > SILENCE_S:
                raise UsageError(
                    f"{self.name} has published no diagnostics for {SILENCE_S:g} s; give the full "
                    "name of a running node, or leave --await-segmented out."
                )
            if status is None or before is None:
                continue
            reason = left_out(before, status, played)
            if not reason:
                return
            if self._waiting.over:
                raise UsageError(f"{self.name} segmented {reason}")

    def _hear(self, message: DiagnosticArray) -> None:
        for status in node_statuses(message):
            if status.node == self.name:
                self._status = status
                self._waiting.hear(status.frames_waiting, time.monotonic())

    def _is_ready(self, status: NodeStatus, topics: Collection[str]) -> bool:
        if status.state != "active":
            return False
        heard = [camera for camera in status.cameras if camera.topic in topics]
        if not heard:
            subscribed = ", ".join(camera.topic for camera in status.cameras if camera.topic)
            raise UsageError(
                f"{self.name} subscribes to {subscribed or 'no image topic, as enabled is false'}. "
                f"Nothing of that is played: {', '.join(sorted(topics))}."
            )
        return all(camera.publishers for camera in heard)

    def _not_active(self, status: NodeStatus | None, timeout_s: float) -> str:
        within = f"within {timeout_s:g} s"
        if status is None:
            return (
                f"{self.name} has published no diagnostics {within}; start it, and check its name "
                "and ROS_DOMAIN_ID."
            )
        if status.state != "active":
            return f"{self.name} has not become active {within}; it is {status.state}."
        return f"{self.name} has not found the publisher of the images {within}."


def left_out(before: NodeStatus, now: NodeStatus, played: Mapping[str, int]) -> str:
    """What became of the images if not all of them are segmented; empty if they are.

    ``played``: images by topic that were sent between the two reports. Images that max_rate_hz
    leaves out are not missed.
    """
    later = {camera.name: camera for camera in now.cameras}
    sentences = []
    for first in before.cameras:
        images = played.get(first.topic, 0)
        last = later.get(first.name, first)  # a node that was cleaned up tells of no camera
        segmented = last.segmented - first.segmented
        drops = {
            cause: count - first.dropped.get(cause, 0) for cause, count in last.dropped.items()
        }
        if images - segmented - drops.get(RATE_LIMITED, 0) <= 0:
            continue
        lost = images - (last.received - first.received)
        causes = [f"{count} {cause}" for cause, count in drops.items() if count > 0]
        causes += [f"{lost} not received"] if lost > 0 else []
        text = f"{segmented} of {images} images of {first.topic}: {', '.join(causes)}."
        problems = [last.problems[cause] for cause in last.problems if drops.get(cause)]
        if drops.get(SUPERSEDED) or lost > 0:
            problems.append("To segment every image set keep_all to true, or play more slowly.")
        sentences.append(" ".join([text, *problems]))
    return " ".join(sentences)
