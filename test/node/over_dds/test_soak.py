"""Thousands of frames through one node: memory, threads and open handles stay what they were.

The next image goes out when the last mask has arrived, so nothing is dropped and nothing waits on a
clock. Between the images comes what a robot's life brings: unusable images, changes of the
vocabulary and of parameters, listeners that come and go. ``make test-soak`` runs the long one.
"""

from __future__ import annotations

import statistics
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from activesam_ros.srv import SetVocabulary
from numpy.typing import NDArray
from sensor_msgs.msg import Image

if TYPE_CHECKING:
    from test.node.conftest import Camera, NodeProcess, OpenCamera, Peer, StartNode

VOCABULARIES = (
    ["road", "sidewalk, pavement", "person", "car, automobile", "tree", "sky"],
    ["road", "person", "delivery robot, rover", "traffic light", "building", "grass", "bicycle"],
)
# How often in a run each of them happens [frames].
UNUSABLE_EVERY = 20
LISTENER_EVERY = 50
PARAMETER_EVERY = 70
VOCABULARY_EVERY = 100
# Samples at each end whose median is compared: single ones jump by what happens to be in use.
WINDOW = 50


@dataclass(frozen=True)
class Usage:
    """What a process holds: resident memory of its own [KiB], threads, open handles.

    file_kib: resident pages of libraries and other files, which the kernel drops and reads again as
    it likes.
    """

    memory_kib: int
    file_kib: int
    threads: int
    handles: int


def usage_of(pid: int) -> Usage:
    """Read from /proc."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return Usage(
        memory_kib=sum(int(values[name].split()[0]) for name in ("RssAnon", "RssShmem")),
        file_kib=int(values["RssFile"].split()[0]),
        threads=int(values["Threads"]),
        handles=len(list(Path(f"/proc/{pid}/fd").iterdir())),
    )


@dataclass(frozen=True)
class Soak:
    """A camera that sends image after image, and what else happens meanwhile."""

    camera: Camera
    pixels: NDArray[np.uint8]

    def frame(self, number: int) -> None:
        """One image and its mask, and what is due."""
        peer = self.camera.peer
        if number % UNUSABLE_EVERY == 0:
            broken = self._image(number)
            broken.step = 1
            self.camera.publish(broken)
        if number % PARAMETER_EVERY == 0:
            opacity = 0.25 + 0.5 * (number // PARAMETER_EVERY % 2)
            assert peer.set_parameters({"overlay_opacity": opacity})[0].successful
        if number % VOCABULARY_EVERY == 0:
            names = VOCABULARIES[number // VOCABULARY_EVERY % 2]
            request = SetVocabulary.Request(names=names)
            response = peer.call(SetVocabulary, "activesam/set_vocabulary", request)
            assert response.success, response.message
        if number % LISTENER_EVERY == 0:
            self._listen_once(number)
        self.camera.mask_of(self._image(number))
        self.camera.masks.clear()

    def _listen_once(self, number: int) -> None:
        """Subscribe to the overlay until one has come."""
        peer = self.camera.peer
        overlays: list[Any] = []
        subscription = peer.node.create_subscription(
            Image, peer.name("activesam/overlay"), overlays.append, 1
        )

        def comes() -> bool:
            self.camera.mask_of(self._image(number))
            return peer.comes(lambda: overlays, timeout_s=0.05)

        peer.wait_for(comes, "an overlay")
        peer.node.destroy_subscription(subscription)

    def _image(self, number: int) -> Image:
        """The picture, moved a little, in one of three sizes."""
        peer = self.camera.peer
        size = (96, 128, 160)[number % 3]
        moved = np.roll(self.pixels, number, axis=1)[:size]
        return peer.image(moved, peer.next_stamp())


@pytest.fixture(scope="module")
def node(start_node: StartNode) -> NodeProcess:
    return start_node({"resolution": 56, "preview_resolution": 28, "max_active": 4})


@pytest.fixture(scope="module")
def soak(open_camera: OpenCamera, node: NodeProcess, peer: Peer, photo: NDArray[np.uint8]) -> Soak:
    camera = open_camera(Image, "image")
    camera.first_mask(lambda stamp_ns: peer.image(photo, stamp_ns))
    return Soak(camera, np.ascontiguousarray(np.tile(photo, (2, 2, 1))[:160, :240]))


@pytest.mark.parametrize(
    ("frames", "growth"),
    [
        pytest.param(200, 0.03, id="short"),
        pytest.param(10_000, 0.01, id="long", marks=pytest.mark.slow),
    ],
)
def test_memory_threads_and_handles_stay(
    soak: Soak, node: NodeProcess, frames: int, growth: float
) -> None:
    warm_up = max(frames // 10, VOCABULARY_EVERY)
    for number in range(warm_up):
        soak.frame(number)
    samples: list[Usage] = []
    for number in range(warm_up, frames):
        soak.frame(number)
        samples.append(usage_of(node.process.pid))
        if (number + 1) % (frames // 10) == 0:
            print(f"soak: frame {number + 1}: {samples[-1]}", flush=True)
    first, last = (middle_of(part) for part in (samples[:WINDOW], samples[-WINDOW:]))
    grown = last.memory_kib / first.memory_kib - 1
    print(f"soak: {frames} frames, from {first} to {last}, memory grown by {grown:.2%}")
    assert grown < growth
    assert last.threads <= first.threads
    assert last.handles <= first.handles
    assert "Traceback" not in node.log()


def middle_of(samples: list[Usage]) -> Usage:
    """The median of each number."""
    return Usage(
        *(int(statistics.median(column)) for column in zip(*map(astuple, samples), strict=True))
    )
