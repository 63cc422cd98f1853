"""A topic that nobody publishes: when it is said, and what helps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from activesam_ros.node.parameters.cameras import CameraInput
from activesam_ros.node.parameters.options import NodeOptions
from activesam_ros.node.ros.absent_publisher import (
    TOLD_AFTER_S,
    Absence,
    OfferedTopic,
    absence_advice,
    offered_topics,
)
from activesam_ros.node.ros.camera import Camera
from activesam_ros.node.statistics import FrameStatistics

if TYPE_CHECKING:
    from test.node.conftest import Peer

RAW = CameraInput("image", "image", compressed=False, max_rate_hz=0.0, prefix="")
COMPRESSED = CameraInput("image", "image", compressed=True, max_rate_hz=0.0, prefix="")
FRONT = CameraInput("front", "front/image", compressed=False, max_rate_hz=0.0, prefix="front/")
IMAGE, PACKED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
OFFERED = (
    OfferedTopic("/left/image_raw", IMAGE),
    OfferedTopic("/left/image_raw/compressed", PACKED),
    OfferedTopic("/right/depth/compressedDepth", PACKED),
    OfferedTopic("/right/image_raw", IMAGE),
)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_it_is_said_once_after_five_seconds_and_again_when_a_publisher_has_left() -> None:
    clock = Clock()
    absence = Absence(clock)
    told: list[float] = []

    def wait(seconds: float, publishers: int) -> None:
        for _ in range(int(seconds * 2)):
            if absence.is_news(publishers):
                told.append(clock.now_s)
            clock.now_s += 0.5

    wait(30, publishers=0)
    assert told == [100.0 + TOLD_AFTER_S]
    wait(4, publishers=1)
    wait(4, publishers=0)
    wait(1, publishers=1)
    assert len(told) == 1, "a camera that was restarted"
    wait(30, publishers=0)
    assert told == [100.0 + TOLD_AFTER_S, 139.0 + TOLD_AFTER_S]


@pytest.mark.parametrize(
    ("topic", "source", "offered", "words"),
    [
        ("/image", RAW, OFFERED, "Published are /left/image_raw, /right/image_raw; start the node"),
        (
            "/image",
            RAW,
            OFFERED,
            "-r image:=/left/image_raw, or a launch file with image_topic:=",
        ),
        ("/image/compressed", COMPRESSED, OFFERED, "Published are /left/image_raw/compressed;"),
        ("/image/compressed", COMPRESSED, OFFERED, "-r image:=/left/image_raw, or"),
        ("/front/image", FRONT, OFFERED, "set front.topic to one of them, such as /left/image_raw"),
        ("/right/image_raw/compressed", COMPRESSED, OFFERED, "set image_transport to raw"),
        ("/left/image_raw", RAW, OFFERED[1:2], "set image_transport to compressed"),
        ("/left/image_raw", FRONT, OFFERED[1:2], "set front.transport to compressed"),
        ("/image", RAW, OFFERED[1:3], "No raw image is published here (only /left/image_raw/comp"),
        ("/image", RAW, (), "(no image topic at all); start the camera, or play a recording"),
        ("/image", RAW, (), "ros2 launch activesam_ros replay.launch.py bag:="),
    ],
)
def test_the_way_out_is_named(
    topic: str, source: CameraInput, offered: tuple[OfferedTopic, ...], words: str
) -> None:
    advice = absence_advice(topic, source, offered, {})
    assert advice.startswith(f"Nobody publishes {topic}. ")
    assert words in advice


def test_many_topics_are_not_all_listed() -> None:
    many = [OfferedTopic(f"/camera_{number:02}/image", IMAGE) for number in range(40)]
    advice = absence_advice("/image", RAW, many, {})
    assert "/camera_04/image and 35 more;" in advice
    assert "/camera_05" not in advice


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "ROS_DOMAIN_ID=0"),
        ({"ROS_DOMAIN_ID": "7"}, "ROS_DOMAIN_ID=7"),
        (
            {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"},
            "LOCALHOST, which env.sh sets, limits discovery to this computer; export "
            "ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET before",
        ),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}, "turns discovery off"),
        ({"ROS_LOCALHOST_ONLY": "1"}, "ROS_LOCALHOST_ONLY=1 limits discovery"),
    ],
)
def test_what_limits_discovery_is_named(environment: dict[str, str], words: str) -> None:
    assert words in absence_advice("/image", RAW, OFFERED, environment)
    if not environment or "ROS_DOMAIN_ID" in environment:
        assert "limits" not in absence_advice("/image", RAW, OFFERED, environment)


def test_image_topics_with_publishers_of_other_nodes_are_offered(peer: Peer) -> None:
    node = peer.node
    own = node.create_publisher(Image, peer.name("own"), 1)
    heard = node.create_subscription(Image, peer.name("heard"), lambda message: None, 1)
    other = Node("camera", context=node.context, namespace=peer.namespace)
    raw = other.create_publisher(Image, peer.name("raw"), 1)
    packed = other.create_publisher(CompressedImage, peer.name("raw/compressed"), 1)

    def found() -> set[tuple[str, str]]:
        return {
            (entry.name.removeprefix(f"{peer.namespace}/"), entry.message_type)
            for entry in offered_topics(node)
            if entry.name.startswith(peer.namespace)
        }

    expected = {("raw", IMAGE), ("raw/compressed", PACKED)}
    peer.wait_for(lambda: found() >= expected, "the other node's topics")
    assert found() == expected
    for publisher in (raw, packed):
        other.destroy_publisher(publisher)
    node.destroy_publisher(own)
    node.destroy_subscription(heard)
    other.destroy_node()


def test_a_camera_says_it_and_the_diagnostics_show_it_until_somebody_publishes(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activesam_ros.node.ros.absent_publisher.TOLD_AFTER_S", 0.0)
    node = LifecycleNode("alone", context=peer.node.context, namespace=peer.namespace)
    camera = Camera(node, RAW, NodeOptions(), FrameStatistics())
    assert camera.new_absence() is None, "not subscribed yet"
    camera.start(lambda name, frame: None)
    advice = camera.new_absence()
    assert advice is not None
    assert f"Nobody publishes {peer.name('image')}." in advice
    assert camera.new_absence() is None, "said once"
    assert camera.view().absence_advice == advice
    publisher = peer.node.create_publisher(Image, peer.name("image"), 1)
    peer.wait_for(lambda: camera.view().publishers, "the publisher to be found")
    assert camera.new_absence() is None
    assert camera.view().absence_advice == ""
    camera.stop()
    peer.node.destroy_publisher(publisher)
    node.destroy_node()
