"""Parts of a source that are read separately add up to the whole source."""

from __future__ import annotations

import dataclasses
import pickle
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activesam_ros.errors import RecordingError
from activesam_ros.evaluation.datasets.bag_samples import BagSource
from activesam_ros.evaluation.datasets.sample_source import SourceCount
from activesam_ros.execution.task import Part

if TYPE_CHECKING:
    from activesam_ros.evaluation.datasets.sample_source import Sample
    from test.fixtures.recording_fixtures import BagBuilder, Recorded

LABELS = "/ground_truth/labels"


def labels(bags: BagBuilder, place: int, width: int) -> Recorded:
    return bags.image(place, np.full((4, width), place, np.uint8), LABELS, encoding="mono8")


def recording(bags: BagBuilder) -> BagSource:
    """Six images: one broken, one whose labels differ in size; the file is cut off at its end."""
    messages = [
        bags.image(0),
        bags.image(1),
        labels(bags, 1, 6),
        bags.image(2, data=b"short"),
        bags.image(3),
        labels(bags, 3, 5),
        bags.image(4, stamp_ns=0, log_time_ns=5_000_000_000),
        labels(bags, 40, 6),
        bags.image(5),
    ]
    path = bags.mcap(messages, finished=False, chunked=False)
    with path.open("ab") as stream:
        stream.write(b"\x05\xff")
    return BagSource(path, "/camera/image_raw", LABELS)


def told(samples: list[Sample]) -> list[tuple[int, int, int | None, list[int] | None]]:
    return [
        (
            entry.place,
            int(entry.image[0, 0, 0]),
            entry.stamp_ns,
            None if entry.labels is None else entry.labels.reshape(-1).tolist(),
        )
        for entry in samples
    ]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.sets(st.integers(1, 9), max_size=4), order=st.randoms(use_true_random=False))
def test_a_recording_may_be_read_in_parts_in_any_order(
    cuts: set[int], order: random.Random, bags: BagBuilder
) -> None:
    source = recording(bags)
    whole = SourceCount()
    expected = told(list(source.open().samples(Part(0), whole)))
    assert [entry[0] for entry in expected] == [0, 1, 3, 4, 5]
    assert (whole.images, whole.unusable_images, whole.stamps_replaced) == (6, 1, 1)
    assert (whole.images_without_labels, whole.labels_without_image) == (4, 1)
    assert (len(whole.problems), len(whole.notes), whole.ended) == (2, 1, True)

    edges = [0, *sorted(cuts)]
    parts = [Part(start, stop) for start, stop in zip(edges, [*edges[1:], None], strict=True)]
    mixed = list(parts)
    order.shuffle(mixed)
    reader = pickle.loads(pickle.dumps(source)).open()
    read: dict[Part, list[Sample]] = {}
    counts: dict[Part, SourceCount] = {}
    for part in mixed:
        counts[part] = SourceCount()
        read[part] = list(reader.samples(part, counts[part]))
    together = SourceCount()
    for part in parts:
        together.extend(counts[part])
    assert told([entry for part in parts for entry in read[part]]) == expected
    assert together == whole


def test_topics_that_do_not_fit_are_refused_in_whichever_part_that_shows(bags: BagBuilder) -> None:
    path = bags.mcap([bags.image(0), bags.image(1), labels(bags, 1, 5)])
    reader = BagSource(path, "/camera/image_raw", LABELS).open()
    with pytest.raises(RecordingError, match=r"are 5x4 and the images on .* 6x4"):
        list(reader.samples(Part(0), SourceCount()))
    counts = [SourceCount(), SourceCount()]
    for part, count in zip((Part(0, 1), Part(1, 2)), counts, strict=True):
        list(reader.samples(part, count))
    together = dataclasses.replace(counts[0])
    with pytest.raises(RecordingError, match="The topics do not match"):
        together.extend(counts[1])


def test_a_part_tells_which_images_it_has() -> None:
    assert [place for place in range(6) if place in Part(2, 4)] == [2, 3]
    assert [place for place in range(6) if place in Part(4)] == [4, 5]
    assert (str(Part(2, 4)), str(Part(4))) == ("images 2 to 3", "images from 4 on")


def test_a_bit_depth_scales_what_is_evaluated(bags: BagBuilder) -> None:
    steps = np.array([[0, 1024, 4095]], np.uint16)
    path = bags.mcap([bags.compressed(0, steps, "/camera/image_raw", format_name="png")])
    for bit_depth, expected in ((16, [0, 4, 16]), (12, [0, 64, 255])):
        source = pickle.loads(
            pickle.dumps(BagSource(path, "/camera/image_raw", None, bit_depth=bit_depth))
        )
        (sample,) = source.open().samples(Part(0), SourceCount())
        assert sample.image[0, :, 1].tolist() == expected
