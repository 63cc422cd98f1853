"""What exists while the node is configured: cameras, frame processor, worker, publishers."""

from __future__ import annotations

from collections.abc import Mapping

from rclpy.lifecycle import LifecycleNode

from activesam_ros.node.diagnostics import CameraView
from activesam_ros.node.dropped_frames import FrameReporter
from activesam_ros.node.engine import Engine
from activesam_ros.node.frame_processor import FrameProcessor, VocabularyInUse
from activesam_ros.node.frame_stores import AllFrames, NewestFrames
from activesam_ros.node.live_changes import LiveChanges
from activesam_ros.node.ros.camera import Camera, CameraFrame
from activesam_ros.node.ros.publishers import VocabularyPublishers
from activesam_ros.node.statistics import FrameStatistics
from activesam_ros.node.worker import FrameWorker
from activesam_ros.recordings.image_encodings import Converter
from activesam_ros.sam3.tokenizer import Tokenizer


class Session:
    """From configuring to cleaning up; safe to use from the executor's threads.

    A frame goes from Camera to NewestFrames (or AllFrames), where it waits, then to FrameWorker,
    FrameProcessor, Segmenter and CameraPublishers.
    """

    def __init__(
        self,
        node: LifecycleNode,
        engine: Engine,
        in_use: VocabularyInUse,
        converter: Converter,
        statistics: Mapping[str, FrameStatistics],
        tokenizer: Tokenizer,
    ) -> None:
        """``statistics`` by camera; ``tokenizer`` checks requested vocabularies."""
        self.engine = engine
        self._node = node
        self._vocabulary_publishers = VocabularyPublishers(node)
        self._reporter = FrameReporter(node.get_logger(), statistics)
        options = in_use.parameters.options
        self._cameras = {
            source.name: Camera(node, source, options, statistics[source.name])
            for source in in_use.parameters.inputs
        }
        self.processor = FrameProcessor(
            in_use,
            converter,
            self._cameras,
            self._reporter,
            self._publish_vocabulary,
            now_ns=lambda: int(node.get_clock().now().nanoseconds),
        )
        self.changes = LiveChanges(engine, self.processor, self._cameras, self._reporter, tokenizer)
        self._worker: FrameWorker[CameraFrame] | None = None
        self._logged_conflicts: set[str] = set()

    @property
    def frames_waiting(self) -> int:
        """Images of all cameras that wait or are being segmented."""
        worker = self._worker
        return 0 if worker is None else worker.unfinished

    def activate(self) -> None:
        """Publish the vocabulary and begin to segment the images that arrive."""
        self._publish_vocabulary(self.processor.in_use)
        self._worker = self._make_worker()
        self._worker.start()
        for camera in self._cameras.values():
            camera.start(self._worker.put)
        topics = ", ".join(camera.publishers.mask_topic for camera in self._cameras.values())
        self._node.get_logger().info(f"Masks are published on {topics}.")

    def deactivate(self) -> None:
        """Receive nothing more; returns when the frames being segmented are published."""
        for camera in self._cameras.values():
            camera.stop()
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def close(self) -> None:
        """Deactivate and destroy the publishers.

        Everything that publishes has ended before: live changes, then the worker.
        """
        self.changes.close()
        try:
            self.deactivate()
        finally:
            for camera in self._cameras.values():
                camera.publishers.destroy()
            self._vocabulary_publishers.destroy()

    def follow_publishers(self) -> None:
        """Take the QoS profiles that publishers offer now; log conflicts and absences that are new.

        An absence is a topic that nobody publishes.
        """
        for camera in self._cameras.values():
            if (advice := camera.new_absence()) is not None:
                self._node.get_logger().warning(advice)
            for conflict in camera.follow():
                if conflict not in self._logged_conflicts:
                    self._logged_conflicts.add(conflict)
                    self._node.get_logger().warning(conflict)

    def camera_views(self) -> tuple[CameraView, ...]:
        """The cameras as the diagnostics see them."""
        return tuple(camera.view() for camera in self._cameras.values())

    def _make_worker(self) -> FrameWorker[CameraFrame]:
        options = self.processor.in_use.parameters.options
        limit_mib = options.keep_all_mib

        def superseded(frame: CameraFrame) -> None:
            self._reporter.superseded(frame.camera)

        def no_room(frame: CameraFrame) -> None:
            self._reporter.no_room(frame.camera, limit_mib)

        def discarded(frame: CameraFrame) -> None:
            self._reporter.discarded(frame.camera)

        def size_bytes(frame: CameraFrame) -> int:
            return len(frame.message.data)

        keep_all = options.keep_all
        return FrameWorker(
            AllFrames(size_bytes, limit_mib << 20) if keep_all else NewestFrames(),
            self.processor.process,
            self.processor.drop,
            no_room if keep_all else superseded,
            discarded,
            options.camera_batch,
        )

    def _publish_vocabulary(self, in_use: VocabularyInUse) -> None:
        self._vocabulary_publishers.publish(
            self._node.get_clock().now().to_msg(),
            in_use.compiled.vocabulary,
            in_use.version,
            in_use.compiled.background_id,
            in_use.parameters.settings.confidence_threshold,
        )
