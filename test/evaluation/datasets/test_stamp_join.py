"""The join by stamp equals a join with everything in memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.evaluation.datasets.stamp_join import StampJoin
from activesam_ros.recordings.recorded_frames import RecordedFrame
from activesam_ros.recordings.serialization import IMAGE

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
