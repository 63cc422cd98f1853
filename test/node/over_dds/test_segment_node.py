"""The node over DDS, raw images: what it publishes, refuses and reports."""

from __future__ import annotations

import array
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from activesam_ros.msg import ActiveClasses
from activesam_ros.msg import Vocabulary as VocabularyMessage
from numpy.typing import NDArray
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import SetBool

from activesam_ros.pipeline import NetworkOptions, load_network
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.segmentation.overlay import draw_overlay
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.settings import SETTINGS, Settings

if TYPE_CHECKING:
    from test.node.conftest import Camera, NodeProcess, Peer, StartNode

Pixels = NDArray[np.uint8]
LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


@pytest.fixture(scope="module")
def parameters(golden: Path) -> dict[str, Any]:
    """The settings of a golden case, every frame on its own; hypernyms take seconds to look up."""
    case = json.loads((golden / "background.json").read_text("utf-8"))
    known = {setting.name for setting in SETTINGS}
    own = {"hypernym_tokens": 0, "streaming": False}
    return {name: value for name, value in case.items() if name in known} | own


@pytest.fixture(scope="module")
def vocabulary_file(golden: Path) -> Path:
    return golden / "background.vocabulary.txt"


@pytest.fixture(scope="module", autouse=True)
def node(start_node: StartNode, parameters: dict[str, Any], vocabulary_file: Path) -> NodeProcess:
    # Limits that no busy computer reaches; tests that need others set them.
    limits = {"image_timeout_s": 60.0, "error_after_s": 600.0, "warn_latency_ms": 0.0}
    return start_node({**parameters, **limits, "vocabulary": str(vocabulary_file), "warm_up": True})


@pytest.fixture(scope="module")
def camera(open_camera: Callable[..., Camera], photo: Pixels, peer: Peer) -> Camera:
    """A camera whose first image has its mask."""
    camera = open_camera(Image, "image")
    camera.first_mask(lambda stamp_ns: peer.image(photo, stamp_ns))
    return camera


