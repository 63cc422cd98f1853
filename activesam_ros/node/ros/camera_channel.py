"""One camera's way into the node and out of it: subscription, statistics and outputs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode

from activesam_ros.node.diagnostics import CameraView
from activesam_ros.node.frame_processor import SegmentedFrame
from activesam_ros.node.parameters.cameras import CameraInput
from activesam_ros.node.parameters.options import NodeOptions
from activesam_ros.node.rate_limit import RateLimiter
from activesam_ros.node.ros.camera import Camera, Frame
from activesam_ros.node.ros.publishers import CameraPublishers
from activesam_ros.node.statistics import RATE_LIMITED, FrameStatistics
from activesam_ros.segmentation.result import Wanted


class CameraChannel:
    """Listens while told to, hands frames on, publishes what became of them.

    Safe to use from the executor's threads and the worker's.
    """

    def __init__(
        self,
        node: LifecycleNode,
        source: CameraInput,
        options: NodeOptions,
        statistics: FrameStatistics,
        hand_on: Callable[[Frame], None],
    ) -> None:
        """``hand_on`` gets each image that the rate limit lets through, in an executor's thread."""
        self.statistics = statistics
        self.publishers = CameraPublishers(node, options, source.prefix)
        self._node = node
        self._source = source
        self._options = options
        self._hand_on = hand_on
        self._limiter = RateLimiter(source.max_rate_hz)
        self._listening = threading.Lock()
        self._camera: Camera | None = None
        self._conflicts: tuple[str, ...] = ()

    def apply(self, source: CameraInput, options: NodeOptions) -> None:
        """Put live parameters to use."""
        if source.max_rate_hz != self._source.max_rate_hz:
            self._limiter = RateLimiter(source.max_rate_hz)
        self._source = source
        self._options = options

    def listen(self, listen: bool) -> None:
        """Begin to receive images, or end it."""
        with self._listening:
            if listen and self._camera is None:
                self.statistics.restart()
                self._camera = Camera(self._node, self._source, self._options, self._receive)
            elif not listen and self._camera is not None:
                self._camera.close()
                self._camera = None

    def close(self) -> None:
        """Receive nothing more and take the topics away."""
        self.listen(False)
        self.publishers.destroy()

    def follow(self) -> tuple[str, ...]:
        """Adapt to the publishers that are there now; returns who cannot talk with whom."""
        camera = self._camera
        received = () if camera is None else camera.follow()
        self._conflicts = received + self.publishers.conflicts()
        return self._conflicts

    def view(self, running: bool) -> CameraView:
        """The camera as the diagnostics see it."""
        camera = self._camera
        return CameraView(
            name=self._source.name,
            topic="" if camera is None else camera.topic,
            publishers=0 if camera is None else camera.publishers(),
            conflicts=self._conflicts,
            running=running,
            enabled=self._options.enabled,
            statistics=self.statistics.snapshot(),
        )

    def wanted(self) -> Wanted:
        """What somebody listens to beyond the mask."""
        return self.publishers.wanted()

    def publish(self, segmented: SegmentedFrame) -> float:
        """Publish everything about a frame; returns the time from receiving it to its mask [ms]."""
        frame, result, running = segmented.frame, segmented.result, segmented.running
        header = frame.message.header
        camera = self._camera
        height, width = result.labels.shape
        info = None if camera is None else camera.camera_info(frame.stamp_ns, width, height)
        self.publishers.publish_mask(header, result, info)
        latency_ms = (time.monotonic() - frame.received_s) * 1e3
        vocabulary = running.prompted.vocabulary
        self.publishers.publish_active_classes(
            header, result, vocabulary, running.version, latency_ms, segmented.mode.level.step
        )
        self.publishers.publish_overlay(
            header, segmented.image, result, vocabulary, running.options
        )
        return latency_ms

    def _receive(self, frame: Frame) -> None:
        self.statistics.count_received()
        if self._limiter.passes(frame.received_s):
            self._hand_on(frame)
        else:
            self.statistics.count_left_out(RATE_LIMITED)
