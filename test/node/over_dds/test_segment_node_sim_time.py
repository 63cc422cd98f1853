"""Ages and states over DDS while the time is a recording's, which may begin again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

if TYPE_CHECKING:
    from test.node.conftest import Camera, NodeProcess, OpenCamera, Peer, StartNode

SECOND_NS = 10**9
PIXELS = np.zeros((24, 32, 3), np.uint8)


@pytest.fixture(scope="module", autouse=True)
def node(start_node: StartNode, namespace: str) -> NodeProcess:
    return start_node(
        {"use_sim_time": True, "max_image_age_ms": 500.0, "image_timeout_s": 60.0},
        ["-r", f"/clock:={namespace}/clock"],
    )


@pytest.fixture(scope="module")
def clock(peer: Peer) -> Any:
    return peer.publisher(Clock, "clock")


def await_time(peer: Peer, clock: Any, second: int) -> None:
    """Set the time and wait until the node has it."""
    message = Clock()
    message.clock.sec = second

    def has_it() -> bool:
        clock.publish(message)
        times: list[int] = []

        def note(got: DiagnosticArray) -> None:
            times.append(got.header.stamp.sec)

        subscription = peer.node.create_subscription(DiagnosticArray, "/diagnostics", note, 10)
        peer.comes(lambda: second in times, timeout_s=1.0)
        peer.node.destroy_subscription(subscription)
        return second in times

    peer.wait_for(has_it, f"the time {second} s")


def test_a_recording_that_begins_again_goes_on(
    clock: Any, peer: Peer, open_camera: OpenCamera
) -> None:
    await_time(peer, clock, 1000)
    camera: Camera = open_camera(Image, "image")
    camera.first_mask(lambda _: peer.image(PIXELS, 1000 * SECOND_NS))
    camera.publish(peer.image(PIXELS, 999 * SECOND_NS))
    status = peer.await_drops("too_old", "1")
    assert "1000 ms old" in peer.values_of(status)["problem_too_old"]
    camera.mask_of(peer.image(PIXELS, 1000 * SECOND_NS + 1))
    await_time(peer, clock, 500)
    camera.mask_of(peer.image(PIXELS, 500 * SECOND_NS))
    camera.mask_of(peer.image(PIXELS, 1000 * SECOND_NS + 2))  # from the future
    camera.publish(peer.image(PIXELS, 499 * SECOND_NS))
    peer.await_drops("too_old", "2")
    camera.mask_of(peer.image(PIXELS, 500 * SECOND_NS + 1))
    status = peer.status("image", lambda _, values: values["state"] == "active", "active")
    values = peer.values_of(status)
    assert all(float(value) >= 0 for key, value in values.items() if "_ms_" in key)
