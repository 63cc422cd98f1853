"""One camera: its image and camera_info subscriptions, which follow their publishers' profiles."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from rclpy.callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from activesam_ros.node.parameters.cameras import CameraInput
from activesam_ros.node.parameters.options import NodeOptions
from activesam_ros.node.ros.qos import Endpoint, profile_for, subscription_conflicts

COMPRESSED_SUFFIX = "/compressed"
# A camera_info waits as long as its image waits and is segmented.
CAMERA_INFO_DEPTH = 64
# With keep_all: images that arrive while a callback has the interpreter.
KEEP_ALL_DEPTH = 256


@dataclass(frozen=True)
class Frame:
    """An image message as it arrived; ``received_s`` is on the monotonic clock."""

    camera: str
    message: Any
    stamp_ns: int
    received_s: float

    @property
    def compressed(self) -> bool:
        """Whether the message is a CompressedImage."""
        return isinstance(self.message, CompressedImage)


def stamp_ns(message: Any) -> int:
    """The stamp of a message's header [ns]."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def endpoints(infos: Any) -> tuple[Endpoint, ...]:
    """What the graph says about the other side of a topic."""
    return tuple(
        Endpoint(
            node=f"{info.node_namespace.rstrip('/')}/{info.node_name}",
            message_type=info.topic_type,
            profile=info.qos_profile,
        )
        for info in infos
    )


_Intake: TypeAlias = "tuple[int, QoSProfile, Subscription]"


class FollowingSubscription:
    """A subscription that takes over the profile its publishers offer, without losing a message.

    A new subscription is made beside the old one. The old one is heard until the new one delivers;
    messages that both deliver are handed on once.
    """

    def __init__(
        self,
        node: Node,
        message_type: Any,
        topic: str,
        receive: Callable[[Any], None],
        *,
        depth: int,
        reliability: str,
        unknown: str = "best_effort",
    ) -> None:
        """``reliability`` as for :func:`profile_for`, and ``unknown`` while nobody publishes."""
        self.topic = node.resolve_topic_name(topic)
        self._node = node
        self._message_type = message_type
        self._type_name = f"sensor_msgs/msg/{message_type.__name__}"
        self._receive = receive
        self._depth = depth
        self._reliability = reliability
        self._unknown = unknown
        self._group: CallbackGroup = MutuallyExclusiveCallbackGroup()
        self._changing = threading.Lock()
        self._closed = False
        self._lock = threading.Lock()
        self._generation = 0
        self._heard = 0
        self._recent_ns: deque[int] = deque(maxlen=depth)
        self._repeats_ns: list[int] = []
        self._intakes: list[_Intake] = []
        self.follow()

    def publishers(self) -> tuple[Endpoint, ...]:
        """Who publishes the topic now."""
        return endpoints(self._node.get_publishers_info_by_topic(self.topic))

    def follow(self) -> tuple[str, ...]:
        """Take the profile the publishers offer now; returns who still cannot be heard."""
        publishers = self.publishers()
        same_type = [entry for entry in publishers if entry.message_type == self._type_name]
        profile = profile_for(same_type, self._reliability, self._depth, unknown=self._unknown)
        with self._changing:
            if self._closed:
                return ()
            if not self._intakes or not _same(self._intakes[-1][1], profile):
                self._renew(profile)
            self._drop_unheard()
        return subscription_conflicts(self.topic, self._type_name, profile, publishers)

    def close(self) -> None:
        """Receive nothing from here on."""
        with self._changing:
            self._closed = True
            with self._lock:
                intakes, self._intakes = self._intakes, []
                self._heard = self._generation + 1
            for _, _, subscription in intakes:
                self._node.destroy_subscription(subscription)

    def _renew(self, profile: QoSProfile) -> None:
        self._generation += 1
        generation = self._generation

        def hear(message: Any) -> None:
            self._hear(generation, message)

        subscription = self._node.create_subscription(
            self._message_type, self.topic, hear, profile, callback_group=self._group
        )
        self._intakes.append((generation, profile, subscription))

    def _hear(self, generation: int, message: Any) -> None:
        stamp = stamp_ns(message)
        with self._lock:
            if generation < self._heard:
                return
            if generation > self._heard:
                self._heard = generation
                self._repeats_ns = list(self._recent_ns)
            repeated = stamp in self._repeats_ns
            if repeated:
                self._repeats_ns.remove(stamp)
            self._recent_ns.append(stamp)
        if not repeated:
            self._receive(message)

    def _drop_unheard(self) -> None:
        """Destroy what a newer subscription replaced.

        The heard one stays, and the newest two: the newest may not have found its publisher yet.
        """
        with self._lock:
            newest = self._intakes[-2:]
            keep = [
                entry
                for entry in self._intakes
                if entry[0] == self._heard or (entry in newest and entry[0] > self._heard)
            ]
            gone = [entry for entry in self._intakes if entry not in keep]
            self._intakes = keep
        for _, _, subscription in gone:
            self._node.destroy_subscription(subscription)


