"""The figures of a run against recordings made by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rosbags.rosbag2 import StoragePlugin, Writer

from activesam_ros.demo.live.live import (
    ACTIVE_CLASSES_TOPIC,
    DIAGNOSTICS_TOPIC,
    MASK_TOPIC,
    LiveResult,
)
from activesam_ros.demo.live.summary import (
    NOT_RECEIVED,
    Accuracy,
    ActiveSummary,
    Drops,
    Summary,
    joined_by_stamp,
    measure_accuracy,
    rate_hz,
    read_active_classes,
    read_drops,
    table,
)
from activesam_ros.errors import UsageError
from activesam_ros.prompts.vocabulary import Vocabulary, vocabulary_from_names
from activesam_ros.recordings.recorded_frames import RecordedFrame, Recording, open_recording
from activesam_ros.recordings.serialization import header, new, ros2_types, serialize

LABELS = "/ground_truth/labels"
START_NS = 1_700_000_000_000_000_000
STEP_NS = 100_000_000


def write_bag(path: Path, messages: Sequence[tuple[str, int, Any]]) -> Recording:
    """A recording of (topic, time [ns], message)."""
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        types = {topic: message.__msgtype__ for topic, _, message in messages}
        connections = {
            topic: writer.add_connection(topic, message_type, typestore=ros2_types())
            for topic, message_type in types.items()
        }
        for topic, time_ns, message in messages:
            writer.write(connections[topic], time_ns, serialize(message))
    return open_recording(path)


def mask(index: int, pixels: NDArray[np.uint8]) -> Any:
    fields = {
        "header": header(START_NS + index * STEP_NS, "camera"),
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "encoding": "mono8",
        "is_bigendian": 0,
        "step": pixels.shape[1],
        "data": pixels.reshape(-1),
    }
    return new("sensor_msgs/msg/Image", fields)


def labels_of(*ids: int) -> NDArray[np.uint8]:
    return np.array([ids], np.uint8)


def stream(topic: str, frames: dict[int, NDArray[np.uint8]]) -> list[tuple[str, int, Any]]:
    return [(topic, START_NS + index * STEP_NS, mask(index, px)) for index, px in frames.items()]


@pytest.fixture
def vocabulary() -> Vocabulary:
    return vocabulary_from_names(["road", "sky", "car"])


def test_accuracy_counts_the_frames_that_came_out_and_no_others(
    tmp_path: Path, vocabulary: Vocabulary
) -> None:
    road, sky, car = (entry.id for entry in vocabulary.classes)
    truth = {
        0: labels_of(road, road, sky, 255),
        1: labels_of(car, car, car, car),
        2: labels_of(road, sky, sky, sky),
    }
    # of frame 1 there is no mask, of frame 7 there are no labels
    masks = {
        0: labels_of(road, sky, sky, car),
        2: labels_of(road, sky, sky, sky),
        7: labels_of(car, car, car, car),
    }
    recording = write_bag(tmp_path / "recorded", stream(MASK_TOPIC, masks))
    source = write_bag(tmp_path / "source", stream(LABELS, truth))

    accuracy = measure_accuracy(recording, source, LABELS, vocabulary)

    assert accuracy.frames == 2
    assert accuracy.per_class_iou == {"road": 2 / 3, "sky": 4 / 5, "car": None}
    assert accuracy.miou == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert accuracy.pixel_accuracy == pytest.approx(6 / 7)


def test_masks_and_labels_of_another_size_are_refused(
    tmp_path: Path, vocabulary: Vocabulary
) -> None:
    recording = write_bag(tmp_path / "recorded", stream(MASK_TOPIC, {0: labels_of(0, 0)}))
    source = write_bag(tmp_path / "source", stream(LABELS, {0: labels_of(0, 0, 0)}))
    with pytest.raises(UsageError, match="size"):
        measure_accuracy(recording, source, LABELS, vocabulary)


def frames_with(stamps: Sequence[int]) -> Iterator[RecordedFrame]:
    for stamp in stamps:
        yield RecordedFrame("/a", "sensor_msgs/msg/Image", stamp, stamp, "", False, None)


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_a_join_is_the_intersection_of_the_stamps(first: set[int], second: set[int]) -> None:
    pairs = list(joined_by_stamp(frames_with(sorted(first)), frames_with(sorted(second))))
    assert [left.stamp_ns for left, _ in pairs] == sorted(first & second)
    assert all(left.stamp_ns == right.stamp_ns for left, right in pairs)


def diagnostics(level: int, message: str, **values: str) -> Any:
    entries = [
        new("diagnostic_msgs/msg/KeyValue", {"key": key, "value": value})
        for key, value in values.items()
    ]
    status = {"level": level, "message": message, "hardware_id": "cpu"}
    return new(
        "diagnostic_msgs/msg/DiagnosticArray",
        {
            "header": header(START_NS, ""),
            "status": [
                new(
                    "diagnostic_msgs/msg/DiagnosticStatus",
                    {"name": "activesam: network", "values": [], **status},
                ),
                new(
                    "diagnostic_msgs/msg/DiagnosticStatus",
                    {"name": "activesam: image", "values": entries, **status},
                ),
            ],
        },
    )


def test_drops_are_what_the_last_diagnostics_say_and_the_rest_was_not_received(
    tmp_path: Path,
) -> None:
    arrays = [
        diagnostics(1, "rejected: too dark", dropped_superseded="1"),
        diagnostics(0, "fine", dropped_superseded="4", dropped_corrupt_data="1", active="3"),
    ]
    messages = [(DIAGNOSTICS_TOPIC, START_NS + place, array) for place, array in enumerate(arrays)]
    recording = write_bag(tmp_path / "recorded", messages)
    live = LiveResult(images=10, arrived={1: 1, 2: 2, 3: 3})
    drops = read_drops(recording, live)
    assert drops.causes == {"superseded": 4, "corrupt_data": 1, NOT_RECEIVED: 2}
    assert drops.problem is None
    live = LiveResult(images=8, arrived={1: 1, 2: 2, 3: 3})
    assert NOT_RECEIVED not in read_drops(recording, live).causes


def test_the_node_s_problem_is_told(tmp_path: Path) -> None:
    recording = write_bag(
        tmp_path / "recorded", [(DIAGNOSTICS_TOPIC, START_NS, diagnostics(1, "too dark"))]
    )
    assert read_drops(recording, LiveResult(images=1)).problem == "too dark"


def test_active_classes_are_averaged_over_the_masks(tmp_path: Path) -> None:
    def active(**fractions: float) -> Any:
        classes = [
            new(
                "activesam_ros/msg/ActiveClass",
                {"id": 0, "name": name, "presence": 0.5, "pixel_fraction": share, "reason": 1},
            )
            for name, share in fractions.items()
        ]
        fields = {"header": header(START_NS, ""), "vocabulary_version": 1, "vocabulary_size": 9}
        return new(
            "activesam_ros/msg/ActiveClasses",
            {**fields, "classes": classes, "latency_ms": 12.5, "degradation": 0},
        )

    messages = [active(road=0.5, sky=0.25), active(sky=0.75)]
    recording = write_bag(
        tmp_path / "recorded",
        [(ACTIVE_CLASSES_TOPIC, START_NS + place, entry) for place, entry in enumerate(messages)],
    )
    summary = read_active_classes(recording)
    assert summary.counts == (2, 1)
    assert summary.frames == {"road": 1, "sky": 2}
    assert list(summary.pixel_fraction.items()) == [("sky", 0.5), ("road", 0.25)]
    assert summary.node_latency_ms == (12.5, 12.5)


def summary_of(live: LiveResult, accuracy: Accuracy | None) -> Summary:
    return Summary(
        trained=False,
        weights=Path("w.safetensors"),
        bag=Path("drive.mcap"),
        image_topic="/camera/image_raw",
        vocabulary="cityscapes",
        vocabulary_size=19,
        live=live,
        drops=Drops({"superseded": 2}, None),
        active=ActiveSummary((10.0, 30.0), (3, 5), {"road": 2}, {"road": 1.0}),
        accuracy=accuracy,
    )


def test_the_summary_is_plain_json_and_its_latency_is_from_publication_to_arrival(
    tmp_path: Path,
) -> None:
    live = LiveResult(
        images=4,
        played={stamp: stamp * 100_000_000 for stamp in range(4)},
        arrived={0: 50_000_000, 3: 400_000_000},
    )
    accuracy = Accuracy(LABELS, 2, 0.5, 0.75, 0.875, {"road": 0.5, "sky": None})
    summary = summary_of(live, accuracy)
    summary.write(tmp_path / "summary.json")
    fields = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert fields["trained"] is False
    assert fields["frames"] == {"in": 4, "out": 2, "dropped": 2, "drop_causes": {"superseded": 2}}
    assert fields["latency_ms"] == {"p50": 75.0, "p95": pytest.approx(97.5)}
    assert fields["node_latency_ms"]["p50"] == 20.0
    assert fields["frames_per_second"]["in"] == pytest.approx(10.0)
    assert fields["active_classes"]["mean"] == 4.0
    assert fields["miou"] == 0.5
    assert fields["per_class_iou"] == {"road": 0.5, "sky": None}


def test_the_table_says_the_same() -> None:
    live = LiveResult(images=3, played={0: 0, 1: 1, 2: 2}, arrived={0: 50_000_000})
    lines = table(summary_of(live, None)).splitlines()
    cells = {line[2:].split("  ")[0]: line for line in lines}
    assert cells["frames in"].split()[2] == "3"
    assert cells["frames out"].split()[2] == "1"
    assert cells["dropped"].split()[1] == "2"
    assert "superseded 2" in cells["dropped"]
    assert "50 ms" in cells["latency"]
    assert "3 to 5 of 19" in cells["active classes"]
    assert "no labels" in cells["mIoU of labelled classes"]


@pytest.mark.parametrize(
    ("moments", "expected"), [([], None), ([5], None), ([5, 5], None), ([0, 10**9], 1.0)]
)
def test_a_rate_needs_two_moments(moments: list[int], expected: float | None) -> None:
    assert rate_hz(moments) == expected
