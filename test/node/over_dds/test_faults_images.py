"""Faults of images: streams that change, half a minute of garbage, stamps and clocks that jump."""

from __future__ import annotations

import array
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

from activesam_ros.recordings.image_encodings import Cause

if TYPE_CHECKING:
    from test.node.conftest import Camera, NodeProcess, OpenCamera, Peer, StartNode

Pixels: TypeAlias = NDArray[np.uint8]
# As many as a camera sends in 30 s.
GARBAGE = 30 * 30
# Between two good images, whose masks tell that those before have been looked at.
BATCH = 30
SECOND_NS = 10**9
CLOCK_S = 1_000


@pytest.fixture(scope="module")
def parameters() -> dict[str, Any]:
    return {
        "resolution": 56,
        "preview_resolution": 28,
        "diagnostics_period_s": 0.05,
        "image_timeout_s": 60.0,
    }


@pytest.fixture(scope="module")
def node(start_node: StartNode, parameters: dict[str, Any]) -> NodeProcess:
    return start_node({**parameters, "use_sim_time": True})


@pytest.fixture(scope="module")
def camera(node: NodeProcess, open_camera: OpenCamera, photo: Pixels, peer: Peer) -> Camera:
    camera = open_camera(Image, "image")
    camera.first_mask(lambda stamp_ns: peer.image(photo, stamp_ns))
    return camera


def filled(peer: Peer, encoding: str, height: int, width: int, channels: int, size: int) -> Image:
    """A noisy image of ``channels`` values of ``size`` bytes a pixel."""
    step = width * channels * size
    rows = height * 3 // 2 if encoding == "nv12" else height
    data = np.random.default_rng(width).integers(0, 256, rows * step, np.uint8)
    image = Image(height=height, width=width, encoding=encoding, step=step)
    image.data = array.array("B", data.tobytes())
    stamped: Image = peer.stamp(image, peer.next_stamp())
    return stamped


def test_size_and_encoding_change_in_mid_stream(camera: Camera, peer: Peer) -> None:
    kinds = [
        ("rgb8", 3, 1),
        ("bgra8", 4, 1),
        ("mono8", 1, 1),
        ("mono16", 1, 2),
        ("bayer_grbg8", 1, 1),
        ("nv12", 1, 1),
        ("yuv422_yuy2", 2, 1),
        ("rgba16", 4, 2),
    ]
    for index, (encoding, channels, size) in enumerate(kinds):
        height, width = 64 + 32 * (index % 3), 240 - 24 * index
        for _ in range(2):
            image = filled(peer, encoding, height, width, channels, size)
            mask = camera.mask_of(image)
            assert (mask.height, mask.width, mask.encoding) == (height, width, "mono8")
            assert len(mask.data) == height * width


def garbage(good: Image, number: int) -> Image:
    """One of the many ways in which an image message can be wrong, none of which fits the next."""
    image = Image(
        height=good.height,
        width=good.width,
        encoding=good.encoding,
        step=good.step,
        is_bigendian=good.is_bigendian,
        data=good.data,
        header=good.header,
    )
    noise = np.random.default_rng(number)
    nan = array.array("B", np.full(good.height * good.width, np.nan, np.float32).tobytes())
    fields: list[dict[str, Any]] = [
        {"step": 0},
        {"step": good.step - 1},
        {"step": 2**32 - 1},
        {"data": good.data[: int(noise.integers(0, len(good.data)))]},
        {"data": array.array("B")},
        {"data": good.data + array.array("B", [0])},
        {"encoding": ""},
        {"encoding": "8UC3"},
        {"encoding": "".join(map(chr, noise.integers(33, 127, 20)))},
        {"encoding": "rgb8" * 1000},
        {"height": 0},
        {"width": 0, "step": 0},
        {"height": 0, "width": 0, "step": 0, "data": array.array("B")},
        {"height": 2**32 - 1},
        {"width": 2**32 - 1},
        {"height": 2**32 - 1, "width": 2**32 - 1, "step": 2**32 - 1},
        {"width": 2**31, "step": 2**31 * 3 % 2**32},
        {"encoding": "32FC1", "step": good.width * 4, "data": nan},
        {"encoding": "mono16", "step": good.width},
        {"encoding": "nv12", "width": good.width - 1, "step": good.width - 1},
    ]
    for name, value in fields[number % len(fields)].items():
        setattr(image, name, value)
    return image


