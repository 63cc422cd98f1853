"""The diagnostics of a segment_node, read by another process.

The node writes the names in this file and the reader looks for them, so both import them from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line reads reports without ROS
    from diagnostic_msgs.msg import DiagnosticArray

STATE = "state"
FRAMES_WAITING = "frames_waiting"
TOPIC = "topic"
PUBLISHERS = "publishers"
RECEIVED = "frames_received"
SEGMENTED = "frames_segmented"
DROPPED = "dropped_"
PROBLEM = "problem_"
_NETWORK = ": network"


def network_status_name(node: str) -> str:
    """The name of the status of network and vocabulary; ``node`` is the node's full name."""
    return f"{node.lstrip('/')}{_NETWORK}"


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """What one diagnostics message says about one camera of a node.

    topic: the image topic, empty where the node does not subscribe to it. publishers: how many the
    node knows. received, segmented: images since the node began. dropped: images by cause.
    problems: a sentence for each cause that makes an image unusable.
    """

    name: str
    topic: str
    publishers: int
    received: int
    segmented: int
    dropped: dict[str, int]
    problems: dict[str, str]


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What one diagnostics message says about one node.

    node: the full name. state: the lifecycle state, such as ``configuring`` or ``active``. failure:
    why a transition failed, empty if none did. frames_waiting: images that wait or are being
    segmented.
    """

    node: str
    state: str
    failure: str
    frames_waiting: int
    cameras: tuple[CameraStatus, ...] = ()

    @property
    def frames_unusable(self) -> int:
        """Images that could not be segmented, without those that the parameters leave out."""
        return sum(
            camera.dropped.get(cause, 0) for camera in self.cameras for cause in camera.problems
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> NodeStatus:
        """The status whose ``dataclasses.asdict`` has been written as JSON and read again."""
        cameras = tuple(CameraStatus(**camera) for camera in values["cameras"])
        return cls(**{**values, "cameras": cameras})


def node_statuses(message: DiagnosticArray) -> list[NodeStatus]:
    """The status of each segment_node that ``message`` is about; other nodes are skipped."""
    values = {
        status.name: {entry.key: entry.value for entry in status.values}
        for status in message.status
    }
    return [
        NodeStatus(
            node="/" + status.name.removesuffix(_NETWORK),
            state=values[status.name][STATE],
            failure=status.message if status.level == status.ERROR else "",
            frames_waiting=int(values[status.name][FRAMES_WAITING]),
            cameras=tuple(
                _camera_status(name.removeprefix(prefix), entries)
                for prefix in (status.name.removesuffix("network"),)
                for name, entries in values.items()
                if name.startswith(prefix) and name != status.name
            ),
        )
        for status in message.status
        if status.name.endswith(_NETWORK) and FRAMES_WAITING in values[status.name]
    ]


def _camera_status(name: str, entries: Mapping[str, str]) -> CameraStatus:
    def named(prefix: str) -> dict[str, str]:
        return {
            key.removeprefix(prefix): value
            for key, value in entries.items()
            if key.startswith(prefix)
        }

    return CameraStatus(
        name=name,
        topic=entries[TOPIC],
        publishers=int(entries[PUBLISHERS]),
        received=int(entries[RECEIVED]),
        segmented=int(entries[SEGMENTED]),
        dropped={cause: int(count) for cause, count in named(DROPPED).items()},
        problems=named(PROBLEM),
    )
