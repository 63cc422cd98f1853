"""The newest frame of each camera, and the one thread that works on them.

A subscription's callback only stores; what it replaces was too late and is handed back to be
counted. Waiting frames are taken in the order in which their cameras began to wait, so that no
camera starves another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class NewestFrames(Generic[T]):
    """One slot per camera; safe to use from several threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._slots: dict[str, T] = {}  # in the order in which the cameras began to wait
        self._closed = False

    def put(self, camera: str, frame: T) -> T | None:
        """Store ``frame``; returns the one it replaces. A closed store keeps nothing."""
        with self._changed:
            if self._closed:
                return None
            replaced = self._slots.get(camera)
            self._slots[camera] = frame
            self._changed.notify()
            return replaced

    def take(self) -> T | None:
        """Wait for a frame and take it; None once the store is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._slots or self._closed)
            if self._closed:
                return None
            camera = next(iter(self._slots))
            return self._slots.pop(camera)

    def close(self) -> None:
        """Forget what waits and let every taker go."""
        with self._changed:
            self._closed = True
            self._slots.clear()
            self._changed.notify_all()


class FrameWorker(Generic[T]):
    """A thread that hands frames to ``process``, one at a time.

    No frame ends it: whatever ``process`` raises goes to ``failed`` with the frame.
    """

    def __init__(
        self, process: Callable[[T], None], failed: Callable[[T, Exception], None]
    ) -> None:
        self._process = process
        self._failed = failed
        self._frames: NewestFrames[T] = NewestFrames()
        self._thread = threading.Thread(target=self._run, name="frame_worker")

    def start(self) -> None:
        """Begin; a worker starts once."""
        self._thread.start()

    def put(self, camera: str, frame: T) -> T | None:
        """Hand over the newest frame of a camera; returns the one it replaces."""
        return self._frames.put(camera, frame)

    def stop(self) -> None:
        """Forget what waits and return when the frame in work is done."""
        self._frames.close()
        self._thread.join()

    def _run(self) -> None:
        while (frame := self._frames.take()) is not None:
            try:
                self._process(frame)
            except Exception as error:  # noqa: BLE001 - the one place where a frame's fault ends
                self._failed(frame, error)
