"""keep_all over DDS: every image in order, and an error where memory does not allow it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile
from sensor_msgs.msg import Image

from activesam_ros.image_files import write_png
from activesam_ros.node.playback.awaited_node import AwaitedNode
from activesam_ros.node.playback.command import StopFlag
from activesam_ros.node.ros.qos import KEEP_ALL_DEPTH

if TYPE_CHECKING:
    from test.node.conftest import Camera, NodeProcess, Peer, StartNode

EVERY = QoSProfile(depth=KEEP_ALL_DEPTH, history=HistoryPolicy.KEEP_LAST)
SMALL = np.zeros((24, 32, 3), np.uint8)
LARGE = np.zeros((400, 500, 3), np.uint8)


@pytest.fixture(scope="module", autouse=True)
def node(start_node: StartNode) -> NodeProcess:
    small = {"resolution": 56, "preview_resolution": 28}
    return start_node({"keep_all": True, "keep_all_mib": 1, **small})


@pytest.fixture(scope="module")
def masks(peer: Peer) -> list[Any]:
    """Every mask the node publishes, also those that come at once."""
    return peer.collect(Image, "activesam/semantic_mask", EVERY)


@pytest.fixture(scope="module")
def camera(open_camera: Any, peer: Peer) -> Camera:
    camera: Camera = open_camera(Image, "image", EVERY)
    camera.first_mask(lambda stamp_ns: peer.image(SMALL, stamp_ns))
    return camera


def test_every_image_is_segmented_in_order(camera: Camera, peer: Peer) -> None:
    stamps = [camera.publish(peer.image(SMALL, peer.next_stamp())) for _ in range(40)]
    peer.wait_for(lambda: camera.find(stamps[-1]), "the last mask")
    received = [peer.stamp_of(mask) for mask in camera.masks]
    assert received[received.index(stamps[0]) :] == stamps
    status = peer.status("image", lambda _, values: True, "anything")
    assert peer.values_of(status)["frames_dropped"] == "0"


def test_the_last_image_is_awaited(camera: Camera, peer: Peer) -> None:
    waiter = Node("waiter", context=peer.node.context)
    topic = peer.name("image")
    with closing(AwaitedNode(waiter, peer.name("activesam"))) as awaited:
        assert awaited.await_active({topic}, 60.0, StopFlag())
        stamps = [camera.publish(peer.image(SMALL, peer.next_stamp())) for _ in range(40)]
        assert camera.publisher.wait_for_all_acked(Duration(seconds=60))
        awaited.await_segmented({topic: 40}, StopFlag())
    waiter.destroy_node()
    values = peer.values_of(peer.status("image", lambda _, values: True, "anything"))
    assert values["frames_received"] == values["frames_segmented"]
    peer.wait_for(lambda: camera.find(stamps[-1]), "the last mask")


def test_a_recording_that_is_played_again_is_segmented_again(
    camera: Camera, peer: Peer, repository: Path, tmp_path: Path
) -> None:
    """Each time by another best-effort publisher of another process, with stamps that recur."""
    script = repository / "test" / "node" / "over_dds" / "camera_process.py"
    picture = tmp_path / "small.png"
    write_png(picture, SMALL)

    def played() -> list[int]:
        masks = [mask for mask in camera.masks if mask.header.frame_id != "greeting"]
        return [peer.stamp_of(mask) // 10**9 for mask in masks]

    for stamps in ("recorded", "recorded", "zero", "zero"):
        camera.masks.clear()
        arguments = [peer.name("image"), "BEST_EFFORT", "20", str(picture), stamps, "12"]
        with subprocess.Popen(
            [sys.executable, script, *arguments], stdin=subprocess.PIPE
        ) as player:
            peer.wait_for(lambda: camera.masks, "the player to be heard")
            player.communicate(b"play\n")
            peer.wait_for(lambda: len(played()) == 12, "12 masks")
        assert played() == ([0] * 12 if stamps == "zero" else list(range(1, 13)))
    status = peer.status("image", lambda _, values: True, "anything")
    assert peer.values_of(status)["frames_dropped"] == "0"


def test_what_would_leave_out_images_is_refused(camera: Camera, peer: Peer) -> None:
    for name in ("max_image_age_ms", "max_rate_hz", "max_latency_ms"):
        (result,) = peer.set_parameters({name: 5.0})
        assert not result.successful
        assert "keep_all forbids" in result.reason


def test_an_image_that_memory_has_no_room_for_is_an_error(
    camera: Camera, peer: Peer, node: NodeProcess
) -> None:
    def is_lost(_: Any, values: dict[str, str]) -> bool:
        for _ in range(4):
            camera.publish(peer.image(LARGE, peer.next_stamp()))
        return "dropped_no_room" in values

    status = peer.status("image", is_lost, "no room")
    assert status.level == b"\x02"
    assert "keep_all_mib=1" in status.message
    camera.mask_of(peer.image(SMALL, peer.next_stamp()))
    status = peer.status("image", lambda _, values: True, "anything")
    assert status.level == b"\x02", "the evaluation is not whole any more"
    assert node.log().count("(no_room)") == 1
