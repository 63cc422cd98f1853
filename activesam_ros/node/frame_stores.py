"""Where frames wait: the newest of each camera, or every one within a limit of memory.

Waiting frames are taken in the order in which their cameras began to wait, so that no camera
starves another; of one take, every frame is of another camera.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
T_contra = TypeVar("T_contra")


class FrameStore(Protocol[T]):
    """Safe to use from several threads."""

    def put(self, camera: str, frame: T) -> T | None:
        """Store ``frame``; returns what has no place, which may be ``frame`` itself.

        A closed store keeps nothing and returns None.
        """
        ...

    def take(self, limit: int) -> Sequence[T]:
        """Wait for a frame and take up to ``limit``; none once the store is closed."""
        ...

    def close(self) -> None:
        """Forget what waits and let every taker go."""
        ...


class NewestFrames(Generic[T]):
    """One slot per camera: a newer frame takes the place of the one that waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._slots: dict[str, T] = {}  # in the order in which the cameras began to wait
        self._closed = False

    def put(self, camera: str, frame: T) -> T | None:
        """Store ``frame``; returns the one it replaces."""
        with self._changed:
            if self._closed:
                return None
            replaced = self._slots.get(camera)
            self._slots[camera] = frame
            self._changed.notify()
            return replaced

    def take(self, limit: int) -> Sequence[T]:
        """Wait for a frame and take up to ``limit``, each of another camera."""
        with self._changed:
            self._changed.wait_for(lambda: self._slots or self._closed)
            return [self._slots.pop(camera) for camera in list(self._slots)[:limit]]

    def close(self) -> None:
        """Forget what waits and let every taker go."""
        with self._changed:
            self._closed = True
            self._slots.clear()
            self._changed.notify_all()


class AllFrames(Generic[T]):
    """Every frame in the order of its camera, while they fit into the memory; newer ones do not."""

    def __init__(self, size: Callable[[T], int], limit_bytes: int) -> None:
        """``size`` of a frame [bytes]; one frame is kept however large it is."""
        self._size = size
        self._limit = limit_bytes
        self._used = 0
        self._changed = threading.Condition()
        self._queues: dict[str, deque[T]] = {}  # in the order in which the cameras began to wait
        self._closed = False

    def put(self, camera: str, frame: T) -> T | None:
        """Store ``frame``; returns it where there is no room for it."""
        size = self._size(frame)
        with self._changed:
            if self._closed:
                return None
            if self._used and self._used + size > self._limit:
                return frame
            self._queues.setdefault(camera, deque()).append(frame)
            self._used += size
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
                    self._queues[camera] = queue  # behind the others
            self._used -= sum(map(self._size, taken))
            return taken

    def close(self) -> None:
        """Forget what waits and let every taker go."""
        with self._changed:
            self._closed = True
            self._queues.clear()
            self._used = 0
            self._changed.notify_all()
