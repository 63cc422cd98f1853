"""Messages made of results, and pictures that are drawn only while somebody subscribes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from activesam_ros.node.budget.degradation import Step
from activesam_ros.node.parameters.options import NodeOptions
from activesam_ros.node.ros.publishers import (
    CameraPublishers,
    active_classes_message,
    byte_array,
    image_message,
    mask_encoding,
    vocabulary_message,
)
from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass
from activesam_ros.segmentation.result import ActiveClass, Reason, Segmentation, Wanted

if TYPE_CHECKING:
    from test.node.conftest import Peer

HEADER = Header(stamp=Time(sec=7, nanosec=8), frame_id="camera")
VOCABULARY = Vocabulary(
    "two",
    (
        VocabularyClass(id=300, names=("car",), color=(255, 0, 51), pinned=True),
        VocabularyClass(id=2, names=("road", "street"), color=(0, 0, 0)),
    ),
)
RESULT = Segmentation(
    labels=np.full((4, 6), 2, np.uint8),
    preview_presence=(),
    active_queries=(),
    classes=(
        ActiveClass(300, "car", 0.25, 0, Reason.PINNED),
        ActiveClass(2, "road", None, 6, Reason.UNPRUNED),
    ),
    timings_ms={},
)


@pytest.mark.parametrize(
    ("dtype", "encoding", "step"), [(np.uint8, "mono8", 5), (np.uint16, "16UC1", 10)]
)
def test_masks_have_the_encoding_of_their_labels(dtype: Any, encoding: str, step: int) -> None:
    labels = np.arange(15, dtype=dtype).reshape(3, 5)
    message = image_message(HEADER, labels, mask_encoding(labels))
    assert (message.encoding, message.step, message.height, message.width) == (encoding, step, 3, 5)
    assert message.is_bigendian == 0
    assert np.array_equal(np.frombuffer(message.data, dtype).reshape(3, 5), labels)


def test_views_are_packed() -> None:
    wide = np.arange(40, dtype=np.uint8).reshape(4, 10)
    message = image_message(HEADER, wide[:, ::2], "mono8")
    assert message.step == 5
    assert np.array_equal(np.frombuffer(message.data, np.uint8).reshape(4, 5), wide[:, ::2])
    assert byte_array(wide[:, 0]).tolist() == [0, 10, 20, 30]


def test_active_classes() -> None:
    message = active_classes_message(
        HEADER, RESULT, VOCABULARY, version=3, latency_ms=12.5, degradation=Step.CLASSES
    )
    assert (message.vocabulary_version, message.vocabulary_size) == (3, 2)
    assert (message.latency_ms, message.degradation) == (12.5, message.CLASSES)
    car, road = message.classes
    assert (car.id, car.name, car.presence, car.reason) == (300, "car", 0.25, car.PINNED)
    assert (road.presence, road.pixel_fraction, road.reason) == (0.0, 0.25, road.UNPRUNED)


def test_the_vocabulary_is_in_order_of_id() -> None:
    message = vocabulary_message(HEADER, VOCABULARY, version=4, background_id=65535)
    assert message.version == 4
    assert [(entry.id, entry.name, entry.pinned) for entry in message.entries] == [
        (2, "road", False),
        (300, "car", True),
        (65535, "background", False),
    ]
    color = message.entries[1].color
    assert (color.r, color.g, color.a) == (1.0, 0.0, 1.0)
    assert color.b == pytest.approx(0.2)


class CountingPainter:
    """Draws nothing and counts how often it was asked to."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(
        self, image: NDArray[np.uint8], labels: Any, palette: Any, opacity: float
    ) -> NDArray[np.uint8]:
        self.calls += 1
        return image


@pytest.fixture
def node(peer: Peer) -> Iterator[LifecycleNode]:
    """A configured and active node named as the real one."""
    node = LifecycleNode("activesam", context=peer.node.context, namespace=peer.namespace)
    yield node
    node.destroy_node()


def test_pictures_are_made_only_while_somebody_subscribes(
    peer: Peer, node: LifecycleNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    painter = CountingPainter()
    monkeypatch.setattr("activesam_ros.node.ros.publishers.draw_overlay", painter)
    publishers = CameraPublishers(node, NodeOptions())
    node.trigger_configure()
    node.trigger_activate()
    image = np.zeros((4, 6, 3), np.uint8)

    def publish() -> None:
        publishers.publish_overlay(HEADER, image, RESULT.labels, VOCABULARY, NodeOptions())

    publish()
    assert painter.calls == 0
    assert publishers.wanted() == Wanted()
    received = peer.collect(Image, "activesam/overlay")
    peer.collect(Image, "activesam/confidence")
    peer.wait_for(lambda: publishers.wanted().confidence, "a subscription to the confidence")

    def shows() -> list[Any]:
        publish()
        peer.executor.spin_once(timeout_sec=0.05)
        return received

    peer.wait_for(shows, "an overlay")
    assert painter.calls > 0
    assert received[0].header == HEADER
    publishers.destroy()


def test_an_inactive_node_publishes_no_mask(peer: Peer, node: LifecycleNode) -> None:
    publishers = CameraPublishers(node, NodeOptions())
    masks = peer.collect(Image, "activesam/semantic_mask")
    peer.wait_for(
        lambda: node.count_subscribers(peer.name("activesam/semantic_mask")), "a subscription"
    )
    publishers.publish_mask(HEADER, RESULT.labels)
    node.trigger_configure()
    node.trigger_activate()
    marked = Header(stamp=Time(sec=9))

    def arrives() -> list[Any]:
        publishers.publish_mask(marked, RESULT.labels)
        peer.executor.spin_once(timeout_sec=0.05)
        return masks

    assert peer.wait_for(arrives, "a mask")[0].header == marked
    publishers.destroy()
    assert rclpy.ok(context=peer.node.context)
