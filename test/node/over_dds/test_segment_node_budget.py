"""The latency budget over DDS: steps in their order, seen by everybody, and back again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from activesam_ros.msg import ActiveClass, ActiveClasses
from numpy.typing import NDArray
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

if TYPE_CHECKING:
    from test.node.conftest import Camera, NodeProcess, OpenCamera, Peer, StartNode

# Every frame is late by the one budget and easy by the other, however busy the computer is.
TOO_SHORT_MS, LONG_MS = 0.001, 600_000.0
# Far more than any step takes: 30 easy frames, or 60 where a step back did not last.
MOST_IMAGES = 200
NAMES = ["road", "sidewalk", "person", "car", "tree", "sky", "building", "fence"]


@pytest.fixture(scope="module", autouse=True)
def node(start_node: StartNode, tmp_path_factory: pytest.TempPathFactory) -> NodeProcess:
    vocabulary: Path = tmp_path_factory.mktemp("budget") / "eight.txt"
    vocabulary.write_text("\n".join(NAMES), "utf-8")
    return start_node(
        {
            "vocabulary": str(vocabulary),
            "max_latency_ms": LONG_MS,
            "quantile_alpha": 0.9,
            "max_active": 6,
            "pinned": ["sky"],
            "budget_max_active": 2,
            "budget_preview_interval": 4,
            "preview_interval": 2,
            "enter_threshold": 0.0,  # whatever is previewed is taken while there is room
        }
    )


@pytest.fixture(scope="module")
def camera(open_camera: OpenCamera, peer: Peer, photo: NDArray[np.uint8]) -> Camera:
    camera: Camera = open_camera(Image, "image")
    camera.first_mask(lambda stamp_ns: peer.image(photo, stamp_ns))
    return camera


@pytest.fixture(scope="module")
def received(camera: Camera, peer: Peer, photo: NDArray[np.uint8]) -> list[Any]:
    """Every ActiveClasses message from now on, for which images go out until one comes."""
    messages = peer.collect(ActiveClasses, "activesam/active_classes", QoSProfile(depth=100))

    def comes() -> list[Any]:
        camera.mask_of(peer.image(photo, peer.next_stamp()))
        peer.comes(lambda: messages, timeout_s=0.2)
        return messages

    peer.wait_for(comes, "active classes")
    return messages


def active_classes_until(
    camera: Camera, received: list[Any], photo: NDArray[np.uint8], degradation: int
) -> list[Any]:
    """What is active in image after image until that step is taken, and in four images more."""
    peer = camera.peer
    received.clear()
    after = 0
    for _ in range(MOST_IMAGES):
        stamp_ns = peer.next_stamp()
        mask = camera.mask_of(peer.image(photo, stamp_ns))
        assert (mask.height, mask.width) == photo.shape[:2]

        def came(stamp_ns: int = stamp_ns) -> bool:
            return bool(received) and peer.stamp_of(received[-1]) == stamp_ns

        peer.wait_for(came, "the active classes of a mask")
        after += received[-1].degradation == degradation
        if after > 4:
            return list(received)
    raise AssertionError(f"step {degradation} was not taken within {MOST_IMAGES} images")


@pytest.mark.parametrize(
    ("streaming", "words"),
    [
        (True, "every query previewed or decoded once in 8 frames"),
        (False, "every query previewed or decoded once in 4 frames"),
    ],
)
def test_steps_are_taken_in_order_and_taken_back(
    camera: Camera,
    received: list[Any],
    peer: Peer,
    photo: NDArray[np.uint8],
    node: NodeProcess,
    streaming: bool,
    words: str,
) -> None:
    assert peer.set_parameters({"streaming": streaming})[0].successful
    assert peer.set_parameters({"max_latency_ms": TOO_SHORT_MS})[0].successful
    messages = active_classes_until(camera, received, photo, ActiveClasses.RESOLUTION)
    steps = [message.degradation for message in messages]
    assert steps == sorted(steps)
    assert set(steps) >= {ActiveClasses.PREVIEWS, ActiveClasses.CLASSES, ActiveClasses.RESOLUTION}
    for message in messages:
        decoded = {entry.name: entry.reason for entry in message.classes if entry.presence > 0}
        assert "sky" in decoded, "pinned classes are never left out"
        limit = 6 if message.degradation < ActiveClasses.CLASSES else 2
        assert len(set(decoded) - {"sky"}) <= limit
    late = [message for message in messages if message.degradation > ActiveClasses.NOTHING]
    reasons = [{entry.reason for entry in message.classes} for message in late]
    assert any(ActiveClass.CARRIED in found for found in reasons)
    if not streaming:  # so that no active set is there when the first step is taken
        assert ActiveClass.CARRIED not in reasons[0]
        assert any(ActiveClass.PREVIEWED in found for found in reasons)
    status = peer.status(
        "network", lambda _, values: values["degradation"] == "resolution", "the last step"
    )
    assert status.level == b"\x01"
    assert f"{words}, at most 2 active queries" in status.message
    assert peer.set_parameters({"max_latency_ms": LONG_MS})[0].successful
    for step in (ActiveClasses.CLASSES, ActiveClasses.PREVIEWS, ActiveClasses.NOTHING):
        messages = active_classes_until(camera, received, photo, step)
        steps = [message.degradation for message in messages]
        assert steps == sorted(steps, reverse=True)
    status = peer.status("network", lambda _, values: values["degradation"] == "nothing", "no step")
    assert status.level == b"\x00"
    assert "nothing is left out" in node.log()
    assert "Traceback" not in node.log()


def test_without_a_budget_everything_is_done_at_once(
    camera: Camera, received: list[Any], peer: Peer, photo: NDArray[np.uint8]
) -> None:
    assert peer.set_parameters({"max_latency_ms": TOO_SHORT_MS})[0].successful
    active_classes_until(camera, received, photo, ActiveClasses.RESOLUTION)
    assert peer.set_parameters({"max_latency_ms": 0.0})[0].successful
    camera.mask_of(peer.image(photo, peer.next_stamp()))
    peer.status("network", lambda _, values: values["degradation"] == "nothing", "no step")
