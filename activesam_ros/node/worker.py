"""The thread that segments frames."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from activesam_ros.node.frame_stores import AllFrames, NewestFrames

T = TypeVar("T")


class FrameWorker(Generic[T]):
    """A thread that hands waiting frames to ``process``, up to ``batch`` at a time.

    An error in ``process`` does not end the thread: ``failed`` gets each frame of the batch with
    the error.
    """

    def __init__(
        self,
        frames: NewestFrames[T] | AllFrames[T],
        process: Callable[[Sequence[T]], None],
        failed: Callable[[T, Exception], None],
        displaced: Callable[[T], None],
        discarded: Callable[[T], None],
        batch: int = 1,
    ) -> None:
        """``displaced`` gets the frame that gives way: the older one (NewestFrames) or the new one
        (AllFrames).

        ``discarded`` gets each frame that waits, or comes, when the worker stops.
        """
        self._frames = frames
        self._process = process
        self._failed = failed
        self._displaced = displaced
        self._discarded = discarded
        self._stopping = False
        self._batch = batch
        self._counting = threading.Lock()
        self._unfinished = 0
        self._thread = threading.Thread(target=self._run, name="frame_worker")

    @property
    def unfinished(self) -> int:
        """Frames that wait or are being processed."""
        return self._unfinished

    def start(self) -> None:
        """Start the thread; a worker starts once."""
        self._thread.start()

    def put(self, camera: str, frame: T) -> None:
        """Let ``frame`` wait for its turn; called from any thread."""
        self._count(1)  # before the thread can have finished it
        displaced = self._frames.put(camera, frame)
        if displaced is not None:
            self._count(-1)
            (self._discarded if self._stopping else self._displaced)(displaced)

    def stop(self) -> None:
        """Discard the waiting frames and return when the current ones are done."""
        self._stopping = True
        for frame in self._frames.close():
            self._count(-1)
            self._discarded(frame)
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while frames := self._frames.take(self._batch):
            try:
                self._process(frames)
            except Exception as error:  # noqa: BLE001 - no frame ends the thread
                for frame in frames:
                    self._failed(frame, error)
            finally:
                self._count(-len(frames))

    def _count(self, frames: int) -> None:
        with self._counting:
            self._unfinished += frames
