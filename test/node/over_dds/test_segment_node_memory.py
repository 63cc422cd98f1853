"""Without memory over DDS: for a frame, for some buckets, while configuring, for a live change.

The node under test has the real network behind segmenters that run out of memory as their image
says: its first pixel's red is the largest bucket there is room for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from sensor_msgs.msg import Image

if TYPE_CHECKING:
    from test.node.conftest import Camera, NodeProcess, OpenCamera, Peer, StartNode

SCARCE_NODE = """
import dataclasses
import sys

import torch

from activesam_ros.node.process import run_node
from activesam_ros.node.segment_node import SegmentNode


class ScarceSegmenter:
    def __init__(self, inner, bucket_size):
        self.inner, self.bucket_size = inner, bucket_size
        self.signatures, self.background_id = inner.signatures, inner.background_id

    def with_bucket_size(self, bucket_size):
        return ScarceSegmenter(self.inner.with_bucket_size(bucket_size), bucket_size)

    def segment_batch(self, images, wanted, choosers):
        if self.bucket_size > min(image[0, 0, 0] for image in images):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return self.inner.segment_batch(images, wanted, choosers)


class ScarceEngine:
    def __init__(self, inner):
        self.inner = inner
        self.device, self.dtype, self.weights = inner.device, inner.dtype, inner.weights

    def compile(self, vocabulary, parameters, *more):
        compiled = self.inner.compile(vocabulary, parameters)
        segmenters = tuple(
            ScarceSegmenter(inner, inner.bucket_size) for inner in compiled.segmenters
        )
        return dataclasses.replace(compiled, segmenters=segmenters)

    def compile_for_swap(self, vocabulary, parameters, *more):
        return self.compile(vocabulary, parameters)

    def with_parameters(self, compiled, parameters):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB.")


class Node(SegmentNode):
    def load_engine(self, options):
        return ScarceEngine(super().load_engine(options))


sys.exit(run_node(Node, sys.argv[1:]))
"""


@pytest.fixture(scope="module", autouse=True)
def node(start_node: StartNode) -> NodeProcess:
    return start_node({"warm_up": True}, program=["-c", SCARCE_NODE])


def image(peer: Peer, room: int) -> Image:
    """An image for which there is room with buckets of ``room`` queries."""
    return peer.image(np.full((24, 32, 3), room, np.uint8), peer.next_stamp())


def change(peer: Peer, transition: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return bool(peer.call(ChangeState, "activesam/change_state", request).success)


def test_configuring_without_memory_tells_the_reason_and_can_be_repaired(
    peer: Peer, node: NodeProcess
) -> None:
    status = peer.status("network", lambda status, _: status.level == b"\x02", "an error")
    assert "Tried to allocate 2 GiB" in status.message
    assert "set bucket_size, resolution or camera_batch lower" in status.message
    peer.wait_for(lambda: status.message in node.log(), "the reason in the log")
    state = peer.call(GetState, "activesam/get_state", GetState.Request()).current_state
    assert state.label == "unconfigured"
    (result,) = peer.set_parameters({"warm_up": False})  # the blank image is what has no room
    assert result.successful
    assert change(peer, Transition.TRANSITION_CONFIGURE)
    assert change(peer, Transition.TRANSITION_ACTIVATE)


def test_a_frame_is_tried_again_in_smaller_buckets_then_skipped(
    peer: Peer, node: NodeProcess, open_camera: OpenCamera
) -> None:
    camera: Camera = open_camera(Image, "image")
    camera.first_mask(lambda _: image(peer, room=255))
    tight = camera.mask_of(image(peer, room=8))
    assert np.array_equal(np.unique(tight.data), np.unique(camera.mask_of(image(peer, 8)).data))
    status = peer.status("network", lambda _, values: values["bucket_size"] == "8", "buckets of 8")
    assert status.level == b"\x00"
    assert node.log().count("bucket_size 8 instead of 32") == 1
    camera.publish(image(peer, room=0))
    status = peer.await_drops("out_of_memory", "1")
    assert "Tried to allocate 2 GiB" in peer.values_of(status)["problem_out_of_memory"]
    camera.mask_of(image(peer, room=1))
    peer.status("network", lambda _, values: values["bucket_size"] == "1", "buckets of 1")
    assert "Traceback" not in node.log()
    assert node.process.poll() is None


def test_live_parameters_that_need_more_memory_are_refused(
    peer: Peer, node: NodeProcess, open_camera: OpenCamera
) -> None:
    (result,) = peer.set_parameters({"confidence_threshold": 0.9})
    assert not result.successful
    assert "Tried to allocate 3 GiB" in result.reason
    (result,) = peer.set_parameters({"overlay_opacity": 0.9})
    assert result.successful, "which needs none"
    camera: Camera = open_camera(Image, "image")
    camera.first_mask(lambda _: image(peer, room=255))
    assert "Traceback" not in node.log()
