"""The newest frame wins or every one waits, and cameras take turns."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.node.frame_stores import AllFrames, NewestFrames

TIMEOUT_S = 30


def test_a_newer_frame_replaces_the_waiting_one() -> None:
    frames: NewestFrames[int] = NewestFrames()
    assert frames.put("front", 1) is None
    assert frames.put("front", 2) == 1
    assert frames.take(1) == [2]


def test_cameras_are_served_in_the_order_they_began_to_wait() -> None:
    frames: NewestFrames[str] = NewestFrames()
    frames.put("fast", "fast 1")
    frames.put("slow", "slow 1")
    frames.put("fast", "fast 2")
    assert frames.take(1) == ["fast 2"]
    frames.put("fast", "fast 3")
    assert frames.take(1) == ["slow 1"]
    assert frames.take(1) == ["fast 3"]


def test_a_closed_store_keeps_nothing_and_lets_takers_go() -> None:
    frames: NewestFrames[int] = NewestFrames()
    taken: queue.Queue[Sequence[int]] = queue.Queue()
    taker = threading.Thread(target=lambda: taken.put(frames.take(1)))
    taker.start()
    assert frames.close() == []
    assert not taken.get(timeout=TIMEOUT_S)
    taker.join()
    assert frames.put("front", 1) == 1
    assert not frames.take(1)


def test_of_one_take_every_frame_is_of_another_camera() -> None:
    frames: NewestFrames[str] = NewestFrames()
    for name in ("a 1", "b 1", "c 1", "a 2"):
        frames.put(name[0], name)
    assert frames.take(2) == ["a 2", "b 1"]
    assert frames.take(8) == ["c 1"]


@given(
    puts=st.lists(st.sampled_from("abc"), min_size=1, max_size=40),
    limit=st.integers(1, 4),
)
def test_all_frames_come_in_the_order_of_their_camera(puts: list[str], limit: int) -> None:
    frames: AllFrames[tuple[str, int]] = AllFrames(lambda frame: 1, limit_bytes=100)
    for number, camera in enumerate(puts):
        assert frames.put(camera, (camera, number)) is None
    taken: list[tuple[str, int]] = []
    while len(taken) < len(puts):
        some = frames.take(limit)
        assert 0 < len(some) <= limit
        assert len({camera for camera, _ in some}) == len(some)
        taken += some
    for camera in "abc":
        numbers = [number for name, number in taken if name == camera]
        assert numbers == [number for number, name in enumerate(puts) if name == camera]


@given(st.lists(st.integers(0, 60), min_size=1, max_size=30))
def test_what_waits_never_needs_more_memory_than_allowed(sizes: list[int]) -> None:
    frames: AllFrames[int] = AllFrames(lambda size: size, limit_bytes=100)
    kept = [size for size in sizes if frames.put("front", size) is None]
    assert sum(kept) <= 100
    assert [frames.take(1)[0] for _ in kept] == kept
    assert frames.put("front", 100) is None, "what was taken makes room"
    assert frames.put("front", 1) == 1


def test_a_frame_larger_than_the_memory_is_kept_alone() -> None:
    frames: AllFrames[int] = AllFrames(lambda size: size, limit_bytes=10)
    assert frames.put("front", 11) is None
    assert frames.put("front", 1) == 1
    assert frames.close() == [11]
    assert frames.put("front", 1) == 1
    assert not frames.take(1)
