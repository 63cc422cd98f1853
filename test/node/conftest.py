"""The node as a process of its own, and a ROS node of the tests' that talks with it over DDS."""

from __future__ import annotations

import array
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import cv2
import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

T = TypeVar("T")
TIMEOUT_S = 90.0
RETRY_S = 3.0
MASK = "activesam/semantic_mask"


@dataclass
class Peer:
    """A ROS node that is spun while a test waits for something."""

    node: Node
    executor: SingleThreadedExecutor
    namespace: str
    _stamp_ns: int = field(default_factory=time.time_ns)

    @staticmethod
    def image(
        pixels: NDArray[np.uint8], stamp_ns: int, encoding: str = "rgb8", frame_id: str = "camera"
    ) -> Image:
        """A sensor_msgs/Image of uint8 [H, W, C]."""
        message = Image(
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            step=pixels.shape[1] * pixels.shape[2],
            data=array.array("B", np.ascontiguousarray(pixels).tobytes()),
        )
        Peer.stamp(message, stamp_ns).header.frame_id = frame_id
        return message

    @staticmethod
    def stamp(message: Any, stamp_ns: int) -> Any:
        """``message`` with that stamp."""
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
        return message

    @staticmethod
    def stamp_of(message: Any) -> int:
        """The stamp [ns]."""
        return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)

    @staticmethod
    def values_of(status: Any) -> dict[str, str]:
        """The key values of a diagnostic status."""
        return {entry.key: entry.value for entry in status.values}

    def facing(self, namespace: str) -> Peer:
        """The same ROS node, for the node under test of another namespace."""
        return replace(self, namespace=namespace)

    def name(self, relative: str) -> str:
        """A name in the namespace of the node under test."""
        return f"{self.namespace}/{relative}"

    def next_stamp(self) -> int:
        """A stamp 10 ms after the last one."""
        self._stamp_ns += 10**7
        return self._stamp_ns

    def comes(self, condition: Callable[[], object], timeout_s: float) -> bool:
        """Spin until ``condition`` returns something true; False when it does not in time."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline_s:
                return False
            self.executor.spin_once(timeout_sec=0.05)
        return True

    def wait_for(self, condition: Callable[[], T], what: str) -> T:
        """Spin until ``condition`` returns something true; fails with ``what`` was waited for."""
        assert self.comes(condition, TIMEOUT_S), f"waited {TIMEOUT_S} s in vain for {what}"
        return condition()

    def collect(self, message_type: Any, relative: str, qos: QoSProfile | int = 10) -> list[Any]:
        """A list that grows by every message received."""
        received: list[Any] = []
        self.node.create_subscription(message_type, self.name(relative), received.append, qos)
        return received

    def publisher(self, message_type: Any, relative: str, qos: QoSProfile | int = 10) -> Any:
        """A publisher that the node under test has found."""
        publisher = self.node.create_publisher(message_type, self.name(relative), qos)
        self.wait_for(publisher.get_subscription_count, f"a subscription to {relative}")
        return publisher

    def call(self, service_type: Any, relative: str, request: Any) -> Any:
        """The response of a service."""
        client = self.node.create_client(service_type, self.name(relative))
        self.wait_for(client.service_is_ready, f"the service {relative}")
        future = client.call_async(request)
        self.wait_for(future.done, f"the response of {relative}")
        self.node.destroy_client(client)
        return future.result()

    def set_parameters(self, values: Mapping[str, Any]) -> list[Any]:
        """Set each parameter by itself; a SetParametersResult each."""
        request = SetParameters.Request(parameters=_messages(values))
        return list(self.call(SetParameters, "activesam/set_parameters", request).results)

    def set_atomically(self, values: Mapping[str, Any]) -> Any:
        """Set all parameters or none; a SetParametersResult."""
        request = SetParametersAtomically.Request(parameters=_messages(values))
        service = "activesam/set_parameters_atomically"
        return self.call(SetParametersAtomically, service, request).result

    def status(
        self, suffix: str, condition: Callable[[Any, dict[str, str]], bool], what: str
    ) -> Any:
        """The first diagnostic status from now on that meets ``condition``(status, values)."""
        found: list[Any] = []
        name = f"{self.namespace}/activesam: {suffix}".lstrip("/")

        def look(message: DiagnosticArray) -> None:
            found.extend(
                status
                for status in message.status
                if status.name == name and condition(status, self.values_of(status))
            )

        subscription = self.node.create_subscription(DiagnosticArray, "/diagnostics", look, 10)
        self.wait_for(lambda: found, f"diagnostics that say {what}")
        self.node.destroy_subscription(subscription)
        return found[0]

    def await_drops(self, cause: str, count: str, camera: str = "image") -> Any:
        """The status of a camera once that many of its images were dropped for ``cause``."""

        def are_counted(_: Any, values: dict[str, str]) -> bool:
            return values.get(f"dropped_{cause}") == count

        return self.status(camera, are_counted, f"{count} images dropped for {cause}")


def _messages(values: Mapping[str, Any]) -> list[Any]:
    return [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]


@dataclass
class Camera:
    """Publishes images to the node under test and waits for their masks."""

    peer: Peer
    publisher: Any
    masks: list[Any]

    def publish(self, message: Any) -> int:
        """Publish an image; returns its stamp [ns]."""
        self.publisher.publish(message)
        return self.peer.stamp_of(message)

    def mask_of(self, message: Any) -> Any:
        """Publish one image and wait for its mask."""
        wanted = self.publish(message)
        return self.peer.wait_for(lambda: self.find(wanted), "the mask of an image")

    def first_mask(self, make: Callable[[int], Any]) -> Any:
        """Publish until a mask comes: before that, one side may not have found the other yet."""
        stamps: list[int] = []

        def masks() -> list[Any]:
            return [mask for mask in self.masks if self.peer.stamp_of(mask) in stamps]

        for _ in range(int(TIMEOUT_S / RETRY_S)):
            stamps.append(self.publish(make(self.peer.next_stamp())))
            if self.peer.comes(masks, RETRY_S):
                return masks()[-1]
        raise AssertionError("no image got a mask")

    def find(self, stamp_ns: int) -> Any | None:
        """The mask of that stamp, None before it came."""
        return next((mask for mask in self.masks if self.peer.stamp_of(mask) == stamp_ns), None)


@dataclass
class NodeProcess:
    """``python -m activesam_ros.node.segment_node`` with what it writes in a file."""

    process: subprocess.Popen[bytes]
    log_file: Path

    def log(self) -> str:
        """All it wrote so far."""
        return self.log_file.read_text("utf-8")

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(TIMEOUT_S)


StartNode: TypeAlias = Callable[..., NodeProcess]
OpenCamera: TypeAlias = Callable[..., Camera]


@pytest.fixture(scope="session")
def golden(repository: Path) -> Path:
    """The folder of the small random checkpoint and what the references compute on it."""
    return repository / "test" / "data" / "golden"


@pytest.fixture(scope="session")
def prompt_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache folder of compiled vocabularies for all nodes."""
    return tmp_path_factory.mktemp("prompt_cache")


