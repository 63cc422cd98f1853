"""The newest frame wins, cameras take turns, and no frame ends the worker."""

from __future__ import annotations

import queue
import threading

from activesam_ros.node.worker import FrameWorker, NewestFrames

TIMEOUT_S = 30


def test_a_newer_frame_replaces_the_waiting_one() -> None:
    frames: NewestFrames[int] = NewestFrames()
    assert frames.put("front", 1) is None
    assert frames.put("front", 2) == 1
    assert frames.take() == 2


def test_cameras_are_served_in_the_order_they_began_to_wait() -> None:
    frames: NewestFrames[str] = NewestFrames()
    frames.put("fast", "fast 1")
    frames.put("slow", "slow 1")
    frames.put("fast", "fast 2")
    assert frames.take() == "fast 2"
    frames.put("fast", "fast 3")
    assert frames.take() == "slow 1"
    assert frames.take() == "fast 3"


def test_a_closed_store_keeps_nothing_and_lets_takers_go() -> None:
    frames: NewestFrames[int] = NewestFrames()
    taken: queue.Queue[int | None] = queue.Queue()
    taker = threading.Thread(target=lambda: taken.put(frames.take()))
    taker.start()
    frames.close()
    assert taken.get(timeout=TIMEOUT_S) is None
    taker.join()
    assert frames.put("front", 1) is None
    assert frames.take() is None


def test_frames_that_arrive_during_work_are_superseded() -> None:
    entered, go_on = threading.Event(), threading.Event()
    done: queue.Queue[int] = queue.Queue()

    def process(frame: int) -> None:
        entered.set()
        assert go_on.wait(TIMEOUT_S)
        done.put(frame)

    worker = FrameWorker(process, failed=lambda frame, error: None)
    worker.start()
    worker.put("front", 1)
    assert entered.wait(TIMEOUT_S)
    assert [worker.put("front", number) for number in (2, 3, 4)] == [None, 2, 3]
    go_on.set()
    assert [done.get(timeout=TIMEOUT_S) for _ in range(2)] == [1, 4]
    worker.stop()


def test_whatever_a_frame_raises_is_handed_over_and_the_next_frame_goes_on() -> None:
    done: queue.Queue[object] = queue.Queue()

    def process(frame: int) -> None:
        if frame == 1:
            raise MemoryError("no room")
        done.put(frame)

    def failed(frame: int, error: Exception) -> None:
        done.put((frame, str(error)))

    worker = FrameWorker(process, failed)
    worker.start()
    worker.put("front", 1)
    assert done.get(timeout=TIMEOUT_S) == (1, "no room")
    worker.put("front", 2)
    assert done.get(timeout=TIMEOUT_S) == 2
    worker.stop()


def test_stopping_waits_for_the_frame_in_work() -> None:
    entered, go_on = threading.Event(), threading.Event()
    done: list[int] = []

    def process(frame: int) -> None:
        entered.set()
        assert go_on.wait(TIMEOUT_S)
        done.append(frame)

    worker = FrameWorker(process, failed=lambda frame, error: None)
    worker.start()
    worker.put("front", 1)
    assert entered.wait(TIMEOUT_S)
    stopper = threading.Thread(target=worker.stop)
    stopper.start()
    go_on.set()
    stopper.join(TIMEOUT_S)
    assert not stopper.is_alive()
    assert done == [1]
