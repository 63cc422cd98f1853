"""Streaming over DDS, on by default: every decision is in active_classes, for each camera.

A look enters whatever it sees (enter_threshold 0) and nothing leaves while there is room, so that
the counts are those of the rules: of 12 queries, one of them pinned, a later frame looks at 2 more.
"""

from __future__ import annotations

from itertools import pairwise
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

CAMERAS = ("front", "rear")
PINNED = "sky"
NAMES = [
    *("road", "sidewalk", "person", "car", "tree", PINNED),
    *("building", "fence", "pole", "bus", "truck", "wall"),
]
LOOKS = 2
KEPT = 3  # by ActiveSAM's own rule of a frame that is previewed in full


@pytest.fixture(scope="module", autouse=True)
def node(start_node: StartNode, tmp_path_factory: pytest.TempPathFactory) -> NodeProcess:
    vocabulary: Path = tmp_path_factory.mktemp("streaming") / "twelve.txt"
    vocabulary.write_text("\n".join(NAMES), "utf-8")
    return start_node(
        {
            "cameras": CAMERAS,
            "vocabulary": str(vocabulary),
            "pinned": [PINNED],
            "method": "activesam",
            "max_active": 8,
            "preview_interval": 6,
            "enter_threshold": 0.0,
            "leave_threshold": 0.0,
            "scene_change_threshold": 0.0,
            "max_gap_s": 3600.0,
        }
    )


class Stream:
    """One camera, and the reasons of each of its frames."""

    def __init__(self, name: str, open_camera: OpenCamera, photo: NDArray[np.uint8]) -> None:
        self.photo = photo
        self.camera: Camera = open_camera(
            Image, f"{name}/image", mask_topic=f"activesam/{name}/semantic_mask"
        )
        self.peer = self.camera.peer
        topic = f"activesam/{name}/active_classes"
        self.messages = self.peer.collect(ActiveClasses, topic, QoSProfile(depth=100))
        self.camera.first_mask(lambda stamp_ns: self.peer.image(photo, stamp_ns))

    def reasons(self, stamp_ns: int | None = None) -> dict[str, int]:
        """Why each class is active in an image of that stamp, by default the next one."""
        stamp = self.peer.next_stamp() if stamp_ns is None else stamp_ns
        self.camera.mask_of(self.peer.image(self.photo, stamp))

        def found() -> list[Any]:
            return [each for each in self.messages if self.peer.stamp_of(each) == stamp]

        (message,) = self.peer.wait_for(found, "active classes")
        return {entry.name: entry.reason for entry in message.classes}


@pytest.fixture(scope="module")
def streams(open_camera: OpenCamera, photo: NDArray[np.uint8]) -> dict[str, Stream]:
    return {name: Stream(name, open_camera, photo) for name in CAMERAS}


def begins(reasons: dict[str, int]) -> bool:
    """Whether the frame was previewed in full and nothing carried into it."""
    others = {name: reason for name, reason in reasons.items() if name != PINNED}
    return set(others.values()) == {ActiveClass.PREVIEWED} and len(others) <= KEPT


def test_every_decision_is_seen_and_each_camera_has_its_own(
    streams: dict[str, Stream], peer: Peer
) -> None:
    front, rear = streams["front"], streams["rear"]
    stamp_ns = peer.next_stamp()
    history = [front.reasons(1)]  # a jump back: a new stream
    assert begins(history[0])
    history += [front.reasons(place * 10**8) for place in (1, 2)]
    for before, now in pairwise(history):
        assert set(before) <= set(now), "there is room for all"
        assert len(set(now) - {PINNED}) == len(set(before) - {PINNED}) + LOOKS
        for name, reason in now.items():
            expected = ActiveClass.CARRIED if name in before else ActiveClass.PREVIEWED
            assert reason == (ActiveClass.PINNED if name == PINNED else expected)
    rear.reasons(stamp_ns)
    assert ActiveClass.CARRIED in rear.reasons(stamp_ns + 1).values()
    assert begins(front.reasons(1)), "another jump back"
    assert ActiveClass.CARRIED in rear.reasons(stamp_ns + 2).values(), "it goes on for itself"


def test_off_every_frame_is_previewed(streams: dict[str, Stream], peer: Peer) -> None:
    assert peer.set_parameters({"streaming": False})[0].successful
    assert all(begins(streams["front"].reasons()) for _ in range(2))
    assert peer.set_parameters({"streaming": True})[0].successful
