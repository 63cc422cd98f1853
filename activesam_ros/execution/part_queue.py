"""The parts of a task: handed out in order, and again if lost; results added in order."""

from __future__ import annotations

from collections import deque
from typing import Generic

from activesam_ros.execution.part_journal import PartJournal
from activesam_ros.execution.task import Part, Result, Task

PARTS_PER_WORKER = 8
LARGEST_PART = 32
UNKNOWN_PART = 16


class PartQueue(Generic[Result]):
    """Hands out parts and adds up their results.

    size: images of a part, None for the whole source as one part. The end of a source is unknown
    until a part reaches it. Parts in ``journal`` are not handed out; new results are added to it.
    """

    def __init__(
        self, size: int | None, expected: int | None, journal: PartJournal[Result] | None = None
    ) -> None:
        self._size = size
        self._expected = expected
        self._next = 0
        self._repeat: deque[Part] = deque()
        self._running: set[Part] = set()
        self._waiting: dict[int, tuple[Part, Result]] = {}  # for an earlier part to finish
        self._added = 0
        self._journal = journal
        self.total: Result | None = None
        for part, result in journal.parts() if journal else ():
            assert part.stop is not None
            assert size is not None
            for start in range(self._next, part.start, size):  # a gap that was never done
                self._repeat.append(Part(start, min(start + size, part.start)))
            self._next = part.stop
            self._add(part, result)

    @property
    def finished(self) -> bool:
        """``total`` is the result of the whole source."""
        return self.total is not None and self.total.ended

    def take(self) -> Part | None:
        """The next part, None when there is none now."""
        if self._repeat:
            part = self._repeat.popleft()
        elif self._ended() or (self._running and self._is_last_running()):
            return None
        elif self._size is None:
            part = Part(0)
        else:
            part = Part(self._next, self._next + self._size)
            self._next += self._size
        self._running.add(part)
        return part

    def done(self, part: Part, result: Result) -> None:
        """Add ``result`` once all earlier parts are added; raises RecordingError."""
        self._running.discard(part)
        if self._journal is not None:
            self._journal.keep(part, result)  # first: adding changes the earliest result
        self._add(part, result)

    def lost(self, part: Part) -> None:
        """Hand out ``part`` again, before any other."""
        self._running.discard(part)
        self._repeat.append(part)

    def _add(self, part: Part, result: Result) -> None:
        self._waiting[part.start] = (part, result)
        while self._added in self._waiting and not self.finished:
            following, made = self._waiting.pop(self._added)
            if self.total is None:
                made.check()
                self.total = made
            else:
                self.total.extend(made)
            self._added = following.stop or 0

    def _is_last_running(self) -> bool:
        """The running parts probably reach the end of the source."""
        return self._size is None or (self._expected is not None and self._next >= self._expected)

    def _ended(self) -> bool:
        return self.finished or any(entry.ended for _, entry in self._waiting.values())


def part_size(workers: int, expected: int | None) -> int:
    """Images of a part: several parts for each worker, so that all end at about the same time."""
    if expected is None:
        return UNKNOWN_PART
    return min(max(expected // (workers * PARTS_PER_WORKER), 1), LARGEST_PART)


def part_queue(
    task: Task[Result], workers: int, expected: int | None, journal: PartJournal[Result] | None
) -> PartQueue[Result]:
    """The parts of ``task`` for ``workers`` workers. A streamed task is one part: each frame
    depends on the frames before it."""
    size = None if task.is_streamed else part_size(workers, expected)
    return PartQueue(size, expected, journal)
