"""Record topics into one MCAP file, until Ctrl-C.

``python -m activesam_ros.node.playback.recorder -o FILE --topic T``; ``--topic`` may be repeated.
The recorder takes message types and qualities of service from the publishers.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from rclpy.utilities import remove_ros_args

from activesam_ros.errors import RecordingError
from activesam_ros.node.node_status import node_statuses
from activesam_ros.node.playback.command import StopFlag, message_class, run_until_stopped
from activesam_ros.node.playback.header_stamp import begins_with_header, read_stamp_ns
from activesam_ros.node.playback.recording_writer import RecordingWriter
from activesam_ros.node.playback.reports import PlaybackEvent, Report, print_report
from activesam_ros.node.ros.qos import endpoints, profile_for
from activesam_ros.resources import user_path

NODE_NAME = "activesam_recorder"
# Messages of a topic that wait while others are written.
QUEUE_DEPTH = 100
# The longest time until a new publisher, or a signal, is noticed [s].
POLL_PERIOD_S = 0.05


@dataclass(frozen=True)
class _RecordedTopic:
    """The subscription to a topic, and the profile that it asks for."""

    subscription: Subscription
    profile: QoSProfile


class Recorder:
    """Subscribes to topics as their publishers appear, and writes the messages that arrive."""

    def __init__(
        self,
        node: Node,
        writer: RecordingWriter,
        topics: Sequence[str],
        report: Callable[[Report], None] | None = None,
    ) -> None:
        """``report`` is called for each subscription, message, and status of a segment_node."""
        self._node = node
        self._writer = writer
        self._topics = tuple(dict.fromkeys(node.resolve_topic_name(topic) for topic in topics))
        self._report = report
        self._channels: dict[str, int] = {}
        self._recorded: dict[str, _RecordedTopic] = {}
        self._announced: set[str] = set()

    def follow(self) -> None:
        """Subscribe to the topics that have publishers, so that all of them are heard.

        Raises RecordingError if a message type is not installed.
        """
        for topic in self._topics:
            publishers = self._node.get_publishers_info_by_topic(topic)
            if publishers:
                self._subscribe(topic, publishers)
            recorded = self._recorded.get(topic)
            if (
                recorded is not None
                and topic not in self._announced
                and recorded.subscription.get_publisher_count() > 0
            ):
                self._announced.add(topic)
                self._tell(Report(PlaybackEvent.SUBSCRIBED, topic, None, time.monotonic_ns()))

    def _subscribe(self, topic: str, publishers: Sequence[Any]) -> None:
        """Subscribe, again if the publishers' profiles have changed."""
        profile = profile_for(endpoints(publishers), "auto", QUEUE_DEPTH)
        before = self._recorded.get(topic)
        if before is not None and _same(before.profile, profile):
            return
        message_type = publishers[0].topic_type
        class_of_messages = message_class(message_type)
        if class_of_messages is None:
            raise RecordingError(
                f"{message_type} on {topic} cannot be recorded: its package is not installed; "
                f"install {message_type.partition('/')[0]} or leave the topic out."
            )
        if topic not in self._channels:
            self._channels[topic] = self._writer.add_topic(
                topic, message_type, _type_hash(publishers[0]), publishers[0].qos_profile
            )
        has_header = begins_with_header(class_of_messages)
        has_status = class_of_messages is DiagnosticArray

        def receive(data: bytes) -> None:
            self._receive(topic, data, has_header, has_status)

        # The new subscription comes before the old one goes, so that no message is lost.
        subscription = self._node.create_subscription(
            class_of_messages, topic, receive, profile, raw=True
        )
        if before is not None:
            self._node.destroy_subscription(before.subscription)
        self._recorded[topic] = _RecordedTopic(subscription, profile)

    def _receive(self, topic: str, data: bytes, has_header: bool, has_status: bool) -> None:
        arrived_ns = time.monotonic_ns()
        self._writer.write(self._channels[topic], self._node.get_clock().now().nanoseconds, data)
        if self._report is None:
            return
        stamp_ns = read_stamp_ns(data) if has_header else None
        self._report(Report(PlaybackEvent.RECORDED, topic, stamp_ns, arrived_ns))
        if has_status:
            for status in node_statuses(deserialize_message(data, DiagnosticArray)):
                self._report(Report(PlaybackEvent.NODE_STATUS, topic, stamp_ns, arrived_ns, status))

    def _tell(self, report: Report) -> None:
        if self._report is not None:
            self._report(report)


def _same(left: QoSProfile, right: QoSProfile) -> bool:
    return bool(left.reliability == right.reliability and left.durability == right.durability)


def _type_hash(publisher: Any) -> str:
    # Humble's endpoints have no hash.
    return str(getattr(publisher, "topic_type_hash", ""))


def record(
    path: Path,
    topics: Sequence[str],
    stop: StopFlag,
    report: Callable[[Report], None] | None = None,
) -> None:
    """Record ``topics`` into ``path`` until ``stop`` is set; rclpy must be initialised."""
    with RecordingWriter(path) as writer:
        node = rclpy.create_node(NODE_NAME, start_parameter_services=False)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        recorder = Recorder(node, writer, topics, report)
        next_poll_s = 0.0
        while not stop:
            if time.monotonic() >= next_poll_s:
                recorder.follow()
                next_poll_s = time.monotonic() + POLL_PERIOD_S
            executor.spin_once(timeout_sec=POLL_PERIOD_S)
        executor.shutdown()
        node.destroy_node()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recorder", description="Record ROS topics into one MCAP file, until Ctrl-C."
    )
    parser.add_argument("-o", "--output", type=user_path, required=True, metavar="FILE.mcap")
    parser.add_argument(
        "--topic",
        dest="topics",
        action="append",
        required=True,
        metavar="T",
        help="topic to record; its publisher may appear later; repeat for several topics",
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="print each recorded message, and each status of a segment_node, as a line of JSON",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Record until SIGINT or SIGTERM; returns 0, and 2 for bad input."""
    command_line = list(sys.argv if arguments is None else [sys.argv[0], *arguments])
    args = _parser().parse_args(remove_ros_args(command_line)[1:])
    report = print_report if args.report else None
    return run_until_stopped(
        "recorder", command_line, lambda stop: record(args.output, args.topics, stop, report)
    )


if __name__ == "__main__":
    sys.exit(main())
