"""Which topics are chosen when the user names none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from activesam_ros.errors import RecordingError
from activesam_ros.recordings.recorded_frames import open_recording
from activesam_ros.recordings.serialization import COMPRESSED_IMAGE, IMAGE
from activesam_ros.recordings.topic_choice import chosen_topics

if TYPE_CHECKING:
    from test.fixtures.recording_fixtures import BagBuilder

GREY = np.zeros((4, 4), np.uint8)
RGB = np.zeros((4, 4, 3), np.uint8)


def test_one_image_topic_is_meant_whatever_its_encoding(bags: BagBuilder) -> None:
    path = bags.mcap([bags.image(0, GREY, "/grey", encoding="mono8")])
    assert chosen_topics(open_recording(path), []) == ("/grey",)


def test_labels_depth_and_compressed_copies_are_not_cameras(bags: BagBuilder) -> None:
    path = bags.mcap(
        [
            bags.image(0, topic="/front/image_raw"),
            bags.compressed(0, RGB, "/front/image_raw/compressed"),
            bags.compressed(0, RGB, "/rear/image_raw/compressed", ".jpg"),
            bags.image(0, GREY, "/ground_truth/labels", encoding="mono8"),
            bags.image(0, GREY, "/depth", encoding="16UC1", step=4),
            bags.image(0, GREY, "/range", encoding="32FC1"),
        ]
    )
    assert chosen_topics(open_recording(path), []) == (
        "/front/image_raw",
        "/rear/image_raw/compressed",
    )


def test_a_topic_with_images_of_two_types_is_one_camera(bags: BagBuilder) -> None:
    path = bags.mcap(
        [
            bags.image(0, topic="/camera"),
            bags.compressed(1, RGB, "/camera"),
            bags.compressed(2, RGB, "/camera", ".jpg"),
            bags.vocabulary({0: "road"}, "/camera"),
        ]
    )
    recording = open_recording(path)
    assert chosen_topics(recording, []) == ("/camera",)
    assert [frame.message_type for frame in recording.frames(["/camera"])] == [
        IMAGE, COMPRESSED_IMAGE, COMPRESSED_IMAGE,
    ]  # fmt: skip
    assert recording.message_count(["/camera"]) == 3
    assert recording.image_topic("/camera").message_type == COMPRESSED_IMAGE


def test_named_topics_are_taken_once_in_the_order_given(bags: BagBuilder) -> None:
    path = bags.mcap([bags.image(0, topic="/a"), bags.image(0, topic="/b")])
    assert chosen_topics(open_recording(path), ["/b", "/a", "/b"]) == ("/b", "/a")
    with pytest.raises(RecordingError, match=r"no topic '/c'; its image topics are /a \(1\), /b"):
        chosen_topics(open_recording(path), ["/c"])


def test_without_a_colour_topic_the_user_has_to_say(bags: BagBuilder) -> None:
    path = bags.mcap(
        [bags.image(0, GREY, topic, encoding="mono8") for topic in ("/left", "/right")]
    )
    with pytest.raises(RecordingError, match="choose one of /left, /right with --topic"):
        chosen_topics(open_recording(path), [])


def test_a_recording_without_images_is_refused(bags: BagBuilder) -> None:
    path = bags.mcap([bags.vocabulary({0: "road"})])
    with pytest.raises(
        RecordingError, match=r"no readable sensor_msgs image.*/ground_truth/vocabulary \(act"
    ):
        chosen_topics(open_recording(path), [])
    with pytest.raises(RecordingError, match="it has no image topic"):
        chosen_topics(open_recording(path), ["/camera"])
