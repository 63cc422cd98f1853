"""What playback and recorder tell the process that started them: one JSON object a line."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass


class Event(enum.Enum):
    """What happened to a topic; FINISHED means to all that are played."""

    PLAYED = "played"
    FINISHED = "finished"
    SUBSCRIBED = "subscribed"
    RECORDED = "recorded"


@dataclass(frozen=True, slots=True)
class Report:
    """One event.

    stamp_ns: the message's header stamp, None where it has no header. monotonic_ns: when, on the
    computer's monotonic clock, which all processes on it share.
    """

    event: Event
    topic: str
    stamp_ns: int | None
    monotonic_ns: int

    def line(self) -> str:
        """The report as one line of text."""
        fields = {
            "event": self.event.value,
            "topic": self.topic,
            "stamp_ns": self.stamp_ns,
            "monotonic_ns": self.monotonic_ns,
        }
        return json.dumps(fields)

    @classmethod
    def parse(cls, line: str) -> Report:
        """The report that :meth:`line` wrote; raises ValueError when it is none."""
        fields = json.loads(line)
        if not isinstance(fields, dict) or set(fields) != set(cls.__slots__):
            raise ValueError(f"{line!r} is no report")
        return cls(
            event=Event(fields["event"]),
            topic=fields["topic"],
            stamp_ns=fields["stamp_ns"],
            monotonic_ns=fields["monotonic_ns"],
        )


def print_report(report: Report) -> None:
    """Write the report to standard output at once."""
    print(report.line(), flush=True)