@pytest.fixture(scope="session")
def small_vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six classes, two of them with aliases."""
    path = tmp_path_factory.mktemp("vocabulary") / "small.txt"
    path.write_text("road\nsidewalk, pavement\nperson\ncar, automobile\ntree\nsky\n", "utf-8")
    return path


@pytest.fixture(scope="module")
def photo(golden: Path) -> NDArray[np.uint8]:
    """A golden image, uint8 RGB."""
    pixels = cv2.imread(str(golden / "background.png"))
    assert pixels is not None
    return np.ascontiguousarray(pixels[..., ::-1]).astype(np.uint8)


@pytest.fixture(scope="module")
def namespace(request: pytest.FixtureRequest) -> str:
    """A namespace for each test module, so that their nodes do not meet."""
    return f"/{Path(str(request.node.path)).stem}"


@pytest.fixture(scope="module")
def start_node(
    namespace: str,
    golden: Path,
    prompt_cache: Path,
    small_vocabulary: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[StartNode]:
    """Start nodes with the golden network; whatever still runs at the end is killed."""
    started: list[NodeProcess] = []

    def start(
        parameters: Mapping[str, Any],
        arguments: Sequence[str] = (),
        program: Sequence[str] = ("-m", "activesam_ros.node.segment_node"),
        namespace: str = namespace,
    ) -> NodeProcess:
        values = {
            "weights": str(golden / "model.pt"),
            "vocabulary": str(small_vocabulary),
            "cache_dir": str(prompt_cache),
            "cpu_threads": 1,
            "hypernym_tokens": 0,
            "warm_up": False,
            "diagnostics_period_s": 0.2,
            **parameters,
        }
        command = [sys.executable, *program, "--ros-args"]
        command += ["-r", f"__ns:={namespace}", *arguments]
        for name, value in values.items():
            # JSON is YAML, which is how ROS reads them
            command += ["-p", f"{name}:={json.dumps(value)}"]
        log_file = tmp_path_factory.mktemp("node") / "log.txt"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        started.append(NodeProcess(process, log_file))
        return started[-1]

    yield start
    for node in started:
        if node.process.poll() is None:
            node.process.kill()
            node.process.wait()


@pytest.fixture(scope="module")
def peer(namespace: str) -> Iterator[Peer]:
    """The tests' own ROS node."""
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = Node("peer", context=context, namespace=namespace)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    yield Peer(node, executor, namespace)
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture(scope="module")
def masks(peer: Peer) -> list[Any]:
    """Every mask the node publishes."""
    return peer.collect(Image, MASK)


@pytest.fixture(scope="module")
def open_camera(peer: Peer, masks: list[Any]) -> OpenCamera:
    """Make a camera of a message type and topic that the node has found."""

    def make(
        message_type: Any,
        topic: str,
        qos: QoSProfile | int = 10,
        mask_topic: str = MASK,
        facing: Peer = peer,
    ) -> Camera:
        shared = mask_topic == MASK and facing is peer
        own = masks if shared else facing.collect(Image, mask_topic, qos)
        return Camera(facing, facing.publisher(message_type, topic, qos), own)

    return make
