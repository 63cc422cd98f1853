"""The managed node over DDS: transitions, failures with their reason, and the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from activesam_ros.srv import SetVocabulary
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from numpy.typing import NDArray
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

if TYPE_CHECKING:
    from test.node.conftest import Camera, NodeProcess, Peer, StartNode

CONFIGURE = Transition.TRANSITION_CONFIGURE
ACTIVATE = Transition.TRANSITION_ACTIVATE
DEACTIVATE = Transition.TRANSITION_DEACTIVATE
CLEANUP = Transition.TRANSITION_CLEANUP


DIAGNOSTICS_PERIOD_S = 0.2
GONE = "the network's memory is free"
# The node as it is, which writes when nothing holds the network any more.
TELLING_NODE = f"""
import sys
import weakref

from activesam_ros.node.process import run_node
from activesam_ros.node.segment_node import SegmentNode


class Node(SegmentNode):
    def load_engine(self, options):
        engine = super().load_engine(options)
        weakref.finalize(engine._network.model, print, {GONE!r}, flush=True)
        return engine


sys.exit(run_node(Node, sys.argv[1:]))
"""


@pytest.fixture(scope="module", autouse=True)
def node(start_node: StartNode, repository: Path) -> NodeProcess:
    """A node that waits for a manager, with the shipped params file and wrong weights."""
    params_file = repository / "config" / "activesam.yaml"
    return start_node(
        {
            "autostart": False,
            "weights": "/no/such/sam3.pt",
            "image_reliability": "reliable",
            "diagnostics_period_s": DIAGNOSTICS_PERIOD_S,
        },
        ["--params-file", str(params_file)],
        program=["-c", TELLING_NODE],
    )


def change(peer: Peer, transition: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return bool(peer.call(ChangeState, "activesam/change_state", request).success)


def state(peer: Peer) -> str:
    return str(peer.call(GetState, "activesam/get_state", GetState.Request()).current_state.label)


def subscriptions(peer: Peer) -> int:
    return int(peer.node.count_subscribers(peer.name("image")))


def test_a_failed_configuration_tells_the_reason_and_can_be_repaired(
    peer: Peer, node: NodeProcess, golden: Path
) -> None:
    assert state(peer) == "unconfigured"
    request = SetVocabulary.Request(names=["car"])
    response = peer.call(SetVocabulary, "activesam/set_vocabulary", request)
    assert not response.success
    assert "unconfigured" in response.message
    assert not change(peer, CONFIGURE)
    assert state(peer) == "unconfigured"
    status = peer.status("network", lambda status, _: status.level == b"\x02", "an error")
    assert "/no/such/sam3.pt" in status.message
    assert "/no/such/sam3.pt" in node.log()
    (result,) = peer.set_parameters({"weights": str(golden / "model.pt")})
    assert result.successful, result.reason
    (result,) = peer.set_parameters({"vocabulary": "no_such_vocabulary"})
    assert result.successful
    assert not change(peer, CONFIGURE)
    peer.status("network", lambda status, _: "no_such_vocabulary" in status.message, "the reason")
    assert "below a folder of vocabulary_folders" in node.log()  # even a file that exists
    peer.wait_for(lambda: node.log().count(GONE) == 1, "its end")


def test_transitions(
    peer: Peer, node: NodeProcess, small_vocabulary: Path, open_camera: Any, photo: Any
) -> None:
    assert peer.set_parameters({"vocabulary": str(small_vocabulary)})[0].successful
    assert change(peer, CONFIGURE)
    assert state(peer) == "inactive"
    assert subscriptions(peer) == 0
    (refused,) = peer.set_parameters({"vocabulary": "driving"})
    assert not refused.successful
    assert "unconfigured" in refused.reason
    assert change(peer, ACTIVATE)
    camera: Camera = open_camera(Image, "image")
    camera.first_mask(lambda stamp_ns: peer.image(photo, stamp_ns))
    assert change(peer, DEACTIVATE)
    peer.wait_for(lambda: subscriptions(peer) == 0, "the end of the subscription")
    peer.status("image", lambda _, values: values["state"] == "inactive", "inactive")
    assert change(peer, ACTIVATE)
    camera.first_mask(lambda stamp_ns: peer.image(photo, stamp_ns))
    assert change(peer, DEACTIVATE)
    assert node.log().count(GONE) == 1
    assert change(peer, CLEANUP)
    assert state(peer) == "unconfigured"
    peer.wait_for(lambda: node.log().count(GONE) == 2, "the end of the network")
    mask_topic = peer.name("activesam/semantic_mask")
    peer.wait_for(lambda: peer.node.count_publishers(mask_topic) == 0, "the end of the mask topic")
    assert change(peer, CONFIGURE)
    assert change(peer, ACTIVATE)
    camera.first_mask(lambda stamp_ns: peer.image(photo, stamp_ns))
    peer.node.destroy_publisher(camera.publisher)


def test_a_transition_that_is_not_possible_is_refused(peer: Peer, node: NodeProcess) -> None:
    assert not change(peer, CONFIGURE)
    assert "The transition 1 is refused" in node.log()
    assert state(peer) == "active"


def test_a_forced_profile_that_nobody_offers_is_an_error_with_both_profiles(
    peer: Peer, node: NodeProcess, photo: NDArray[np.uint8]
) -> None:
    assert peer.set_parameters({"image_timeout_s": 0.2})[0].successful
    publisher = peer.node.create_publisher(Image, peer.name("image"), qos_profile_sensor_data)
    silent: list[Any] = []

    def is_reported(status: Any, values: dict[str, str]) -> bool:
        if "best_effort" in status.message:
            return True
        silent.extend([status] if values["publishers"] == "1" else [])
        return False

    status = peer.status("image", is_reported, "a conflict")
    assert status.level == b"\x02"
    assert len(silent) <= 2 / DIAGNOSTICS_PERIOD_S, "two seconds after the publisher is known"
    for words in ("reliable, volatile", "best_effort, volatile", "image_reliability", "peer"):
        assert words in status.message
    assert status.message in node.log()
    peer.node.destroy_publisher(publisher)


def test_ctrl_c_ends_it_cleanly(node: NodeProcess) -> None:
    assert node.interrupt() == 0
    assert "Traceback" not in node.log()
    assert "never retrieved" not in node.log()
