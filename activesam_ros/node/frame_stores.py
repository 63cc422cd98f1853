"""Where frames wait for the worker: the newest of each camera, or all within a memory limit.

Cameras are served in the order in which they began to wait, so that none starves another. One take
returns at most one frame of each camera. A closed store gives back what it is given; its takes
return no frame.
Both stores are safe to use from several threads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class NewestFrames(Generic[T]):
    """One place per camera: a newer frame replaces the one that waits, which gets no mask."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[str, T] = {}  # in the order in which the cameras began to wait
        self._closed = False

    def put(self, camera: str, frame: T) -> T | None:
        """Store ``frame``; returns the frame it replaces, or ``frame`` when closed."""
        with self._changed:
            if self._closed:
                return frame
            replaced = self._waiting.get(camera)
            self._waiting[camera] = frame
            self._changed.notify()
            return replaced

    def take(self, limit: int) -> Sequence[T]:
        """Wait for a frame and take up to ``limit``, each of another camera."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return [self._waiting.pop(camera) for camera in list(self._waiting)[:limit]]

    def close(self) -> Sequence[T]:
        """Give up the waiting frames; every :meth:`take` returns."""
        with self._changed:
            self._closed = True
            given_up = list(self._waiting.values())
            self._waiting.clear()
            self._changed.notify_all()
            return given_up


class AllFrames(Generic[T]):
    """Every frame of a camera in order, up to a memory limit; above it new frames are refused."""

    def __init__(self, size: Callable[[T], int], limit_bytes: int) -> None:
        """``size`` tells a frame's size [bytes]; a frame that waits alone may be of any size."""
        self._size = size
        self._limit_bytes = limit_bytes
        self._used_bytes = 0
        self._changed = threading.Condition()
        self._queues: dict[str, deque[T]] = {}  # in the order in which the cameras began to wait
        self._closed = False

    def put(self, camera: str, frame: T) -> T | None:
        """Store ``frame``; returns it when it does not fit, or when closed."""
        size = self._size(frame)
        with self._changed:
            if self._closed:
                return frame
            if self._used_bytes and self._used_bytes + size > self._limit_bytes:
                return frame
            self._queues.setdefault(camera, deque()).append(frame)
            self._used_bytes += size
            self._changed.notify()
            return None

    def take(self, limit: int) -> Sequence[T]:
        """Wait for a frame and take up to ``limit``, each the oldest of another camera."""
        with self._changed:
            self._changed.wait_for(lambda: self._queues or self._closed)
            taken = []
            for camera in list(self._queues)[:limit]:
                queue = self._queues.pop(camera)
                taken.append(queue.popleft())
                if queue:
                    self._queues[camera] = queue  # after the other cameras
            self._used_bytes -= sum(map(self._size, taken))
            return taken

    def close(self) -> Sequence[T]:
        """Give up the waiting frames; every :meth:`take` returns."""
        with self._changed:
            self._closed = True
            given_up = [frame for queue in self._queues.values() for frame in queue]
            self._queues.clear()
            self._used_bytes = 0
            self._changed.notify_all()
            return given_up
