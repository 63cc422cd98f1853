"""Play a recording to its ROS topics, at the pace at which it was recorded.

``python -m activesam_ros.node.playback BAG`` reads rosbag2 recordings (.mcap, .db3 or a folder of
them) and publishes each message with the bytes, topic, type and quality of service recorded.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import rclpy
from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.utilities import remove_ros_args
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

from activesam_ros.console import tell
from activesam_ros.errors import RecordingError, UsageError
from activesam_ros.node.playback.awaited_node import AwaitedNode
from activesam_ros.node.playback.command import StopFlag, message_class, run_until_stopped
from activesam_ros.node.playback.header_stamp import begins_with_header, read_stamp_ns, with_stamp
from activesam_ros.node.playback.played_bag import DEFAULT_DEPTH, BagTopic, PlayedBag
from activesam_ros.node.playback.reports import PlaybackEvent, Report, print_report
from activesam_ros.recordings.formats.decompression import add_max_message_argument
from activesam_ros.resources import user_path

NODE_NAME = "activesam_playback"
CLOCK_TOPIC = "/clock"
_SUBSCRIBER_POLL_S = 0.02
_DELIVERY_TIMEOUT_S = 5.0
_DELIVERY_POLL = Duration(nanoseconds=50_000_000)
_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class PlaybackOptions:
    """How to play a recording; raises UsageError for a value out of range.

    topics: the topics to play, all if empty. rate: recorded seconds per second. clock_hz: how often
    the recording's time is published on /clock, 0 for never. restamp: whether header stamps become
    the time of publishing. awaited: topics that must have a subscriber before playing begins.
    segmenter: full name of a segment_node that must be active before playing begins, and have
    segmented every image before the playback ends; empty for none. await_timeout_s: how long to
    wait for subscribers, and for the node to be active.
    """

    topics: tuple[str, ...] = ()
    rate: float = 1.0
    loop: bool = False
    clock_hz: float = 0.0
    restamp: bool = False
    awaited: tuple[str, ...] = ()
    await_timeout_s: float = 30.0
    segmenter: str = ""

    def __post_init__(self) -> None:
        _check_range("rate", self.rate, 0.01, 100.0)
        if self.clock_hz:
            _check_range("clock frequency in Hz", self.clock_hz, 1.0, 1000.0)
        _check_range("time to wait in s", self.await_timeout_s, 0.0, 86_400.0)
        strangers = [topic for topic in self.awaited if self.topics and topic not in self.topics]
        if strangers:
            raise UsageError(_not_played(strangers[0]))


def _not_played(topic: str) -> str:
    return f"{topic} is awaited but not played; play it, or do not wait for its subscriber."


def _check_range(what: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise UsageError(f"The {what} {value:g} is out of range; give {low:g} to {high:g}.")


@dataclass(frozen=True)
class _Output:
    """A topic that is played: its publisher, and whether its messages begin with a header."""

    topic: str
    publisher: Publisher
    has_header: bool


class Playback:
    """Publishers for a recording's topics, and the loop that publishes its messages."""

    def __init__(
        self,
        node: Node,
        bag: PlayedBag,
        options: PlaybackOptions,
        report: Callable[[Report], None] | None = None,
    ) -> None:
        """``report`` is called just before each message is published, and at the end.

        ``warnings`` holds a sentence for each topic that is not played as recorded. Raises
        RecordingError if the recording lacks one of the topics in ``options``, or nothing can be
        played.
        """
        self._node = node
        self._bag = bag
        self._options = options
        self._report = report
        self._outputs: dict[str, _Output] = {}
        # Messages by topic, as remapped.
        self._published: Counter[str] = Counter()
        self.warnings: list[str] = list(bag.warnings)
        topics = _chosen(bag, options.topics)
        for topic in topics:
            if options.clock_hz and topic.name == CLOCK_TOPIC:
                self.warnings.append(f"{CLOCK_TOPIC} is not played: --clock publishes it.")
            else:
                self._add(node, topic)
        if all(topic.messages == 0 for topic in topics if topic.name in self._outputs):
            raise self._nothing_played()
        self._clock: Publisher | None = None
        if options.clock_hz:
            self._clock = node.create_publisher(Clock, CLOCK_TOPIC, DEFAULT_DEPTH)

    def play(self, stop: StopFlag) -> None:
        """Publish every message; with ``loop``, begin again at the end until ``stop`` is set.

        A damaged file is played up to its damage. Raises UsageError if an awaited topic gets no
        subscriber, or if an awaited node does not become active or segments fewer images than it
        was sent; RecordingError if the recording ends without a message.
        """
        if not self._options.segmenter:
            self._play_all(stop)
            return
        awaited = AwaitedNode(self._node, self._options.segmenter)
        topics = {
            output.publisher.topic_name
            for output in self._outputs.values()
            if output.publisher.msg_type in (Image, CompressedImage)
        }
        try:
            if awaited.await_active(topics, self._options.await_timeout_s, stop):
                self._play_all(stop)
                awaited.await_segmented(self._published, stop)
        finally:
            awaited.close()

    def _play_all(self, stop: StopFlag) -> None:
        if not self._await_subscribers(stop):
            return
        while self._play_once(stop):
            if not self._published:
                raise self._nothing_played()
            if not self._options.loop:
                break
        self._tell(Report(PlaybackEvent.FINISHED, "", None, time.monotonic_ns()))
        self._await_delivery(stop)

    def _add(self, node: Node, topic: BagTopic) -> None:
        class_of_messages = message_class(topic.message_type)
        if class_of_messages is None:
            self.warnings.append(
                f"{topic.name} is not played: {topic.message_type} is not installed."
            )
            return
        publisher = node.create_publisher(class_of_messages, topic.name, topic.profile)
        self._outputs[topic.name] = _Output(
            topic.name, publisher, begins_with_header(class_of_messages)
        )

    def _nothing_played(self) -> RecordingError:
        reasons = " ".join((*self.warnings, *self._bag.notes)) or "it has no messages."
        return RecordingError(f"Nothing in {self._bag.path} can be played: {reasons}")

    def _await_subscribers(self, stop: StopFlag) -> bool:
        deadline = time.monotonic() + self._options.await_timeout_s
        for topic in self._options.awaited:
            if topic not in self._outputs:
                raise UsageError(_not_played(topic))
            publisher = self._outputs[topic].publisher
            while publisher.get_subscription_count() == 0:
                if time.monotonic() > deadline:
                    raise UsageError(
                        f"Nobody has subscribed to {publisher.topic_name} within "
                        f"{self._options.await_timeout_s:g} s; start the subscriber, and check its "
                        "topic, ROS_DOMAIN_ID and quality of service."
                    )
                if not stop.wait_until(time.monotonic() + _SUBSCRIBER_POLL_S):
                    return False
        return True

    def _play_once(self, stop: StopFlag) -> bool:
        """Play from the first message to the last; False if ``stop`` is set before the end."""
        first_ns, started_s = None, time.monotonic()
        for time_ns, output, data in self._timeline():
            if first_ns is None:
                first_ns = time_ns
            elapsed_s = (time_ns - first_ns) / _NANOSECONDS / self._options.rate
            if not stop.wait_until(started_s + elapsed_s):
                return False
            self._tick(time_ns)
            if output is not None:
                self._publish(output, data)
        return True

    def _timeline(self) -> Iterator[tuple[int, _Output | None, bytes]]:
        """Recorded time [ns], topic and bytes of each message, and clock ticks (None) between."""
        step_ns = tick_ns = None
        if self._options.clock_hz:
            step_ns = round(_NANOSECONDS * self._options.rate / self._options.clock_hz)
        for topic, time_ns, data in self._bag.messages(self._outputs):
            if step_ns is not None:
                tick_ns = time_ns if tick_ns is None else tick_ns
                while tick_ns < time_ns:
                    yield tick_ns, None, b""
                    tick_ns += step_ns
            yield time_ns, self._outputs[topic], data

    def _publish(self, output: _Output, data: bytes) -> None:
        if output.has_header and self._options.restamp:
            data = with_stamp(data, time.time_ns())
        stamp_ns = read_stamp_ns(data) if output.has_header else None
        self._tell(Report(PlaybackEvent.PLAYED, output.topic, stamp_ns, time.monotonic_ns()))
        output.publisher.publish(data)
        self._published[output.publisher.topic_name] += 1

    def _tell(self, report: Report) -> None:
        if self._report is not None:
            self._report(report)

    def _tick(self, time_ns: int) -> None:
        if self._clock is not None:
            seconds, nanoseconds = divmod(time_ns, _NANOSECONDS)
            self._clock.publish(Clock(clock=Time(sec=seconds, nanosec=nanoseconds)))

    def _await_delivery(self, stop: StopFlag) -> None:
        """Wait until reliable messages have arrived: a destroyed publisher would lose them."""
        deadline_s = time.monotonic() + _DELIVERY_TIMEOUT_S
        for output in self._outputs.values():
            while (
                not stop
                and time.monotonic() < deadline_s
                and not output.publisher.wait_for_all_acked(_DELIVERY_POLL)
            ):
                pass