@pytest.fixture(scope="module")
def segmenter(
    golden: Path, prompt_cache: Path, parameters: dict[str, Any], vocabulary_file: Path
) -> Iterator[Segmenter]:
    """The same network and vocabulary in this process, on as many threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    options = NetworkOptions(golden / "model.pt", device="cpu", cache_dir=prompt_cache)
    vocabulary = load_vocabulary(str(vocabulary_file))
    yield load_network(options).segmenter(vocabulary, Settings.from_mapping(parameters))
    torch.set_num_threads(threads)


def labels_of(mask: Image) -> Pixels:
    assert mask.encoding == "mono8"
    assert mask.step == mask.width
    return np.frombuffer(mask.data, np.uint8).reshape(mask.height, mask.width)


def test_the_mask_is_what_the_segmenter_gives(
    camera: Camera, peer: Peer, photo: Pixels, segmenter: Segmenter
) -> None:
    expected = segmenter.segment(photo)
    activities = peer.collect(ActiveClasses, "activesam/active_classes")
    image = peer.image(photo, peer.next_stamp(), frame_id="front_left")
    mask = camera.first_mask(lambda stamp_ns: peer.stamp(image, stamp_ns))
    assert mask.header.frame_id == "front_left"
    assert (mask.height, mask.width) == photo.shape[:2]
    assert np.array_equal(labels_of(mask), expected.labels)
    message = peer.wait_for(lambda: activities, "active classes")[-1]
    assert message.header.frame_id == "front_left"
    assert message.vocabulary_version == 1
    assert message.vocabulary_size == 60
    assert message.latency_ms > 0
    assert [(entry.id, entry.name, entry.reason) for entry in message.classes] == [
        (entry.id, entry.name, entry.reason) for entry in expected.classes
    ]
    for entry, wanted in zip(message.classes, expected.classes, strict=True):
        assert entry.presence == pytest.approx(wanted.presence or 0.0, abs=1e-6)
        assert entry.pixel_fraction == pytest.approx(wanted.pixels / mask.height / mask.width)


def test_size_and_encoding_may_change_from_image_to_image(
    camera: Camera, peer: Peer, photo: Pixels, segmenter: Segmenter
) -> None:
    small = np.ascontiguousarray(photo[:64, :96, ::-1])
    mask = camera.mask_of(peer.image(small, peer.next_stamp(), "bgr8"))
    assert np.array_equal(labels_of(mask), segmenter.segment(photo[:64, :96]).labels)
    mask = camera.mask_of(peer.image(photo, peer.next_stamp()))
    assert (mask.height, mask.width) == photo.shape[:2]


def test_stamps_may_jump_back(camera: Camera, peer: Peer, photo: Pixels) -> None:
    for stamp_ns in (4_000_000_000, 1_000_000_000, peer.next_stamp() + 10**15):
        camera.mask_of(peer.image(photo[:56, :56], stamp_ns))


def test_camera_info_has_the_stamp_of_the_mask(camera: Camera, peer: Peer, photo: Pixels) -> None:
    received = peer.collect(CameraInfo, "activesam/semantic_mask/camera_info")
    publisher = peer.publisher(CameraInfo, "camera_info")
    height, width = photo.shape[:2]

    def publish(stamp_ns: int) -> Image:
        info = CameraInfo(height=height, width=width, distortion_model="plumb_bob")
        info.k[0] = 321.5
        publisher.publish(peer.stamp(info, stamp_ns))
        return peer.image(photo, stamp_ns)

    def is_complete() -> bool:
        mask = camera.first_mask(publish)
        return peer.comes(
            lambda: any(info.header == mask.header for info in received), timeout_s=2.0
        )

    peer.wait_for(is_complete, "a camera_info with the header of its mask")
    assert received[-1].k[0] == 321.5


def test_a_late_subscriber_gets_the_vocabulary(camera: Camera, peer: Peer) -> None:
    received = peer.collect(VocabularyMessage, "activesam/vocabulary", LATCHED)
    message = peer.wait_for(lambda: received, "the vocabulary")[0]
    assert message.version == 1
    assert [entry.id for entry in message.entries] == sorted(range(60))
    assert (message.entries[0].name, message.entries[1].name) == ("background", "aeroplane")
    assert all(entry.color.a == 1.0 for entry in message.entries)


def test_a_late_subscriber_gets_the_label_info(camera: Camera, peer: Peer) -> None:
    messages = pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed")
    received = peer.collect(messages.LabelInfo, "activesam/label_info", LATCHED)
    label_info = peer.wait_for(lambda: received, "the label info")[0]
    assert len(label_info.class_map) == 60
    assert label_info.class_map[1].class_name == "aeroplane"


def spoiled(peer: Peer, photo: Pixels, **fields: Any) -> Callable[[], Image]:
    def make() -> Image:
        image = peer.image(photo, peer.next_stamp())
        for name, value in fields.items():
            setattr(image, name, value)
        return image

    return make


@pytest.mark.parametrize(
    ("cause", "fields"),
    [
        ("unknown_encoding", {"encoding": "no_such_encoding"}),
        ("wrong_step", {"step": 5}),
        ("wrong_length", {"data": array.array("B", [1, 2, 3])}),
        ("zero_size", {"width": 0}),
    ],
)
def test_an_unusable_image_is_counted_and_reported_once(
    camera: Camera,
    peer: Peer,
    node: NodeProcess,
    photo: Pixels,
    cause: str,
    fields: dict[str, Any],
) -> None:
    make = spoiled(peer, photo, **fields)
    for count in ("1", "2"):
        camera.publish(make())
        status = peer.await_drops(cause, count)
        values = peer.values_of(status)
        assert values["state"] == "rejected"
        assert status.level == b"\x01"
        assert values[f"problem_{cause}"] in status.message
    camera.mask_of(peer.image(photo, peer.next_stamp()))
    peer.status("image", lambda _, values: values["state"] == "active", "active again")
    assert node.log().count(f"({cause})") == 1


def test_pictures_come_while_somebody_listens(
    camera: Camera, peer: Peer, photo: Pixels, segmenter: Segmenter
) -> None:
    topics = {
        "overlay": Image,
        "overlay/compressed": CompressedImage,
        "confidence": Image,
        "semantic_mask/compressed": CompressedImage,
    }
    received = {topic: peer.collect(kind, f"activesam/{topic}") for topic, kind in topics.items()}

    def is_complete() -> bool:
        stamp_ns = peer.stamp_of(camera.mask_of(peer.image(photo, peer.next_stamp())))
        return peer.comes(
            lambda: all(
                messages and peer.stamp_of(messages[-1]) == stamp_ns
                for messages in received.values()
            ),
            timeout_s=2.0,
        )

    peer.wait_for(is_complete, "all pictures of one image")
    expected = segmenter.segment(photo)
    palette = {entry.id: entry.color for entry in segmenter.prompts.vocabulary.classes}
    picture = draw_overlay(photo, expected.labels, palette, 0.5)
    shown, compressed = received["overlay"][-1], received["overlay/compressed"][-1]
    assert shown.encoding == "rgb8"
    assert np.array_equal(np.frombuffer(shown.data, np.uint8), picture.ravel())
    assert compressed.format == "rgb8; jpeg compressed bgr8"
    jpeg = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    assert compressed.data.tobytes() == jpeg.tobytes()
    confidence = received["confidence"][-1]
    assert (confidence.encoding, confidence.width) == ("mono8", photo.shape[1])
    mask_png = received["semantic_mask/compressed"][-1]
    assert mask_png.format == "mono8; png compressed mono8"
    labels = cv2.imdecode(np.frombuffer(mask_png.data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert labels is not None
    assert np.array_equal(labels, expected.labels)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"confidence_threshold": 1.5}, "out of range"),
        ({"image_timeout_s": -1.0}, "out of range"),
        ({"max_active": "many"}, "Wrong parameter type"),
        ({"bucket_size": "many"}, "give an integer from 1 to 1024 queries or auto"),
        ({"pinned": ["unicorn"]}, "unicorn"),
        ({"device": "cuda"}, "while the node is unconfigured"),
        ({"resolution": 112}, "while the node is unconfigured"),
        ({"autostart": False}, "read-only"),
    ],
)
def test_a_bad_parameter_is_refused_with_the_reason(
    camera: Camera, peer: Peer, values: dict[str, Any], reason: str
) -> None:
    (result,) = peer.set_parameters(values)
    assert not result.successful
    assert reason in result.reason


def test_parameters_are_taken_all_or_nothing(
    camera: Camera, peer: Peer, photo: Pixels, segmenter: Segmenter
) -> None:
    refused = peer.set_atomically({"background_threshold": 1.0, "pinned": ["unicorn"]})
    assert not refused.successful
    mask = camera.mask_of(peer.image(photo, peer.next_stamp()))
    assert np.array_equal(labels_of(mask), segmenter.segment(photo).labels)
    assert peer.set_atomically({"background_threshold": 1.0, "pinned": ["dog"]}).successful
    mask = camera.mask_of(peer.image(photo, peer.next_stamp()))
    assert not labels_of(mask).any(), "every pixel is background"
    assert peer.set_atomically({"background_threshold": 0.25, "pinned": [""]}).successful


def test_old_images_are_dropped_while_a_limit_is_set(
    camera: Camera, peer: Peer, photo: Pixels
) -> None:
    assert peer.set_parameters({"max_image_age_ms": 60_000.0})[0].successful
    camera.publish(peer.image(photo, 10**9))
    status = peer.status("image", lambda _, values: "dropped_too_old" in values, "an old image")
    assert "use_sim_time" in peer.values_of(status)["problem_too_old"]
    future = peer.node.get_clock().now().nanoseconds + 3600 * 10**9
    camera.mask_of(peer.image(photo, future))
    assert peer.set_parameters({"max_image_age_ms": 0.0})[0].successful
    camera.mask_of(peer.image(photo, 2 * 10**9))


def test_disabled_it_receives_nothing_and_enabled_it_goes_on(
    camera: Camera, peer: Peer, photo: Pixels
) -> None:
    response = peer.call(SetBool, "activesam/enable", SetBool.Request(data=False))
    assert response.success
    peer.wait_for(
        lambda: camera.publisher.get_subscription_count() == 0, "the end of the subscription"
    )
    peer.status("image", lambda _, values: values["state"] == "disabled", "disabled")
    assert peer.call(SetBool, "activesam/enable", SetBool.Request(data=True)).success
    camera.first_mask(lambda stamp_ns: peer.image(photo, stamp_ns))


def test_the_publishers_reliability_is_taken_over(
    camera: Camera, peer: Peer, photo: Pixels
) -> None:
    topic = peer.name("image")

    def reliabilities() -> set[str]:
        infos = peer.node.get_subscriptions_info_by_topic(topic)
        return {info.qos_profile.reliability.name for info in infos}

    assert camera.publisher.qos_profile.reliability.name == "RELIABLE"
    peer.wait_for(lambda: reliabilities() == {"RELIABLE"}, "a reliable subscription")
    sensor = peer.node.create_publisher(
        Image, topic, QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    )
    peer.wait_for(lambda: "BEST_EFFORT" in reliabilities(), "a subscription for both publishers")
    camera.mask_of(peer.image(photo, peer.next_stamp()))
    peer.node.destroy_publisher(sensor)
    peer.wait_for(lambda: "RELIABLE" in reliabilities(), "a reliable subscription again")

    def only_the_new_one_is_left() -> bool:
        camera.mask_of(peer.image(photo, peer.next_stamp()))
        return reliabilities() == {"RELIABLE"}

    peer.wait_for(only_the_new_one_is_left, "one subscription, with every image segmented")


def test_diagnostics_tell_what_runs(camera: Camera, peer: Peer) -> None:
    status = peer.status(
        "image", lambda _, values: int(values["frames_segmented"]) > 0, "frames segmented"
    )
    values = peer.values_of(status)
    assert values["topic"] == peer.name("image")
    assert int(values["frames_received"]) >= int(values["frames_segmented"])
    for stage in ("latency", "wait", "convert", "segment", "publish", "segment.decode"):
        assert float(values[f"{stage}_ms_p50"]) <= float(values[f"{stage}_ms_p95"])
    network = peer.status("network", lambda _, values: values["state"] == "active", "active")
    values = peer.values_of(network)
    assert network.level == b"\x00"
    assert network.hardware_id == "cpu"
    assert values["vocabulary_size"] == "60"
    assert values["dtype"] == "float32"
    assert values["cache_hit"] in ("true", "false")


def test_a_dead_camera_is_noticed_and_its_return_too(
    camera: Camera, peer: Peer, photo: Pixels
) -> None:
    assert peer.set_parameters({"image_timeout_s": 0.3})[0].successful
    status = peer.status("image", lambda _, values: values["state"] == "stale", "stale")
    assert status.level in (b"\x01", b"\x02")
    assert peer.set_parameters({"image_timeout_s": 60.0})[0].successful
    camera.mask_of(peer.image(photo, peer.next_stamp()))
    peer.status("image", lambda _, values: values["state"] == "active", "active")


def test_a_subscriber_that_asks_for_too_much_is_named(
    camera: Camera, peer: Peer, node: NodeProcess
) -> None:
    subscription = peer.node.create_subscription(
        Image, peer.name("activesam/semantic_mask"), lambda message: None, LATCHED
    )
    status = peer.status("image", lambda _, values: "qos_conflict_1" in values, "a conflict")
    text = peer.values_of(status)["qos_conflict_1"]
    assert "reliable, transient_local" in text
    assert "reliable, volatile" in text
    assert text in node.log()
    peer.node.destroy_subscription(subscription)
    peer.status("image", lambda _, values: "qos_conflict_1" not in values, "no conflict")


def test_no_image_was_an_unexpected_failure(camera: Camera, node: NodeProcess) -> None:
    assert "Traceback" not in node.log()
    assert node.process.poll() is None
