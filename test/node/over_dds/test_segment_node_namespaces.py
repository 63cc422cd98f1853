"""Two robots, each with a node and a camera of its own, under the same names in two namespaces."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from activesam_ros.msg import Vocabulary as VocabularyMessage
from activesam_ros.srv import SetVocabulary
from lifecycle_msgs.srv import GetState
from numpy.typing import NDArray
from rcl_interfaces.srv import GetParameters
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool

if TYPE_CHECKING:
    from test.node.conftest import Camera, NodeProcess, OpenCamera, Peer, StartNode

Pixels = NDArray[np.uint8]
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclass
class Robot:
    """A node, the camera in its namespace, and the vocabularies it has published."""

    name: str
    peer: Peer
    node: NodeProcess
    camera: Camera
    vocabularies: list[Any]
    pixels: Pixels

    def image(self, stamp_ns: int) -> Image:
        return self.peer.image(self.pixels, stamp_ns, frame_id=self.name)

    def assert_own_masks(self) -> None:
        """None of its masks was made of the other's image."""
        size = self.pixels.shape[:2]
        assert {(mask.header.frame_id, mask.height, mask.width) for mask in self.camera.masks} == {
            (self.name, *size)
        }


@pytest.fixture(scope="module")
def robots(
    start_node: StartNode, open_camera: OpenCamera, peer: Peer, namespace: str, photo: Pixels
) -> tuple[Robot, Robot]:
    """Both with their first mask; their images differ in size and frame, not in their stamps."""

    def make(name: str, pixels: Pixels, **parameters: Any) -> Robot:
        own = peer.facing(f"{namespace}/{name}")
        node = start_node({"image_timeout_s": 60.0, **parameters}, namespace=own.namespace)
        vocabularies = own.collect(VocabularyMessage, "activesam/vocabulary", LATCHED)
        camera = open_camera(Image, "image", facing=own)
        return Robot(name, own, node, camera, vocabularies, pixels)

    both = make("one", photo[:40, :60]), make("two", photo[:50, :50], classes="door; window, pane")
    for robot in both:
        robot.camera.first_mask(robot.image)
        robot.peer.wait_for(robot.vocabularies.copy, "its vocabulary")
    return both


def test_the_parameter_classes_is_a_vocabulary(robots: tuple[Robot, Robot]) -> None:
    entries = robots[1].vocabularies[0].entries
    named = [(entry.id, entry.name) for entry in entries]
    assert named == [(0, "background"), (1, "door"), (2, "window")]


def test_each_node_answers_only_its_own_camera(robots: tuple[Robot, Robot]) -> None:
    one, two = robots
    for _ in range(5):
        stamp_ns = max(one.peer.next_stamp(), two.peer.next_stamp())
        for robot in robots:
            robot.camera.publish(robot.image(stamp_ns))
        for robot in robots:
            find = functools.partial(robot.camera.find, stamp_ns)
            robot.peer.wait_for(find, f"the mask of {robot.name}")
    heard = len(two.camera.masks)
    for _ in range(5):
        one.camera.mask_of(one.image(one.peer.next_stamp()))
    two.camera.mask_of(two.image(two.peer.next_stamp()))
    assert len(two.camera.masks) == heard + 1
    for robot in robots:
        robot.assert_own_masks()
        endpoints = robot.peer.node.get_publishers_info_by_topic(
            robot.peer.name("activesam/semantic_mask")
        )
        assert [info.node_namespace for info in endpoints] == [robot.peer.namespace]


def test_services_and_parameters_reach_one_node(robots: tuple[Robot, Robot]) -> None:
    one, two = robots
    before = len(two.vocabularies)
    request = SetVocabulary.Request(names=["gate", "stairs"])
    response = one.peer.call(SetVocabulary, "activesam/set_vocabulary", request)
    assert response.success, response.message
    one.peer.wait_for(lambda: one.vocabularies[-1].version == response.version, "the vocabulary")
    assert one.peer.set_parameters({"overlay_opacity": 0.125})[0].successful
    two.camera.mask_of(two.image(two.peer.next_stamp()))
    assert len(two.vocabularies) == before
    assert {entry.name for entry in two.vocabularies[-1].entries} == {
        *("background", "door", "window"),
    }
    asked = GetParameters.Request(names=["overlay_opacity"])
    values = [
        robot.peer.call(GetParameters, "activesam/get_parameters", asked).values[0].double_value
        for robot in robots
    ]
    assert values == [0.125, 0.5]


def has_state(state: str, _: Any, values: dict[str, str]) -> bool:
    return values["state"] == state


def test_one_node_is_switched_off_and_ends_without_the_other(robots: tuple[Robot, Robot]) -> None:
    one, two = robots
    response = one.peer.call(SetBool, "activesam/enable", SetBool.Request(data=False))
    assert response.success
    for robot, state in ((one, "disabled"), (two, "active")):
        robot.peer.status("image", functools.partial(has_state, state), state)
    assert one.node.interrupt() == 0
    two.camera.mask_of(two.image(two.peer.next_stamp()))
    state = two.peer.call(GetState, "activesam/get_state", GetState.Request())
    assert state.current_state.label == "active"
    for robot in robots:
        robot.assert_own_masks()
        assert "Traceback" not in robot.node.log()
