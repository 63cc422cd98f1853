"""Record topics into one MCAP file.

``python -m activesam_ros.node.playback.recorder -o FILE --topic T`` takes several topics.

Types and qualities of service are taken from whoever publishes. The file has the profile of ROS 2
with the definition of every type, as Foxglove, rosbags and ``ros2 bag play`` read it.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import rclpy
import yaml
from mcap.writer import CompressionType, Writer
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription
from rclpy.utilities import remove_ros_args

from activesam_ros import __version__
from activesam_ros.errors import ActiveSamError, RecordingError
from activesam_ros.node.playback.header_stamp import begins_with_header, read_stamp_ns
from activesam_ros.node.playback.message_definitions import message_definition
from activesam_ros.node.playback.reports import Event, Report, print_report
from activesam_ros.node.playback.stopping import StopFlag
from activesam_ros.node.ros.camera import endpoints
from activesam_ros.node.ros.qos import profile_for

EXIT_BAD_INPUT = 2
NODE_NAME = "activesam_recorder"
# Messages that may wait while others are written.
QUEUE_DEPTH = 100
# How soon a publisher is found, and a signal heeded [s].
GRAPH_PERIOD_S = 0.05
_FOREVER = {"sec": 9223372036, "nsec": 854775807}


class McapFile:
    """A ROS 2 recording in one file, being written; whole once closed.

    Raises RecordingError when there is such a file already, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = path.open("xb")
        except FileExistsError:
            raise RecordingError(
                f"The recording {path} exists already; choose another name or remove it."
            ) from None
        except OSError as error:
            raise RecordingError(f"{path} cannot be written: {error.strerror}.") from error
        self._writer = Writer(self._stream, compression=CompressionType.ZSTD)
        self._writer.start(profile="ros2", library=f"activesam_ros {__version__}")
        self._schemas: dict[str, int] = {}
        self._counts: dict[int, int] = {}

    def __enter__(self) -> McapFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.finish()
        self._stream.close()

    def add_topic(self, topic: str, message_type: str, type_hash: str, profile: QoSProfile) -> int:
        """The number of a new channel; raises RecordingError where the type is not installed."""
        if message_type not in self._schemas:
            text = message_definition(message_type)
            schema = self._writer.register_schema(message_type, "ros2msg", text.encode())
            self._schemas[message_type] = schema
        metadata = {"offered_qos_profiles": qos_text(profile), "topic_type_hash": type_hash}
        channel = self._writer.register_channel(topic, "cdr", self._schemas[message_type], metadata)
        self._counts[channel] = 0
        return channel

    def write(self, channel: int, time_ns: int, data: bytes) -> None:
        """Add a serialised message received at ``time_ns``."""
        self._writer.add_message(
            channel,
            log_time=time_ns,
            data=data,
            publish_time=time_ns,
            sequence=self._counts[channel],
        )
        self._counts[channel] += 1


def qos_text(profile: QoSProfile) -> str:
    """A profile in the YAML and the numbers that every rosbag2 from Humble on reads."""
    fields = {
        "history": 1,
        "depth": profile.depth or QUEUE_DEPTH,
        "reliability": int(profile.reliability),
        "durability": int(profile.durability),
        "deadline": dict(_FOREVER),
        "lifespan": dict(_FOREVER),
        "liveliness": 1,
        "liveliness_lease_duration": dict(_FOREVER),
        "avoid_ros_namespace_conventions": False,
    }
    return yaml.safe_dump([fields], sort_keys=False)


@dataclass(frozen=True)
class _Intake:
    """A topic that is being recorded, and how."""

    subscription: Subscription
    profile: QoSProfile


