"""Frames that arrive during work wait, and no frame ends the worker."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

import pytest

from activesam_ros.node.frame_stores import AllFrames, NewestFrames
from activesam_ros.node.worker import FrameWorker

TIMEOUT_S = 30


def worker_of(
    process: Callable[[Sequence[int]], None],
    failed: Callable[[int, Exception], None] = lambda frame, error: None,
    displaced: Callable[[int], None] = lambda frame: None,
    discarded: Callable[[int], None] = lambda frame: None,
    batch: int = 1,
) -> FrameWorker[int]:
    return FrameWorker(NewestFrames(), process, failed, displaced, discarded, batch)


def test_frames_that_arrive_during_work_are_superseded() -> None:
    entered, go_on = threading.Event(), threading.Event()
    done: queue.Queue[int] = queue.Queue()
    displaced: list[int] = []

    def process(frames: Sequence[int]) -> None:
        entered.set()
        assert go_on.wait(TIMEOUT_S)
        done.put(frames[0])

    worker = worker_of(process, displaced=displaced.append)
    worker.start()
    assert worker.unfinished == 0
    worker.put("front", 1)
    assert entered.wait(TIMEOUT_S)
    for number in (2, 3, 4):
        worker.put("front", number)
    assert displaced == [2, 3]
    assert worker.unfinished == 2
    go_on.set()
    assert [done.get(timeout=TIMEOUT_S) for _ in range(2)] == [1, 4]
    worker.stop()
    assert worker.unfinished == 0


def test_whatever_a_frame_raises_is_handed_over_and_the_next_frame_goes_on() -> None:
    done: queue.Queue[object] = queue.Queue()

    def process(frames: Sequence[int]) -> None:
        if frames[0] == 1:
            raise MemoryError("no room")
        done.put(frames[0])

    def failed(frame: int, error: Exception) -> None:
        done.put((frame, str(error)))

    worker = worker_of(process, failed)
    worker.start()
    worker.put("front", 1)
    assert done.get(timeout=TIMEOUT_S) == (1, "no room")
    worker.put("front", 2)
    assert done.get(timeout=TIMEOUT_S) == 2
    worker.stop()


def test_stopping_waits_for_the_frame_in_work() -> None:
    entered, go_on = threading.Event(), threading.Event()
    done: list[int] = []

    def process(frames: Sequence[int]) -> None:
        entered.set()
        assert go_on.wait(TIMEOUT_S)
        done.extend(frames)

    worker = worker_of(process)
    worker.start()
    worker.put("front", 1)
    assert entered.wait(TIMEOUT_S)
    stopper = threading.Thread(target=worker.stop)
    stopper.start()
    go_on.set()
    stopper.join(TIMEOUT_S)
    assert not stopper.is_alive()
    assert done == [1]


@pytest.mark.parametrize("keep_all", [False, True])
def test_what_waits_or_comes_when_the_worker_stops_is_discarded_and_told(keep_all: bool) -> None:
    entered, go_on = threading.Event(), threading.Event()
    done: list[int] = []
    told: dict[str, list[int]] = {"displaced": [], "discarded": []}

    def process(frames: Sequence[int]) -> None:
        entered.set()
        assert go_on.wait(TIMEOUT_S)
        done.extend(frames)

    store: NewestFrames[int] | AllFrames[int]
    store = AllFrames(lambda frame: 1, limit_bytes=100) if keep_all else NewestFrames()
    worker = FrameWorker(
        store,
        process,
        lambda frame, error: None,
        told["displaced"].append,
        told["discarded"].append,
    )
    worker.start()
    worker.put("front", 1)
    assert entered.wait(TIMEOUT_S)
    for number in (2, 3):
        worker.put("front", number)
    stopper = threading.Thread(target=worker.stop)
    stopper.start()
    while not told["discarded"]:
        stopper.join(0.01)
    worker.put("front", 4)
    go_on.set()
    stopper.join(TIMEOUT_S)
    assert done == [1]
    expected = ([], [2, 3, 4]) if keep_all else ([2], [3, 4])
    assert (told["displaced"], sorted(told["discarded"])) == expected
    assert worker.unfinished == 0


def test_frames_of_several_cameras_are_taken_at_once() -> None:
    entered, go_on = threading.Event(), threading.Event()
    done: queue.Queue[list[int]] = queue.Queue()

    def process(frames: Sequence[int]) -> None:
        entered.set()
        assert go_on.wait(TIMEOUT_S)
        done.put(list(frames))

    worker = worker_of(process, batch=2)
    worker.start()
    worker.put("front", 1)
    assert entered.wait(TIMEOUT_S)
    for camera, frame in (("left", 2), ("front", 3), ("right", 4), ("left", 5)):
        worker.put(camera, frame)
    go_on.set()
    assert [done.get(timeout=TIMEOUT_S) for _ in range(3)] == [[1], [5, 3], [4]]
    worker.stop()