def _same(left: QoSProfile, right: QoSProfile) -> bool:
    return bool(left.reliability == right.reliability and left.durability == right.durability)


class Camera:
    """Receives images and keeps the camera_info that goes with each."""

    def __init__(
        self,
        node: Node,
        source: CameraInput,
        options: NodeOptions,
        receive: Callable[[Frame], None],
    ) -> None:
        """``receive`` gets every image, in a thread of the executor."""
        self._name = source.name
        self._receive = receive
        compressed = source.compressed
        topic = image_topic(node, source.topic, compressed)
        self._infos: deque[Any] = deque(maxlen=CAMERA_INFO_DEPTH)
        self._image = FollowingSubscription(
            node,
            CompressedImage if compressed else Image,
            topic,
            self._hand_on,
            depth=KEEP_ALL_DEPTH if options.keep_all else 1,
            reliability=options.image_reliability,
            unknown="reliable" if options.keep_all else "best_effort",
        )
        self._info = FollowingSubscription(
            node,
            CameraInfo,
            camera_info_topic(self._image.topic),
            self._infos.append,
            depth=CAMERA_INFO_DEPTH,
            reliability="auto",
        )

    def _hand_on(self, message: Any) -> None:
        self._receive(Frame(self._name, message, stamp_ns(message), time.monotonic()))

    @property
    def topic(self) -> str:
        """The image topic as resolved."""
        return self._image.topic

    def publishers(self) -> int:
        """How many publish the image topic."""
        return len(self._image.publishers())

    def follow(self) -> tuple[str, ...]:
        """Take the profiles the publishers offer now; returns whose images cannot be heard."""
        self._info.follow()
        return self._image.follow()

    def camera_info(self, stamp: int, width: int, height: int) -> Any | None:
        """The camera_info of that stamp [ns], else the newest for that size, None without one."""
        infos = list(self._infos)
        for info in reversed(infos):
            if stamp_ns(info) == stamp:
                return info
        fitting = (info for info in reversed(infos) if (info.width, info.height) == (width, height))
        return next(fitting, None)

    def close(self) -> None:
        """Receive nothing from here on."""
        self._image.close()
        self._info.close()


def image_topic(node: Node, topic: str, compressed: bool) -> str:
    """``topic``, or what it is remapped to; with its transport's suffix where compressed."""
    base = str(node.resolve_topic_name(topic))
    return base.removesuffix(COMPRESSED_SUFFIX) + COMPRESSED_SUFFIX if compressed else base


def camera_info_topic(image_topic_name: str) -> str:
    """Where image_transport puts the camera_info of an image topic: beside it."""
    namespace = image_topic_name.removesuffix(COMPRESSED_SUFFIX).rpartition("/")[0]
    return f"{namespace}/camera_info"