def _chosen(bag: PlayedBag, names: Sequence[str]) -> tuple[BagTopic, ...]:
    for name in names:
        if name not in bag.topics:
            known = ", ".join(sorted(bag.topics)) or "none at all"
            raise RecordingError(f"{bag.path} has no topic {name!r}; it has {known}.")
    return tuple(topic for topic in bag.topics.values() if not names or topic.name in names)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="playback",
        description="Play a ROS 2 recording to its topics, at the pace at which it was recorded.",
        epilog="Remappings follow --ros-args, for example -r /camera/image_raw:=/front/image_raw.",
    )
    parser.add_argument(
        "bag", type=user_path, metavar="BAG", help=".mcap, .db3, or a rosbag2 folder"
    )
    parser.add_argument(
        "--topic",
        dest="topics",
        action="append",
        default=[],
        metavar="T",
        help="topic to play; repeat for several topics (default: all topics)",
    )
    add_max_message_argument(parser)
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    parser.add_argument(
        "--rate", type=float, default=1.0, help="recorded seconds per second (default: 1)"
    )
    parser.add_argument("--loop", action="store_true", help="begin again at the end, until Ctrl-C")
    parser.add_argument(
        "--clock",
        type=float,
        nargs="?",
        const=100.0,
        default=0.0,
        metavar="HZ",
        help="publish the recording's time on /clock, for use_sim_time (HZ: 100 by default)",
    )
    parser.add_argument(
        "--restamp", action="store_true", help="set header stamps to the time of publishing"
    )
    parser.add_argument(
        "--await-subscriber",
        dest="awaited",
        action="append",
        default=[],
        metavar="T",
        help="begin when this topic has a subscriber; repeat for several topics",
    )
    parser.add_argument(
        "--await-timeout",
        type=float,
        default=30.0,
        metavar="S",
        help="how long to wait for subscribers, and for NODE to be active (default: 30 s)",
    )
    parser.add_argument(
        "--await-segmented",
        dest="segmenter",
        default="",
        metavar="NODE",
        help="begin when the segment_node with this full name is active, and end when it has "
        "segmented every image; fail if it cannot",
    )
    parser.add_argument(
        "--report", action="store_true", help="print each played message as a line of JSON"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the recording; returns 0, also when stopped by Ctrl-C, and 2 for bad input."""
    command_line = list(sys.argv if arguments is None else [sys.argv[0], *arguments])
    args = _parser().parse_args(remove_ros_args(command_line)[1:])
    return run_until_stopped("playback", command_line, lambda stop: _play_bag(args, stop))


def _play_bag(args: argparse.Namespace, stop: StopFlag) -> None:
    options = _options(args)
    bag = PlayedBag(args.bag, args.max_message_mib)
    node = rclpy.create_node(NODE_NAME, start_parameter_services=False)
    playback = Playback(node, bag, options, print_report if args.report else None)
    told = (*playback.warnings, *bag.notes)
    for sentence in told:
        tell(sentence, "playback")
    playback.play(stop)
    for sentence in bag.notes:  # damage may show only when it is read
        if sentence not in told:
            tell(sentence, "playback")
    node.destroy_node()


def _options(args: argparse.Namespace) -> PlaybackOptions:
    return PlaybackOptions(
        topics=tuple(args.topics),
        rate=args.rate,
        loop=args.loop,
        clock_hz=args.clock,
        restamp=args.restamp,
        awaited=tuple(args.awaited),
        await_timeout_s=args.await_timeout,
        segmenter=args.segmenter,
    )


if __name__ == "__main__":
    sys.exit(main())
