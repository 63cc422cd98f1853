"""The join by stamp equals a join with everything in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.errors import RecordingError
from activesam_ros.evaluation.datasets.stamp_join import StampJoin, labels_are_joined_by_order
from activesam_ros.recordings.recorded_frames import RecordedFrame, open_recording
from activesam_ros.recordings.serialization import IMAGE

if TYPE_CHECKING:
    from test.fixtures.recording_fixtures import BagBuilder, Recorded

IMAGES, LABELS = "/image", "/labels"


def frame(topic: str, stamp_ns: int) -> RecordedFrame:
    return RecordedFrame(topic, IMAGE, stamp_ns, stamp_ns, "", False, None)


def joined(stream: list[tuple[str, int]], window: int = 64) -> tuple[list[tuple[int, bool]], int]:
    join = StampJoin(IMAGES, LABELS, window)
    pairs = list(join.join(iter([frame(*entry) for entry in stream])))
    assert all(pair.labels is None or pair.labels.stamp_ns == pair.image.stamp_ns for pair in pairs)
    return [(pair.image.stamp_ns, pair.labels is not None) for pair in pairs], join.unmatched_labels


streams = st.lists(
    st.tuples(st.sampled_from([IMAGES, LABELS]), st.integers(1, 12)), unique=True, max_size=24
)


@given(streams)
def test_a_wide_window_joins_as_if_everything_were_in_memory(
    stream: list[tuple[str, int]],
) -> None:
    labels = {stamp for topic, stamp in stream if topic == LABELS}
    images = [stamp for topic, stamp in stream if topic == IMAGES]
    pairs, unmatched = joined(stream)
    assert pairs == [(stamp, stamp in labels) for stamp in images]
    assert unmatched == len(labels - set(images))


@given(streams, st.integers(1, 5))
def test_whatever_the_window_every_image_comes_out_once_in_order(
    stream: list[tuple[str, int]], window: int
) -> None:
    pairs, unmatched = joined(stream, window)
    assert [stamp for stamp, _ in pairs] == [stamp for topic, stamp in stream if topic == IMAGES]
    labels = sum(topic == LABELS for topic, _ in stream)
    assert sum(found for _, found in pairs) + unmatched == labels


def test_labels_may_come_before_or_after_their_image() -> None:
    stream = [(LABELS, 1), (IMAGES, 1), (IMAGES, 2), (IMAGES, 3), (LABELS, 3), (LABELS, 2)]
    assert joined(stream) == ([(1, True), (2, True), (3, True)], 0)


def test_an_image_waits_no_longer_than_the_window() -> None:
    stream = [(IMAGES, 1), (IMAGES, 2), (IMAGES, 3), (LABELS, 1), (LABELS, 3)]
    assert joined(stream, window=2) == ([(1, False), (2, False), (3, True)], 1)


def test_two_images_of_one_stamp_each_take_labels_of_their_own() -> None:
    stream = [(IMAGES, 1), (LABELS, 1), (IMAGES, 1)]
    assert joined(stream) == ([(1, True), (1, False)], 0)


def test_without_stamps_the_nth_labels_belong_to_the_nth_image() -> None:
    stream = [(LABELS, 5), (IMAGES, 1), (IMAGES, 2), (LABELS, 6), (IMAGES, 3)]
    join = StampJoin(IMAGES, LABELS, by_order=True)
    pairs = list(join.join(iter([frame(*entry) for entry in stream])))
    assert [
        (pair.image.stamp_ns, pair.labels.stamp_ns if pair.labels else None) for pair in pairs
    ] == [(1, 5), (2, 6), (3, None)]
    assert join.unmatched_labels == 0


SECOND = 1_000_000_000


def messages(
    bags: BagBuilder, topic: str, count: int, late_ns: int, stamped: bool = False
) -> list[Recorded]:
    """One message a second; recorded ``late_ns`` after the second, stamped so or with 0."""
    times = [(place + 1) * SECOND + late_ns for place in range(count)]
    return [
        bags.image(place, topic=topic, stamp_ns=time if stamped else 0, log_time_ns=time)
        for place, time in enumerate(times)
    ]


@pytest.mark.parametrize(
    ("images", "labels", "by_order"),
    [
        ((5, 0, True), (5, 0, True), False),
        ((5, 0, False), (5, 0, False), False),  # recorded at one time, which joins them
        ((5, 0, True), (2, 0, False), False),
        ((5, 0, False), (5, 300, False), True),
    ],
)
def test_the_order_joins_only_what_has_no_stamps(
    bags: BagBuilder,
    images: tuple[int, int, bool],
    labels: tuple[int, int, bool],
    by_order: bool,
) -> None:
    path = bags.mcap(messages(bags, IMAGES, *images) + messages(bags, LABELS, *labels))
    assert labels_are_joined_by_order(open_recording(path), IMAGES, LABELS) == by_order


@pytest.mark.parametrize(
    ("images", "labels", "reason"),
    [
        ((5, 0, False), (4, 300, False), r"/image and /labels is set.*messages \(5 and 4\)"),
        ((5, 0, True), (5, 300, False), "no stamp on /labels is set, and the times of recording"),
        ((5, 0, True), (5, 4_000_000, True), r"nearest to the first labels is 0\.004 s away"),
        ((99, 0, True), (99, 4_000_000, True), r"nearest to the first labels is 0\.004 s away"),
    ],
)
def test_labels_that_no_image_has_are_refused_with_the_way_out(
    bags: BagBuilder, images: tuple[int, int, bool], labels: tuple[int, int, bool], reason: str
) -> None:
    path = bags.mcap(messages(bags, IMAGES, *images) + messages(bags, LABELS, *labels))
    with pytest.raises(RecordingError, match=rf"{reason}.*give each label image the stamp"):
        labels_are_joined_by_order(open_recording(path), IMAGES, LABELS)
