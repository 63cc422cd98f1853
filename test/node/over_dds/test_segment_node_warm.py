"""A vocabulary set at run time is warmed over DDS: beside the running one, and before it is used.

The node under test has the real network behind segmenters that write down what they are asked for.
The first warm pass of a vocabulary set at run time goes on when three more images were segmented.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
from activesam_ros.srv import SetVocabulary
from numpy.typing import NDArray
from sensor_msgs.msg import Image

if TYPE_CHECKING:
    from test.node.conftest import Camera, NodeProcess, OpenCamera, Peer, StartNode

SERVICE = "activesam/set_vocabulary"
FRAMES_MEANWHILE = 3

WRITING_NODE = """
import dataclasses
import sys
import threading

from activesam_ros.node.process import run_node
from activesam_ros.node.segment_node import SegmentNode

frames = threading.Semaphore(0)
# What is written and what is counted are one step, so that both agree on what came first.
writing = threading.Lock()


class WritingSegmenter:
    def __init__(self, inner, vocabulary, waits):
        self.inner, self.vocabulary, self.waits = inner, vocabulary, waits
        self.bucket_size = inner.bucket_size
        self.signatures, self.background_id = inner.signatures, inner.background_id

    def segment_batch(self, images, wanted, choosers):
        blank = not any(image.any() for image in images)
        if blank:
            self.begin_to_warm()
        yield from self.inner.segment_batch(images, wanted, choosers)
        if not blank:
            with writing:
                print("frame", self.vocabulary, flush=True)
                frames.release()

    def begin_to_warm(self):
        with writing:
            print("warm", self.vocabulary, flush=True)
            while frames.acquire(blocking=False):
                pass
        if self.waits:
            self.waits = False
            for _ in range(FRAMES_MEANWHILE):
                assert frames.acquire(timeout=60), "frames stand still during the warm pass"


class WritingEngine:
    def __init__(self, inner):
        self.inner = inner
        self.device, self.dtype, self.weights = inner.device, inner.dtype, inner.weights
        self.configured = False

    def compile_for_swap(self, vocabulary, parameters, *more):
        return self.compile(vocabulary, parameters)

    def compile(self, vocabulary, parameters, *more):
        compiled = self.inner.compile(vocabulary, parameters)
        first, *others = compiled.segmenters
        name = "-".join(entry.name for entry in vocabulary.classes)
        segmenter = WritingSegmenter(first, name, self.configured)
        self.configured = True
        return dataclasses.replace(compiled, segmenters=(segmenter, *others))


class Node(SegmentNode):
    def load_engine(self, options):
        return WritingEngine(super().load_engine(options))


sys.exit(run_node(Node, sys.argv[1:]))
""".replace("FRAMES_MEANWHILE", str(FRAMES_MEANWHILE))


@pytest.fixture(scope="module", autouse=True)
def node(start_node: StartNode) -> NodeProcess:
    return start_node({"warm_up": True, "max_active": 1}, program=["-c", WRITING_NODE])


@pytest.fixture(scope="module")
def camera(open_camera: OpenCamera, peer: Peer, photo: NDArray[np.uint8]) -> Camera:
    camera: Camera = open_camera(Image, "image")
    camera.first_mask(lambda stamp_ns: peer.image(photo, stamp_ns))
    return camera


def test_frames_flow_while_a_vocabulary_is_warmed_and_none_uses_it_before(
    camera: Camera, peer: Peer, node: NodeProcess, photo: NDArray[np.uint8]
) -> None:
    client = peer.node.create_client(SetVocabulary, peer.name(SERVICE))
    peer.wait_for(client.service_is_ready, "the service")
    future = client.call_async(SetVocabulary.Request(names=["car", "dog"]))

    def is_answered() -> bool:
        camera.mask_of(peer.image(photo, peer.next_stamp()))
        return bool(future.done())

    peer.wait_for(is_answered, "the answer")
    assert future.result().success, future.result().message
    camera.mask_of(peer.image(photo, peer.next_stamp()))
    peer.wait_for(lambda: "frame car-dog" in node.log(), "an image of the new vocabulary")
    steps = list(written(node))
    new = [place for place, (_, vocabulary) in enumerate(steps) if vocabulary == "car-dog"]
    kinds = [steps[place][0] for place in new]
    # two queries, one of them active: a full preview and a slice of it
    assert kinds[:3] == ["warm", "warm", "frame"]
    assert "warm" not in kinds[3:]
    between = [vocabulary for _, vocabulary in steps[new[0] + 1 : new[1]]]
    assert len(between) >= FRAMES_MEANWHILE
    assert len(set(between)) == 1, "all of the vocabulary before"


def written(node: NodeProcess) -> Iterator[tuple[str, str]]:
    """What segmenters were asked for, in order: warm or frame, and the classes."""
    for line in node.log().splitlines():
        kind, _, vocabulary = line.partition(" ")
        if kind in ("warm", "frame"):
            yield kind, vocabulary
