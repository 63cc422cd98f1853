"""Everything that exists while the node is configured: network, publishers, camera and worker."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode

from activesam_ros.errors import ActiveSamError, UsageError
from activesam_ros.node.camera import Camera, Frame
from activesam_ros.node.diagnostics import CameraView
from activesam_ros.node.engine import Engine, Prompted
from activesam_ros.node.images import Converter
from activesam_ros.node.options import NodeParameters
from activesam_ros.node.publishers import Publishers
from activesam_ros.node.runtime import FrameProcessor, Running, drop_cause
from activesam_ros.node.statistics import FrameStatistics
from activesam_ros.node.worker import FrameWorker
from activesam_ros.prompts.vocabulary import Vocabulary, keep_ids, vocabulary_from_names
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.segmentation.result import Segmentation, Wanted

CAMERA_NAME = "image"


class Session:
    """From configuring to cleaning up.

    Safe to use from the executor's threads; frames are segmented in a thread of its own.
    """

    def __init__(
        self,
        node: LifecycleNode,
        engine: Engine,
        prompted: Prompted,
        parameters: NodeParameters,
        version: int,
        converter: Converter,
        statistics: FrameStatistics,
    ) -> None:
        self.engine = engine
        self.statistics = statistics
        self._node = node
        self._parameters = parameters
        self._publishers = Publishers(node, parameters.options)
        self._processor = FrameProcessor(
            Running(prompted, version, parameters.options),
            converter,
            self,
            statistics,
            now_ns=lambda: int(node.get_clock().now().nanoseconds),
        )
        self._change = threading.Lock()
        self._worker: FrameWorker[Frame] | None = None
        self._camera: Camera | None = None
        self._conflicts: tuple[str, ...] = ()
        self._reported: set[str] = set()

    @property
    def running(self) -> Running:
        """What frames are segmented with now."""
        return self._processor.running

    def activate(self) -> None:
        """Publish the vocabulary and begin to segment what arrives."""
        self.publish_vocabulary(self.running)
        self._worker = FrameWorker(self._processor.process, self._drop)
        self._worker.start()
        self._listen(self._parameters.options.enabled)

    def deactivate(self) -> None:
        """Publish nothing more; returns when the frame in work is done."""
        self._listen(False)
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def close(self) -> None:
        """Deactivate and take the topics away."""
        self.deactivate()
        self._publishers.destroy()

    def apply(self, parameters: NodeParameters) -> None:
        """Put live parameters to use; raises an ActiveSamError and changes nothing."""
        with self._change:
            running = replace(self.running, options=parameters.options)
            if parameters.settings != self._parameters.settings:
                prompted = self.engine.with_settings(running.prompted, parameters.settings)
                running = replace(running, prompted=prompted)
            self._processor.change(running)
            was_enabled = self._parameters.options.enabled
            self._parameters = parameters
        if self._worker is not None and parameters.options.enabled != was_enabled:
            self._listen(parameters.options.enabled)

    def set_vocabulary(self, preset: str, names: Sequence[str]) -> tuple[Running, int]:
        """Compile another vocabulary beside the running one and swap between two frames.

        Returns what runs now and the first image stamp it holds for [ns]. Raises an ActiveSamError
        and changes nothing when the request cannot be used.
        """
        vocabulary = requested_vocabulary(preset, names, self.running.prompted.vocabulary)
        settings = self._parameters.settings
        prompted = self.engine.prompt(vocabulary, settings)
        with self._change:
            if self._parameters.settings != settings:  # changed while the prompts were compiled
                prompted = self.engine.with_settings(prompted, self._parameters.settings)
            version = self.running.version + 1
            running = replace(self.running, prompted=prompted, version=version)
            return running, self._processor.change(running)

    def follow(self) -> None:
        """Adapt to the publishers that are there now; report new conflicts in the log."""
        camera = self._camera
        conflicts = (() if camera is None else camera.follow()) + self._publishers.conflicts()
        for sentence in conflicts:
            if sentence not in self._reported:
                self._node.get_logger().warning(sentence)
        self._reported.update(conflicts)
        self._conflicts = conflicts

    def camera_view(self) -> CameraView:
        """The camera as the diagnostics see it."""
        camera = self._camera
        return CameraView(
            topic="" if camera is None else camera.topic,
            publishers=0 if camera is None else camera.publishers(),
            conflicts=self._conflicts,
            running=self._worker is not None,
            enabled=self._parameters.options.enabled,
            statistics=self.statistics.snapshot(),
        )

    # What the frame processor asks for and hands over

    def wanted(self) -> Wanted:
        """What somebody listens to beyond the mask."""
        return self._publishers.wanted()

    def publish_vocabulary(self, running: Running) -> None:
        """Tell what labels mean from here on."""
        self._publishers.publish_vocabulary(
            self._node.get_clock().now().to_msg(),
            running.prompted.vocabulary,
            running.version,
            self._parameters.settings.confidence_threshold,
        )

    def publish_result(
        self, frame: Frame, image: NDArray[np.uint8], result: Segmentation, running: Running
    ) -> float:
        """Publish everything about a frame; returns the time from receiving it to its mask [ms]."""
        header = frame.message.header
        camera = self._camera
        height, width = result.labels.shape
        info = None if camera is None else camera.camera_info(frame.stamp_ns, width, height)
        self._publishers.publish_mask(header, result, info)
        latency_ms = (time.monotonic() - frame.received_s) * 1e3
        vocabulary = running.prompted.vocabulary
        self._publishers.publish_active_classes(
            header, result, vocabulary, running.version, latency_ms
        )
        self._publishers.publish_overlay(header, image, result, vocabulary, running.options)
        return latency_ms

    # Frames

    def _listen(self, listen: bool) -> None:
        if listen and self._camera is None:
            self.statistics.restart()
            self._camera = Camera(self._node, CAMERA_NAME, self._parameters.options, self._receive)
        elif not listen and self._camera is not None:
            self._camera.close()
            self._camera = None

    def _receive(self, frame: Frame) -> None:
        worker = self._worker
        if worker is None:
            return
        self.statistics.count_received()
        if worker.put(frame.camera, frame) is not None:
            self.statistics.count_superseded()

    def _drop(self, frame: Frame, error: Exception) -> None:
        cause = drop_cause(error)
        if not self.statistics.count_dropped(cause, str(error)):
            return
        text = str(error)
        if not isinstance(error, ActiveSamError):
            text = "".join(traceback.format_exception(error)).rstrip()
        self._node.get_logger().error(
            f"An image of {frame.camera} was dropped ({cause}): {text} Further ones for this cause "
            "are counted in the diagnostics only."
        )


def requested_vocabulary(preset: str, names: Sequence[str], previous: Vocabulary) -> Vocabulary:
    """The vocabulary of a request, with the ids of ``previous`` where names stay.

    Raises UsageError unless exactly one of preset and names is given, VocabularyError when it
    cannot be used.
    """
    if bool(preset) == bool(names):
        raise UsageError(
            "The request must give either a preset or names, not both and not neither."
        )
    if preset:
        return keep_ids(load_vocabulary(preset), previous)
    return vocabulary_from_names(names, previous)
