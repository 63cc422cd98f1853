"""The one thread that works on frames."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from activesam_ros.node.frame_stores import FrameStore

T = TypeVar("T")


class FrameWorker(Generic[T]):
    """A thread that hands waiting frames to ``process``, up to ``batch`` at a time.

    No frame ends it: whatever ``process`` raises goes to ``failed`` with each of the frames.
    """

    def __init__(
        self,
        frames: FrameStore[T],
        process: Callable[[Sequence[T]], None],
        failed: Callable[[T, Exception], None],
        batch: int = 1,
    ) -> None:
        self._frames = frames
        self._process = process
        self._failed = failed
        self._batch = batch
        self._counting = threading.Lock()
        self._unfinished = 0
        self._thread = threading.Thread(target=self._run, name="frame_worker")

    @property
    def unfinished(self) -> int:
        """Frames that wait or are in work."""
        return self._unfinished

    def start(self) -> None:
        """Begin; a worker starts once."""
        self._thread.start()

    def put(self, camera: str, frame: T) -> T | None:
        """Hand over a frame; returns the one there is no place for."""
        self._count(1)  # before a thread can have finished it
        placeless = self._frames.put(camera, frame)
        if placeless is not None:
            self._count(-1)
        return placeless

    def stop(self) -> None:
        """Forget what waits and return when the frames in work are done."""
        self._frames.close()
        self._thread.join()

    def _run(self) -> None:
        while frames := self._frames.take(self._batch):
            try:
                self._process(frames)
            except Exception as error:  # noqa: BLE001 - the one place where a frame's fault ends
                for frame in frames:
                    self._failed(frame, error)
            finally:
                self._count(-len(frames))

    def _count(self, frames: int) -> None:
        with self._counting:
            self._unfinished += frames
