"""What the player and the recorder tell the process that started them: one JSON object a line."""

from __future__ import annotations

import enum
import json
from dataclasses import asdict, dataclass, fields

from activesam_ros.node.node_status import NodeStatus


class PlaybackEvent(enum.Enum):
    """What happened.

    PLAYED: a message is about to be published. FINISHED: all messages are published. SUBSCRIBED:
    the recorder has found a topic's publisher. RECORDED: a message is in the file. NODE_STATUS: a
    recorded diagnostics message is about a segment_node.
    """

    PLAYED = "played"
    FINISHED = "finished"
    SUBSCRIBED = "subscribed"
    RECORDED = "recorded"
    NODE_STATUS = "node_status"


@dataclass(frozen=True, slots=True)
class Report:
    """One event.

    topic: empty for FINISHED. stamp_ns: the message's header stamp, None where it has no header.
    monotonic_ns: when it happened, on the monotonic clock that all processes of a computer share.
    status: for NODE_STATUS only.
    """

    event: PlaybackEvent
    topic: str
    stamp_ns: int | None
    monotonic_ns: int
    status: NodeStatus | None = None

    def line(self) -> str:
        """The report as one line of text."""
        return json.dumps(asdict(self) | {"event": self.event.value})

    @classmethod
    def parse(cls, line: str) -> Report:
        """The report that :meth:`line` wrote; raises ValueError for any other text."""
        values = json.loads(line)
        if not isinstance(values, dict) or set(values) != {field.name for field in fields(cls)}:
            raise ValueError(f"{line!r} is no report")
        status = values["status"]
        return cls(
            **values
            | {
                "event": PlaybackEvent(values["event"]),
                "status": None if status is None else NodeStatus.from_json(status),
            }
        )


def print_report(report: Report) -> None:
    """Write the report to standard output at once."""
    print(report.line(), flush=True)