class Recorder:
    """Subscribes to topics as their publishers appear and writes what arrives.

    ``report`` is told when a topic is subscribed to, and of each message.
    """

    def __init__(
        self,
        node: Node,
        file: McapFile,
        topics: Sequence[str],
        report: Callable[[Report], None] | None = None,
    ) -> None:
        self._node = node
        self._file = file
        self._topics = tuple(dict.fromkeys(node.resolve_topic_name(topic) for topic in topics))
        self._report = report
        self._channels: dict[str, int] = {}
        self._intakes: dict[str, _Intake] = {}
        self._announced: set[str] = set()

    def follow(self) -> None:
        """Subscribe to what is published by now, each in a way that hears all its publishers.

        Raises RecordingError for a type that is not installed.
        """
        for topic in self._topics:
            infos = self._node.get_publishers_info_by_topic(topic)
            if infos:
                self._follow(topic, infos)
            intake = self._intakes.get(topic)
            if (
                intake is not None
                and topic not in self._announced
                and intake.subscription.get_publisher_count() > 0
            ):
                self._announced.add(topic)
                self._tell(Report(Event.SUBSCRIBED, topic, None, time.monotonic_ns()))

    def _follow(self, topic: str, infos: Sequence[Any]) -> None:
        profile = profile_for(endpoints(infos), "auto", QUEUE_DEPTH)
        intake = self._intakes.get(topic)
        if intake is not None and _same(intake.profile, profile):
            return
        message_type = infos[0].topic_type
        if topic not in self._channels:
            self._channels[topic] = self._file.add_topic(
                topic, message_type, _type_hash(infos[0]), infos[0].qos_profile
            )
        message_class = _message_class(message_type)
        has_header = begins_with_header(message_class)

        def receive(data: bytes) -> None:
            self._receive(topic, data, has_header)

        subscription = self._node.create_subscription(
            message_class, topic, receive, profile, raw=True
        )
        if intake is not None:
            self._node.destroy_subscription(intake.subscription)
        self._intakes[topic] = _Intake(subscription, profile)

    def _receive(self, topic: str, data: bytes, has_header: bool) -> None:
        arrived_ns = time.monotonic_ns()
        self._file.write(self._channels[topic], self._node.get_clock().now().nanoseconds, data)
        stamp_ns = read_stamp_ns(data) if has_header else None
        self._tell(Report(Event.RECORDED, topic, stamp_ns, arrived_ns))

    def _tell(self, report: Report) -> None:
        if self._report is not None:
            self._report(report)


def _same(left: QoSProfile, right: QoSProfile) -> bool:
    return bool(left.reliability == right.reliability and left.durability == right.durability)


def _type_hash(info: Any) -> str:
    # Humble's graph has none.
    return str(getattr(info, "topic_type_hash", ""))


def _message_class(message_type: str) -> Any:
    package, _, name = message_type.partition("/msg/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise RecordingError(
            f"{message_type} cannot be recorded: {error}; install the package {package}."
        ) from error


def record(
    path: Path,
    topics: Sequence[str],
    stop: StopFlag,
    report: Callable[[Report], None] | None = None,
) -> None:
    """Record ``topics`` into ``path`` until told to stop; rclpy has to be initialised."""
    with McapFile(path) as file:
        node = rclpy.create_node(NODE_NAME, start_parameter_services=False)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        recorder = Recorder(node, file, topics, report)
        next_look_s = 0.0
        while not stop:
            if time.monotonic() >= next_look_s:
                recorder.follow()
                next_look_s = time.monotonic() + GRAPH_PERIOD_S
            executor.spin_once(timeout_sec=GRAPH_PERIOD_S)
        executor.shutdown()
        node.destroy_node()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recorder", description="Record ROS topics into one MCAP file, until Ctrl-C."
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.mcap")
    parser.add_argument(
        "--topic",
        dest="topics",
        action="append",
        required=True,
        metavar="T",
        help="a topic to record, also before it is published; may be given several times",
    )
    parser.add_argument(
        "--report", action="store_true", help="print each message recorded as a line of JSON"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Record until SIGINT or SIGTERM; returns 0, and 2 for bad input."""
    command_line = list(sys.argv if arguments is None else [sys.argv[0], *arguments])
    args = _parser().parse_args(remove_ros_args(command_line)[1:])
    with StopFlag() as stop:
        try:
            rclpy.init(args=command_line, signal_handler_options=SignalHandlerOptions.NO)
            record(args.output, args.topics, stop, print_report if args.report else None)
        except ActiveSamError as error:
            print(f"recorder: {error}", file=sys.stderr)
            return EXIT_BAD_INPUT
        finally:
            rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
