"""Which frames of a recording a range takes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.errors import UsageError
from activesam_ros.recordings.frame_range import FrameRange
from activesam_ros.recordings.recorded_frames import RecordedFrame
from activesam_ros.recordings.serialization import IMAGE

START_NS = 1_760_000_000_000_000_000


def frame(place: int, topic: str = "/a", time_s: float | None = None) -> RecordedFrame:
    """The frame of ``place``, half a second after the one before."""
    time_ns = START_NS + round((place / 2 if time_s is None else time_s) * 1e9)
    return RecordedFrame(topic, IMAGE, place, time_ns, "", False, None)


def places(part: FrameRange, frames: list[RecordedFrame], *topics: str) -> list[int]:
    chosen = part.select(frames, lambda entry: entry, topics or ("/a",))
    return [entry.stamp_ns for entry in chosen]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (FrameRange(), [0, 1, 2, 3, 4, 5]),
        (FrameRange(start_s=1.0), [2, 3, 4, 5]),
        (FrameRange(end_s=1.0), [0, 1, 2]),
        (FrameRange(1.0, 1.0), [2]),
        (FrameRange(limit=2), [0, 1]),
        (FrameRange(0.6, 9.0, 2), [2, 3]),
        (FrameRange(start_s=60.0), []),
    ],
)
def test_bounds_are_seconds_after_the_first_frame(part: FrameRange, expected: list[int]) -> None:
    assert places(part, [frame(place) for place in range(6)]) == expected


def test_the_limit_is_one_of_each_topic() -> None:
    topics = ["/a", "/a", "/b", "/a", "/b", "/b"]
    frames = [frame(place, topic) for place, topic in enumerate(topics)]
    assert places(FrameRange(limit=2), frames, "/a", "/b") == [0, 1, 2, 4]


@pytest.mark.parametrize("part", [FrameRange(limit=3), FrameRange(end_s=1.2)])
def test_nothing_is_read_that_is_not_needed(part: FrameRange) -> None:
    read: list[int] = []

    def frames() -> Iterator[RecordedFrame]:
        for place in range(100):
            read.append(place)
            yield frame(place)

    assert len(list(part.select(frames(), lambda entry: entry, ["/a"]))) == 3
    assert len(read) <= 4


@given(
    times_s=st.lists(st.integers(0, 60), max_size=20).map(sorted),
    start_s=st.integers(0, 40),
    length_s=st.none() | st.integers(0, 40),
    limit=st.none() | st.integers(1, 8),
)
def test_a_range_is_the_whole_filtered(
    times_s: list[int], start_s: int, length_s: int | None, limit: int | None
) -> None:
    end_s = None if length_s is None else start_s + length_s
    frames = [frame(place, time_s=time_s) for place, time_s in enumerate(times_s)]
    offsets = [time_s - times_s[0] for time_s in times_s]
    wanted = [
        place
        for place, offset in enumerate(offsets)
        if offset >= start_s and (end_s is None or offset <= end_s)
    ]
    assert places(FrameRange(start_s, end_s, limit), frames) == wanted[:limit]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"start_s": -1.0}, "--start -1"),
        ({"start_s": float("nan")}, "--start nan"),
        ({"start_s": 2.0, "end_s": 1.0}, "--end 1 must be at least --start, 2 seconds"),
        ({"end_s": float("nan")}, "--end nan"),
        ({"limit": 0}, "--limit 0"),
    ],
)
def test_a_range_without_frames_is_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FrameRange(**values)  # type: ignore[arg-type]


def test_the_expected_number_is_known_where_times_do_not_matter() -> None:
    assert FrameRange().expected(9, 3) == 9
    assert FrameRange(limit=2).expected(9, 3) == 6
    assert FrameRange(limit=5).expected(9, 3) == 9
    assert FrameRange(end_s=1.0).expected(9) is None
    assert FrameRange().expected(None) is None
