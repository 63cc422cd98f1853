"""Which camera of a recording a replay takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import Writer
from rosbags.typesys import Stores, get_typestore

from activesam_ros.errors import RecordingError
from activesam_ros.node.playback.replayed_camera import ReplayedCamera, replayed_camera

TYPES = get_typestore(Stores.ROS2_JAZZY)
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


def message(kind: str) -> bytes:
    types = TYPES.types
    stamp = types["builtin_interfaces/msg/Time"](sec=1, nanosec=0)
    header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")
    data = np.zeros(12, np.uint8)
    if kind == COMPRESSED:
        return bytes(TYPES.serialize_cdr(types[kind](header, "jpeg", data), kind))
    return bytes(TYPES.serialize_cdr(types[kind](header, 2, 2, "rgb8", 0, 6, data), kind))


def recording(folder: Path, **topics: str) -> Path:
    with Writer(folder / "drive", version=8) as writer:
        for name, kind in topics.items():
            topic = writer.add_connection("/" + name.replace("__", "/"), kind, typestore=TYPES)
            writer.write(topic, 10**9, message(kind))
    return folder / "drive"


@pytest.mark.parametrize(
    ("topics", "camera", "subscribed"),
    [
        ({"front": IMAGE}, ReplayedCamera("/front", "/front", "raw"), "/front"),
        (
            {"front__compressed": COMPRESSED},
            ReplayedCamera("/front/compressed", "/front", "compressed"),
            "/front/compressed",
        ),
        (
            {"jpegs": COMPRESSED},
            ReplayedCamera("/jpegs", "/jpegs", "compressed"),
            "/jpegs/compressed",
        ),
        (
            {"front": IMAGE, "front__compressed": COMPRESSED},
            ReplayedCamera("/front", "/front", "raw"),
            "/front",
        ),
    ],
)
def test_the_only_camera_is_taken(
    tmp_path: Path, topics: dict[str, str], camera: ReplayedCamera, subscribed: str
) -> None:
    found = replayed_camera(recording(tmp_path, **topics), "")
    assert found == camera
    assert found.subscribed_topic == subscribed


def test_of_several_cameras_one_has_to_be_named(tmp_path: Path) -> None:
    bag = recording(tmp_path, left=IMAGE, right=IMAGE)
    with pytest.raises(RecordingError, match=r"/left, /right; choose one with image_topic"):
        replayed_camera(bag, "")
    assert replayed_camera(bag, "/right").image_topic == "/right"
    with pytest.raises(RecordingError, match="/middle"):
        replayed_camera(bag, "/middle")