def test_half_a_minute_of_garbage(
    start_node: StartNode,
    parameters: dict[str, Any],
    open_camera: OpenCamera,
    namespace: str,
    peer: Peer,
    photo: Pixels,
) -> None:
    """Every image is looked at: with keep_all none is replaced by the next."""
    facing = peer.facing(f"{namespace}/garbage")
    node = start_node({**parameters, "keep_all": True}, namespace=facing.namespace)
    camera = open_camera(Image, "image", QoSProfile(depth=2 * BATCH), facing=facing)
    picture = photo[:56, :56]
    camera.first_mask(lambda stamp_ns: peer.image(picture, stamp_ns))
    facing.wait_for(lambda: is_heard_once(facing), "one reliable subscription")
    before = peer.values_of(facing.status("image", is_active, "active"))
    sent = 0
    while sent < GARBAGE:
        for number in range(sent, sent + BATCH):
            camera.publish(garbage(peer.image(picture, facing.next_stamp()), number))
        sent += BATCH
        camera.mask_of(peer.image(picture, facing.next_stamp()))
    segmented = str(int(before["frames_segmented"]) + sent // BATCH)
    status = facing.status(
        "image", lambda _, values: values["frames_segmented"] == segmented, "all are segmented"
    )
    after = peer.values_of(status)
    assert refused(after) - refused(before) == GARBAGE
    causes = {name.removeprefix("dropped_") for name in after if name.startswith("dropped_")}
    assert causes <= {cause.value for cause in Cause}, "each was refused for what is wrong with it"
    assert "Traceback" not in node.log()
    assert node.interrupt() == 0


def is_heard_once(peer: Peer) -> bool:
    """Whether the node has replaced the subscription it began with."""
    infos = peer.node.get_subscriptions_info_by_topic(peer.name("image"))
    profiles = [info.qos_profile.reliability for info in infos]
    return bool(profiles == [ReliabilityPolicy.RELIABLE])


def is_active(_: Any, values: dict[str, str]) -> bool:
    return values["state"] == "active"


def refused(values: dict[str, str]) -> int:
    """Images that were looked at and found unusable."""
    counts = {name: int(value) for name, value in values.items() if name.startswith("dropped_")}
    counts.pop("dropped_superseded", None)
    return sum(counts.values())


def test_every_kind_of_garbage_alone(
    camera: Camera, peer: Peer, node: NodeProcess, photo: Pixels
) -> None:
    for number in range(20):
        before = peer.values_of(peer.status("image", lambda *_: True, "the counts"))
        camera.publish(garbage(peer.image(photo[:56, :56], peer.next_stamp()), number))
        count = refused(before) + 1

        def counted(_: Any, values: dict[str, str], count: int = count) -> bool:
            return refused(values) == count

        status = peer.status("image", counted, f"garbage {number} refused")
        assert peer.values_of(status)["state"] == "rejected"
        assert len(status.message) < 1000
    camera.mask_of(peer.image(photo, peer.next_stamp()))
    assert "Traceback" not in node.log()


def test_a_frame_from_the_future_and_a_clock_that_jumps_back(
    camera: Camera, peer: Peer, node: NodeProcess, photo: Pixels
) -> None:
    clock = peer.node.create_publisher(Clock, "/clock", 10)
    peer.wait_for(clock.get_subscription_count, "a node on simulated time")
    picture = photo[:56, :56]

    def turn_to(seconds: int) -> None:
        message = Clock()
        message.clock.sec = seconds
        clock.publish(message)
        diagnostics: list[Any] = []
        subscription = peer.node.create_subscription(
            DiagnosticArray, "/diagnostics", diagnostics.append, 10
        )
        peer.wait_for(
            lambda: any(entry.header.stamp.sec == seconds for entry in diagnostics),
            f"the node's time to be {seconds} s",
        )
        peer.node.destroy_subscription(subscription)

    assert peer.set_parameters({"max_image_age_ms": 500.0})[0].successful
    turn_to(CLOCK_S)
    camera.mask_of(peer.image(picture, CLOCK_S * SECOND_NS))
    camera.mask_of(peer.image(picture, (CLOCK_S + 3600) * SECOND_NS))
    camera.mask_of(peer.image(picture, CLOCK_S * SECOND_NS + 1))
    camera.publish(peer.image(picture, (CLOCK_S - 1) * SECOND_NS))
    peer.await_drops("too_old", "1")
    # the recording starts over
    turn_to(10)
    camera.mask_of(peer.image(picture, 10 * SECOND_NS))
    camera.mask_of(peer.image(picture, 10 * SECOND_NS - 10**8))
    camera.publish(peer.image(picture, 9 * SECOND_NS))
    peer.await_drops("too_old", "2")
    camera.mask_of(peer.image(picture, 11 * SECOND_NS))
    status = peer.status("image", lambda _, values: values["state"] == "active", "active")
    assert status.level == b"\x00", status.message
    assert peer.set_parameters({"max_image_age_ms": 0.0})[0].successful
    camera.mask_of(peer.image(picture, SECOND_NS))
    assert node.process.poll() is None


def broken_pictures(photo: Pixels) -> list[tuple[str, bytes]]:
    """Compressed images that cannot be read: format and data."""
    jpeg = cv2.imencode(".jpg", photo)[1].tobytes()
    png = cv2.imencode(".png", photo)[1].tobytes()
    huge = bytearray(png)
    huge[16:24] = (2**31 - 1).to_bytes(4, "big") * 2  # width and height in the PNG's header
    noise = np.random.default_rng(0).integers(0, 256, 5000, np.uint8).tobytes()
    return [
        ("jpeg", jpeg[: len(jpeg) // 2]),
        ("jpeg", jpeg[:20]),
        ("png", png[: len(png) // 2]),
        ("png", png[:30]),
        ("png", bytes(huge)),
        ("jpeg", b""),
        ("png", noise),
        ("rgb8; jpeg compressed bgr8", jpeg[:2] + noise),
        ("16UC1; compressedDepth png", noise),
    ]


def test_broken_compressed_images(
    start_node: StartNode,
    parameters: dict[str, Any],
    open_camera: OpenCamera,
    namespace: str,
    peer: Peer,
    photo: Pixels,
) -> None:
    facing = peer.facing(f"{namespace}/compressed")
    node = start_node({**parameters, "image_transport": "compressed"}, namespace=facing.namespace)
    camera = open_camera(CompressedImage, "image/compressed", facing=facing)
    good = array.array("B", cv2.imencode(".png", photo)[1].tobytes())

    def picture(stamp_ns: int, kind: str = "png", data: bytes | None = None) -> CompressedImage:
        content = good if data is None else array.array("B", data)
        message: CompressedImage = peer.stamp(CompressedImage(format=kind, data=content), stamp_ns)
        return message

    camera.first_mask(picture)
    for count, (kind, data) in enumerate(broken_pictures(photo), start=1):
        camera.publish(picture(facing.next_stamp(), kind, data))

        def counted(_: Any, values: dict[str, str], count: int = count) -> bool:
            return refused(values) == count

        status = facing.status("image", counted, f"{kind} {len(data)} refused")
        assert peer.values_of(status)["state"] == "rejected"
    mask = camera.mask_of(picture(facing.next_stamp()))
    assert (mask.height, mask.width) == photo.shape[:2]
    assert "Traceback" not in node.log()
    assert "dropped_failed" not in str(facing.status("image", is_active, "active again").values)
