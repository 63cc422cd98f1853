"""The node over DDS, compressed images; and vocabularies that change while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import rclpy
from activesam_ros.msg import ActiveClasses
from activesam_ros.msg import Vocabulary as VocabularyMessage
from activesam_ros.srv import SetVocabulary
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

if TYPE_CHECKING:
    from test.node.conftest import Camera, NodeProcess, OpenCamera, Peer, StartNode

SERVICE = "activesam/set_vocabulary"
LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


@pytest.fixture(scope="module", autouse=True)
def node(start_node: StartNode) -> NodeProcess:
    return start_node({"image_transport": "compressed"}, ["-r", "image:=front/image_raw"])


@pytest.fixture(scope="module")
def camera(open_camera: OpenCamera, peer: Peer, photo: NDArray[np.uint8]) -> Camera:
    """A camera that publishes sensor data beside the topic that image is remapped to."""
    camera = open_camera(CompressedImage, "front/image_raw/compressed", qos_profile_sensor_data)
    camera.first_mask(lambda stamp_ns: picture(peer, photo, stamp_ns))
    return camera


def picture(
    peer: Peer, pixels: NDArray[np.uint8], stamp_ns: int, extension: str = ".jpg"
) -> CompressedImage:
    data = cv2.imencode(extension, pixels[..., ::-1])[1].tobytes()
    message = CompressedImage(format=extension.removeprefix("."), data=data)
    peer.stamp(message, stamp_ns).header.frame_id = "front"
    return message


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_compressed_images_are_segmented(
    camera: Camera, peer: Peer, photo: NDArray[np.uint8], extension: str
) -> None:
    mask = camera.mask_of(picture(peer, photo, peer.next_stamp(), extension))
    assert (mask.height, mask.width) == photo.shape[:2]
    assert (mask.encoding, mask.header.frame_id) == ("mono8", "front")


def test_a_jpeg_and_a_png_of_the_same_pixels_have_the_same_mask(
    camera: Camera, peer: Peer, photo: NDArray[np.uint8]
) -> None:
    jpeg = picture(peer, photo, peer.next_stamp())
    decoded = cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    pixels = np.ascontiguousarray(decoded[..., ::-1]).astype(np.uint8)
    png = picture(peer, pixels, peer.next_stamp(), ".png")
    assert camera.mask_of(jpeg).data == camera.mask_of(png).data


def test_a_corrupt_jpeg_is_counted_and_the_next_image_is_segmented(
    camera: Camera, peer: Peer, node: NodeProcess, photo: NDArray[np.uint8]
) -> None:
    for count in ("1", "2"):
        message = picture(peer, photo, peer.next_stamp())
        message.data = message.data[: len(message.data) // 2]
        camera.publish(message)
        peer.await_drops("corrupt_data", count)
    camera.mask_of(picture(peer, photo, peer.next_stamp()))
    assert node.log().count("(corrupt_data)") == 1


def test_a_raw_image_on_the_topic_is_named(camera: Camera, peer: Peer) -> None:
    context = rclpy.Context()  # one participant cannot have a topic of two types
    rclpy.init(args=[], context=context)
    stranger = Node("stranger", context=context, namespace=peer.namespace)
    stranger.create_publisher(Image, "front/image_raw/compressed", 1)
    status = peer.status("image", lambda _, values: "qos_conflict_1" in values, "a conflict")
    assert "sensor_msgs/msg/Image" in peer.values_of(status)["qos_conflict_1"]
    stranger.destroy_node()
    rclpy.shutdown(context=context)
    peer.status("image", lambda _, values: "qos_conflict_1" not in values, "no conflict")


def ids(message: VocabularyMessage) -> dict[str, int]:
    return {entry.name: entry.id for entry in message.entries}


def _version(peer: Peer, messages: list[Any], version: int) -> Any:
    """The message of that version, as soon as it is there."""

    def of_version() -> list[Any]:
        return [message for message in messages if message.version == version]

    return peer.wait_for(of_version, f"version {version} of the vocabulary")[0]


def test_a_vocabulary_is_swapped_between_two_frames(
    camera: Camera, peer: Peer, photo: NDArray[np.uint8]
) -> None:
    vocabularies = peer.collect(VocabularyMessage, "activesam/vocabulary", LATCHED)
    activities = peer.collect(ActiveClasses, "activesam/active_classes", 100)
    before = peer.wait_for(lambda: vocabularies, "the vocabulary")[-1]
    camera.first_mask(lambda stamp_ns: picture(peer, photo, stamp_ns))
    peer.wait_for(lambda: activities, "active classes")
    client = peer.node.create_client(SetVocabulary, peer.name(SERVICE))
    peer.wait_for(client.service_is_ready, "the service")
    future = client.call_async(SetVocabulary.Request(names=["car", "dog", "grey wolf"]))
    published = []

    def is_answered() -> bool:
        message = picture(peer, photo, peer.next_stamp())
        published.append(peer.stamp_of(message))
        camera.mask_of(message)
        return future.done() and 2 in versions().values()

    def versions() -> dict[int, int]:
        return {peer.stamp_of(message): message.vocabulary_version for message in activities}

    peer.wait_for(is_answered, "the answer and a mask of the new vocabulary")
    peer.wait_for(lambda: set(published) <= set(versions()), "active classes of every image")
    response = future.result()
    assert response.success, response.message
    assert response.version == 2
    after = _version(peer, vocabularies, 2)
    assert ids(after)["car"] == ids(before)["car"]
    assert not {ids(after)["dog"], ids(after)["grey wolf"]} & set(ids(before).values())
    effective = response.effective_from.sec * 10**9 + response.effective_from.nanosec
    for stamp_ns in published:
        assert camera.find(stamp_ns) is not None, "no image is lost"
        assert versions()[stamp_ns] == (2 if stamp_ns >= effective else 1)


@pytest.mark.parametrize(
    ("request_fields", "reason"),
    [
        ({}, "either a preset or names"),
        ({"preset": "driving", "names": ["car"]}, "not both"),
        ({"preset": "drivign"}, "Did you mean driving"),
        ({"preset": "/etc/passwd"}, "nor a file below a folder of vocabulary_folders (none"),
        ({"names": ["car"] * 10_001}, "more than the 10,000 allowed"),
        ({"names": ["," * 5000]}, ",,,..."),  # what is quoted is cut
        ({"names": ["car", "CAR"]}, "already"),
        ({"names": ["car", ""]}, "name 2"),
        ({"names": ["a very " * 40 + "long name"]}, "tokens"),
    ],
)
def test_a_bad_request_changes_nothing(
    camera: Camera,
    peer: Peer,
    photo: NDArray[np.uint8],
    request_fields: dict[str, Any],
    reason: str,
) -> None:
    status = peer.status("network", lambda _, values: True, "anything")
    before = peer.values_of(status)
    response = peer.call(SetVocabulary, SERVICE, SetVocabulary.Request(**request_fields))
    assert not response.success
    assert reason in response.message
    assert str(response.version) == before["vocabulary_version"]
    camera.mask_of(picture(peer, photo, peer.next_stamp()))
    status = peer.status("network", lambda _, values: True, "anything")
    after = peer.values_of(status)
    for key in ("vocabulary", "vocabulary_version", "vocabulary_size"):
        assert after[key] == before[key]


def test_a_preset_keeps_the_ids_of_names_that_stay(camera: Camera, peer: Peer) -> None:
    vocabularies = peer.collect(VocabularyMessage, "activesam/vocabulary", LATCHED)
    before = peer.wait_for(lambda: vocabularies, "the vocabulary")[-1]
    request = SetVocabulary.Request(preset="voc20")
    response = peer.call(SetVocabulary, SERVICE, request)
    assert response.success, response.message
    after = _version(peer, vocabularies, response.version)
    assert len(after.entries) == 20 + 1, "the classes, and background, which is none of them"
    shared = (set(ids(before)) & set(ids(after))) - {"background"}  # which is no class
    assert "car" in shared
    assert all(ids(after)[name] == ids(before)[name] for name in shared)


def test_a_threshold_in_a_request_takes_the_pixels_of_its_class(
    camera: Camera, peer: Peer, photo: NDArray[np.uint8]
) -> None:
    vocabularies = peer.collect(VocabularyMessage, "activesam/vocabulary", LATCHED)

    def mask_with(*names: str) -> tuple[NDArray[np.uint8], dict[str, int]]:
        response = peer.call(SetVocabulary, SERVICE, SetVocabulary.Request(names=names))
        assert response.success, response.message
        known = ids(_version(peer, vocabularies, response.version))
        mask = camera.mask_of(picture(peer, photo, peer.next_stamp(), ".png"))
        return np.frombuffer(mask.data, np.uint8), known

    before, known = mask_with("road", "sky", "car")
    found = {name: int((before == known[name]).sum()) for name in ("road", "sky", "car")}
    lost = max(found, key=found.__getitem__)
    assert found[lost] > 0
    others = [name for name in found if name != lost]
    after, now = mask_with(*others, f"{{name: {lost}, threshold: 1.0}}")
    assert now[lost] == known[lost]
    assert not (after == now[lost]).any()
    again, _ = mask_with("road", "sky", "car")
    assert not (again == now[lost]).any(), "a class keeps its threshold"
    restored, _ = mask_with(*others, f"{{name: {lost}, threshold: 0}}")
    assert (restored == before).mean() > 0.99  # another order may turn ties
