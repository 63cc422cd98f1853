"""The diagnostics of a segment_node, read by another process.

The node writes the names in this file and the reader looks for them, so both import them from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diagnostic_msgs.msg import DiagnosticArray

STATE = "state"
FRAMES_WAITING = "frames_waiting"
DROPPED = "dropped_"
PROBLEM = "problem_"
_NETWORK = ": network"


def network_status_name(node: str) -> str:
    """The name of the status of network and vocabulary; ``node`` is the node's full name."""
    return f"{node.lstrip('/')}{_NETWORK}"


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What one diagnostics message says about one node.

    node: the full name. state: the lifecycle state, such as ``configuring`` or ``active``. failure:
    why configuring or activating failed, empty if it did not. frames_waiting: images that wait or
    are being segmented. frames_unusable: images that could not be segmented; images that the node
    left out by its parameters do not count.
    """

    node: str
    state: str
    failure: str
    frames_waiting: int
    frames_unusable: int


def node_statuses(message: DiagnosticArray) -> list[NodeStatus]:
    """The status of each segment_node that ``message`` is about; other nodes are skipped."""
    # Imported here, because the demo's command imports this file, and its --help needs no ROS.
    from diagnostic_msgs.msg import DiagnosticStatus

    values = {
        status.name: {entry.key: entry.value for entry in status.values}
        for status in message.status
    }
    return [
        NodeStatus(
            node="/" + status.name.removesuffix(_NETWORK),
            state=values[status.name][STATE],
            failure=status.message if status.level == DiagnosticStatus.ERROR else "",
            frames_waiting=int(values[status.name][FRAMES_WAITING]),
            frames_unusable=sum(
                _unusable(camera)
                for name, camera in values.items()
                if name.startswith(status.name.removesuffix("network"))
            ),
        )
        for status in message.status
        if status.name.endswith(_NETWORK) and FRAMES_WAITING in values[status.name]
    ]


def _unusable(camera: dict[str, str]) -> int:
    """Dropped images of a camera, of those causes that come with a problem."""
    causes = (key.removeprefix(PROBLEM) for key in camera if key.startswith(PROBLEM))
    return sum(int(camera[DROPPED + cause]) for cause in causes)
