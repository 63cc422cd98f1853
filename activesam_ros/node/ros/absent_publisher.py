"""Say that nobody publishes an image topic, and how to get a publisher."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rclpy.node import Node

from activesam_ros.node.parameters.cameras import UNNAMED, CameraInput

# Publishers on other computers are found within a few seconds.
TOLD_AFTER_S = 5.0
_SHOWN_TOPICS = 5
_COMPRESSED = "/compressed"
_IMAGE_TYPES = {
    "sensor_msgs/msg/Image": "raw",
    "sensor_msgs/msg/CompressedImage": "compressed",
}
_RANGE, _LOCALHOST_ONLY = "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY"


@dataclass(frozen=True)
class OfferedTopic:
    """A topic that somebody publishes, and its message type."""

    name: str
    message_type: str


class Absence:
    """Tells when nobody has published for TOLD_AFTER_S, once until somebody does."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since_s: float | None = None
        self._told = False

    def is_news(self, publishers: int) -> bool:
        """Whether to say now that nobody publishes."""
        now_s = self._clock()
        if publishers:
            self._since_s, self._told = None, False
            return False
        if self._since_s is None:
            self._since_s = now_s
        if self._told or now_s - self._since_s < TOLD_AFTER_S:
            return False
        self._told = True
        return True


def offered_topics(node: Node) -> tuple[OfferedTopic, ...]:
    """The image topics that other nodes publish, in order of name."""
    own = (node.get_namespace(), node.get_name())
    return tuple(
        OfferedTopic(name, message_type)
        for name, message_types in sorted(node.get_topic_names_and_types())
        for message_type in message_types
        if message_type in _IMAGE_TYPES
        and any(
            info.topic_type == message_type and (info.node_namespace, info.node_name) != own
            for info in node.get_publishers_info_by_topic(name)
        )
    )


def absence_advice(
    topic: str,
    source: CameraInput,
    offered: Sequence[OfferedTopic],
    environment: Mapping[str, str],
) -> str:
    """What to do when nobody publishes ``topic``, the resolved image topic of ``source``.

    offered: the image topics that somebody publishes. environment: the variables of the process.
    """
    transport = "compressed" if source.compressed else "raw"
    same = [
        entry.name
        for entry in offered
        if _IMAGE_TYPES[entry.message_type] == transport
        and (entry.name.endswith(_COMPRESSED) or not source.compressed)
    ]
    base = topic.removesuffix(_COMPRESSED)
    twin = base if source.compressed else base + _COMPRESSED
    if any(entry.name == twin and entry.name not in same for entry in offered):
        other = "raw" if source.compressed else "compressed"
        parameter = "image_transport" if source.name == UNNAMED else f"{source.name}.transport"
        advice = f"{twin} is published; set {parameter} to {other}."
    elif same:
        shown = ", ".join(same[:_SHOWN_TOPICS])
        more = f" and {len(same) - _SHOWN_TOPICS} more" if len(same) > _SHOWN_TOPICS else ""
        choice = _choice(source, same[0].removesuffix(_COMPRESSED))
        advice = f"Published are {shown}{more}; {choice}."
    else:
        others = [entry.name for entry in offered]
        found = f"only {', '.join(others[:_SHOWN_TOPICS])}" if others else "no image topic at all"
        kind = "compressed image" if source.compressed else "raw image"
        advice = (
            f"No {kind} is published here ({found}); start the camera, or play a recording with "
            "ros2 launch activesam_ros replay.launch.py bag:=FILE."
        )
    return f"Nobody publishes {topic}. {advice} {_where(environment)}"


def _choice(source: CameraInput, topic: str) -> str:
    """How to subscribe to ``topic`` instead."""
    if source.name == UNNAMED:
        return f"start the node with -r image:={topic}, or a launch file with image_topic:={topic}"
    return f"set {source.name}.topic to one of them, such as {topic}"


def _where(environment: Mapping[str, str]) -> str:
    """Where the node looks for publishers."""
    domain = environment.get("ROS_DOMAIN_ID") or "0"
    discovery = environment.get(_RANGE, "").upper()
    if environment.get(_LOCALHOST_ONLY) == "1":
        limit = f"{_LOCALHOST_ONLY}=1 limits discovery to this computer; unset it"
    elif discovery == "OFF":
        limit = f"{_RANGE}=OFF turns discovery off; export {_RANGE}=SUBNET"
    elif discovery == "LOCALHOST":
        limit = (
            f"{_RANGE}=LOCALHOST, which env.sh sets, limits discovery to this computer; "
            f"export {_RANGE}=SUBNET"
        )
    else:
        return f"Discovery looks in ROS_DOMAIN_ID={domain}."
    return f"{limit} before the node starts if the camera is on another (ROS_DOMAIN_ID={domain})."
