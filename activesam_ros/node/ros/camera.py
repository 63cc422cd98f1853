"""One camera: it receives images and camera_info, and has the publishers of its masks."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from activesam_ros.node.diagnostics import CameraView
from activesam_ros.node.dropped_frames import LOST, RATE_LIMITED, RateLimiter
from activesam_ros.node.parameters.cameras import CameraInput
from activesam_ros.node.parameters.options import NodeOptions
from activesam_ros.node.ros.absent_publisher import Absence, absence_advice, offered_topics
from activesam_ros.node.ros.publishers import CameraPublishers
from activesam_ros.node.ros.qos import KEEP_ALL_DEPTH
from activesam_ros.node.ros.subscription import FollowingSubscription, stamp_ns
from activesam_ros.node.statistics import FrameStatistics

COMPRESSED_SUFFIX = "/compressed"
# A camera_info is kept while its image waits and is segmented.
CAMERA_INFO_DEPTH = 64


@dataclass(frozen=True)
class CameraFrame:
    """An image message as it arrived; ``received_s`` is on the monotonic clock."""

    camera: str
    message: Any
    stamp_ns: int
    received_s: float

    @property
    def compressed(self) -> bool:
        """Whether the message is a CompressedImage."""
        return isinstance(self.message, CompressedImage)


PutFrame: TypeAlias = Callable[[str, CameraFrame], None]
"""Takes a frame of the camera of that name; FrameWorker.put."""


class Camera:
    """One camera's subscriptions and publishers; safe to use from any thread."""

    def __init__(
        self,
        node: LifecycleNode,
        source: CameraInput,
        options: NodeOptions,
        statistics: FrameStatistics,
    ) -> None:
        """Create the publishers; :meth:`start` subscribes."""
        self.publishers = CameraPublishers(node, options, source.prefix)
        self._node = node
        self._source = source
        self._options = options
        self.statistics = statistics
        self._limiter = RateLimiter(source.max_rate_hz)
        self._put: PutFrame | None = None
        self._changing = threading.Lock()
        self._images: FollowingSubscription | None = None
        self._info_subscription: FollowingSubscription | None = None
        self._infos: deque[Any] = deque(maxlen=CAMERA_INFO_DEPTH)
        self._absence = Absence()
        self._absence_advice = ""
        self._source_conflicts: tuple[str, ...] = ()
        self._reader_conflicts: tuple[str, ...] = ()

    def start(self, put: PutFrame) -> None:
        """Hand images to ``put`` from here on, while the parameter ``enabled`` is true."""
        with self._changing:
            self._put = put
            self._subscribe_if_enabled()

    def stop(self) -> None:
        """Receive nothing from here on."""
        with self._changing:
            self._put = None
            self._unsubscribe()

    def apply(self, source: CameraInput, options: NodeOptions) -> None:
        """Use other live parameters from here on."""
        with self._changing:
            if source.max_rate_hz != self._source.max_rate_hz:
                self._limiter = RateLimiter(source.max_rate_hz)
            self._source = source
            self._options = options
            self._subscribe_if_enabled()

    def follow(self) -> tuple[str, ...]:
        """Take the QoS profiles that publishers offer now; returns a sentence for each conflict."""
        images, infos = self._images, self._info_subscription
        self._source_conflicts = () if images is None else images.follow()
        if infos is not None:
            infos.follow()
        self._reader_conflicts = self.publishers.conflicts()
        return self._source_conflicts + self._reader_conflicts

    def new_absence(self) -> str | None:
        """What to do about a topic that nobody publishes; None if nobody has to be told now.

        Has to be called periodically.
        """
        images = self._images
        if images is None:
            self._absence, self._absence_advice = Absence(), ""
            return None
        publishers = len(images.publishers())
        if publishers:
            self._absence_advice = ""
        if not self._absence.is_news(publishers):
            return None
        offered = offered_topics(self._node)
        self._absence_advice = absence_advice(images.topic, self._source, offered, os.environ)
        return self._absence_advice

    def view(self) -> CameraView:
        """The camera as the diagnostics see it."""
        images = self._images
        return CameraView(
            name=self._source.name,
            topic="" if images is None else images.topic,
            publishers=0 if images is None else len(images.publishers()),
            absence_advice=self._absence_advice,
            source_conflicts=self._source_conflicts,
            reader_conflicts=self._reader_conflicts,
            running=self._put is not None,
            enabled=self._options.enabled,
            statistics=self.statistics.snapshot(),
        )

    def camera_info(self, stamp: int, width: int, height: int) -> Any | None:
        """The camera_info of that stamp [ns], else the newest of that size [px], None without."""
        infos = list(self._infos)
        for info in reversed(infos):
            if stamp_ns(info) == stamp:
                return info
        fitting = (info for info in reversed(infos) if (info.width, info.height) == (width, height))
        return next(fitting, None)

    def _subscribe_if_enabled(self) -> None:
        wanted = self._put is not None and self._options.enabled
        if wanted and self._images is None:
            self.statistics.restart()
            self._subscribe()
        elif not wanted:
            self._unsubscribe()

    def _subscribe(self) -> None:
        compressed, keep_all = self._source.compressed, self._options.keep_all
        self._infos.clear()
        self._images = FollowingSubscription(
            self._node,
            CompressedImage if compressed else Image,
            image_topic(self._node, self._source.topic, compressed),
            self._receive_image,
            depth=KEEP_ALL_DEPTH if keep_all else 1,
            reliability=self._options.image_reliability,
            unknown="reliable" if keep_all else "best_effort",
            lost=self._count_lost if keep_all else None,
        )
        self._info_subscription = FollowingSubscription(
            self._node,
            CameraInfo,
            camera_info_topic(self._images.topic),
            self._infos.append,
            depth=CAMERA_INFO_DEPTH,
            reliability="auto",
        )

    def _unsubscribe(self) -> None:
        images, self._images = self._images, None
        infos, self._info_subscription = self._info_subscription, None
        for subscription in (images, infos):
            if subscription is not None:
                subscription.close()

    def _receive_image(self, message: Any) -> None:
        """A frame's way begins here, in a thread of the executor."""
        name, put = self._source.name, self._put
        if put is None:
            return
        frame = CameraFrame(name, message, stamp_ns(message), time.monotonic())
        self.statistics.count_received(frame.stamp_ns)
        if self._limiter.passes(frame.received_s):
            put(name, frame)
        else:
            self.statistics.count_left_out(RATE_LIMITED)

    def _count_lost(self, images: int) -> None:
        text = (
            f"Images of {self._source.name} were lost on their way to the node, so not every image "
            "is segmented; publish them as reliable, or play the recording slower."
        )
        if self.statistics.count_dropped(LOST, text, images):
            self._node.get_logger().error(text)


def image_topic(node: Node, topic: str, compressed: bool) -> str:
    """``topic`` or its remapping, with ``/compressed`` at its end where ``compressed``."""
    base = str(node.resolve_topic_name(topic))
    return base.removesuffix(COMPRESSED_SUFFIX) + COMPRESSED_SUFFIX if compressed else base


def camera_info_topic(image_topic_name: str) -> str:
    """The camera_info topic of an image topic: in the same namespace, as image_transport has it."""
    namespace = image_topic_name.removesuffix(COMPRESSED_SUFFIX).rpartition("/")[0]
    return f"{namespace}/camera_info"
