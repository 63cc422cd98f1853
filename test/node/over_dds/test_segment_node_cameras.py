"""One network and several cameras over DDS: names, turns, rates, and a state for each."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from activesam_ros.msg import ActiveClasses
from activesam_ros.msg import Vocabulary as VocabularyMessage
from numpy.typing import NDArray
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

if TYPE_CHECKING:
    from test.node.conftest import Camera, NodeProcess, OpenCamera, Peer, StartNode

Pixels = NDArray[np.uint8]
NAMES = ("front", "left", "rear")


@pytest.fixture(scope="module", autouse=True)
def node(start_node: StartNode, namespace: str) -> NodeProcess:
    return start_node(
        {
            "cameras": NAMES,
            "camera_batch": 3,
            "image_timeout_s": 60.0,
            "front.topic": f"{namespace}/front_camera/image_raw",
            "left.transport": "compressed",
            "rear.max_rate_hz": 0.001,
        },
        ["-r", "rear/image:=rear_camera/image_color"],
    )


@dataclass
class Rig:
    """A camera for each name, and how to make its images."""

    cameras: dict[str, Camera]
    peer: Peer
    photo: Pixels

    def image(self, name: str, stamp_ns: int) -> Any:
        if name == "front":
            return self.peer.image(self.photo, stamp_ns, frame_id="front_lens")
        if name == "rear":
            return self.peer.image(self.photo[:50, :70], stamp_ns, frame_id="rear_lens")
        data = cv2.imencode(".png", self.photo[:40, ::-1, ::-1])[1].tobytes()
        message = CompressedImage(format="png", data=data)
        self.peer.stamp(message, stamp_ns).header.frame_id = "left_lens"
        return message

    def mask_of(self, name: str) -> Any:
        return self.cameras[name].mask_of(self.image(name, self.peer.next_stamp()))


@pytest.fixture(scope="module")
def rig(peer: Peer, photo: Pixels, open_camera: OpenCamera) -> Rig:
    """Cameras whose first images have their masks."""
    topics = {
        "front": (Image, "front_camera/image_raw"),
        "left": (CompressedImage, "left/image/compressed"),
        "rear": (Image, "rear_camera/image_color"),
    }
    sensor = qos_profile_sensor_data
    cameras = {
        name: open_camera(kind, topic, sensor, f"activesam/{name}/semantic_mask")
        for name, (kind, topic) in topics.items()
    }
    rig = Rig(cameras, peer, photo)
    (result,) = peer.set_parameters({"rear.max_rate_hz": 0.0})
    assert result.successful, result.reason
    for name, camera in cameras.items():
        camera.first_mask(functools.partial(rig.image, name))
    return rig


def test_the_log_names_the_topics_of_the_masks(rig: Rig, node: NodeProcess, namespace: str) -> None:
    topics = ", ".join(f"{namespace}/activesam/{name}/semantic_mask" for name in NAMES)
    assert f"Masks are published on {topics}." in node.log()


def test_each_camera_has_its_masks_under_its_name(rig: Rig, peer: Peer) -> None:
    sizes = {"front": rig.photo.shape[:2], "left": (40, rig.photo.shape[1]), "rear": (50, 70)}
    for name in NAMES:
        mask = rig.mask_of(name)
        assert (mask.height, mask.width) == sizes[name]
        assert mask.header.frame_id == f"{name}_lens"
    for name, camera in rig.cameras.items():
        assert {mask.header.frame_id for mask in camera.masks} == {f"{name}_lens"}
    assert peer.node.count_publishers(peer.name("activesam/semantic_mask")) == 0
    assert peer.node.count_publishers(peer.name("activesam/left/overlay")) == 1


def test_camera_info_and_active_classes_are_the_cameras_own(rig: Rig, peer: Peer) -> None:
    info = CameraInfo(width=rig.photo.shape[1], height=rig.photo.shape[0], d=[0.25])
    infos = peer.collect(CameraInfo, "activesam/front/semantic_mask/camera_info")
    classes = peer.collect(ActiveClasses, "activesam/front/active_classes")
    publisher = peer.publisher(CameraInfo, "front_camera/camera_info")

    def both_come() -> list[Any]:
        stamp_ns = peer.next_stamp()
        publisher.publish(peer.stamp(info, stamp_ns))
        rig.cameras["front"].mask_of(rig.image("front", stamp_ns))
        rig.mask_of("left")
        peer.comes(lambda: infos and classes, timeout_s=1.0)
        return infos and classes

    peer.wait_for(both_come, "camera_info and active classes")
    assert infos[-1].d.tolist() == [0.25]
    for message in (*infos, *classes):
        assert message.header.frame_id == "front_lens"
    assert classes[-1].degradation == ActiveClasses.NOTHING


def test_there_is_one_vocabulary_for_all(rig: Rig, peer: Peer) -> None:
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    received = peer.collect(VocabularyMessage, "activesam/vocabulary", latched)
    peer.wait_for(lambda: received, "the vocabulary")
    vocabularies = [
        topic
        for topic, _ in peer.node.get_topic_names_and_types()
        if topic.startswith(peer.name("activesam")) and topic.endswith("vocabulary")
    ]
    assert vocabularies == [peer.name("activesam/vocabulary")]


def test_a_flood_from_one_camera_does_not_starve_another(rig: Rig, peer: Peer) -> None:
    front, left = rig.cameras["front"], rig.cameras["left"]
    for _ in range(3):
        wanted = left.publish(rig.image("left", peer.next_stamp()))

        def comes(wanted: int = wanted) -> Any:
            front.publish(rig.image("front", peer.next_stamp()))
            return left.find(wanted)

        peer.wait_for(comes, "the mask of the slow camera")


def test_a_rate_limit_holds_for_its_camera_and_is_live(rig: Rig, peer: Peer) -> None:
    def counted(_: Any, values: dict[str, str]) -> bool:
        return int(values.get("dropped_rate_limited", "0")) >= 3

    assert peer.set_parameters({"rear.max_rate_hz": 0.001})[0].successful
    for _ in range(5):
        rig.cameras["rear"].publish(rig.image("rear", peer.next_stamp()))
        rig.mask_of("front")
    status = peer.status("rear", counted, "images over the limit")
    assert peer.values_of(status)["state"] == "active"
    status = peer.status("front", lambda _, values: True, "anything")
    assert "dropped_rate_limited" not in peer.values_of(status)
    (refused,) = peer.set_parameters({"rear.max_rate_hz": -1.0})
    assert not refused.successful
    (refused,) = peer.set_parameters({"rear.topic": "elsewhere"})
    assert "unconfigured" in refused.reason
    (refused,) = peer.set_parameters({"cameras": ["front"]})
    assert not refused.successful
    assert peer.set_parameters({"rear.max_rate_hz": 0.0})[0].successful
    rig.mask_of("rear")


def has_state(state: str, _: Any, values: dict[str, str]) -> bool:
    return values["state"] == state


def test_each_camera_has_a_state_of_its_own(rig: Rig, peer: Peer) -> None:
    broken = rig.image("front", peer.next_stamp())
    broken.step = 1
    rig.cameras["front"].publish(broken)
    peer.await_drops("wrong_step", "1", camera="front")
    rig.mask_of("left")
    for name, state in (("front", "rejected"), ("left", "active")):
        status = peer.status(name, functools.partial(has_state, state), state)
        assert peer.values_of(status)["topic"].startswith(peer.namespace)
    rig.mask_of("front")
