"""Everything that exists while the node is configured: network, publishers, cameras, worker."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rclpy.lifecycle import LifecycleNode

from activesam_ros.errors import ActiveSamError, UsageError
from activesam_ros.node.budget.memory_retry import is_out_of_memory
from activesam_ros.node.diagnostics import CameraView
from activesam_ros.node.engine import (
    Engine,
    Mode,
    Prompted,
    release_memory,
    warm_passes,
)
from activesam_ros.node.frame_processor import (
    FrameProcessor,
    NoRoomError,
    Running,
    SegmentedFrame,
    drop_cause,
)
from activesam_ros.node.frame_stores import AllFrames, FrameStore, NewestFrames
from activesam_ros.node.parameters.options import NodeParameters
from activesam_ros.node.ros.camera import Frame
from activesam_ros.node.ros.camera_channel import CameraChannel
from activesam_ros.node.ros.publishers import VocabularyPublishers
from activesam_ros.node.statistics import SUPERSEDED, FrameStatistics
from activesam_ros.node.worker import FrameWorker
from activesam_ros.prompts.entries import PromptTokens
from activesam_ros.prompts.vocabulary import Vocabulary, keep_ids, vocabulary_from_names
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.recordings.image_encodings import Converter
from activesam_ros.segmentation.result import Wanted


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
        statistics: Mapping[str, FrameStatistics],
        tokens: PromptTokens,
    ) -> None:
        """``statistics`` by the names of the cameras; ``tokens`` checks vocabularies set later."""
        self.engine = engine
        self._tokens = tokens
        self._node = node
        self._parameters = parameters
        self._vocabulary = VocabularyPublishers(node)
        self._channels = {
            source.name: CameraChannel(
                node, source, parameters.options, statistics[source.name], self._receive
            )
            for source in parameters.inputs
        }
        self._processor = FrameProcessor(
            Running(prompted, version, parameters.options),
            converter,
            self,
            statistics,
            now_ns=lambda: int(node.get_clock().now().nanoseconds),
        )
        self._change = threading.Lock()
        self._closed = threading.Event()
        self._worker: FrameWorker[Frame] | None = None
        self._reported: set[str] = set()

    @property
    def running(self) -> Running:
        """What frames are segmented with now."""
        return self._processor.running

    @property
    def mode(self) -> Mode:
        """How the next frames are segmented, by the latency budget."""
        return self._processor.mode

    @property
    def bucket_size(self) -> int:
        """How many queries go through the network at once, by the memory there is."""
        return self._processor.bucket_size

    @property
    def frames_waiting(self) -> int:
        """Images of all cameras that wait or are in work."""
        worker = self._worker
        return 0 if worker is None else worker.unfinished

    def activate(self) -> None:
        """Publish the vocabulary and begin to segment what arrives."""
        self.publish_vocabulary(self.running)
        self._worker = FrameWorker(
            self._store(), self._processor.process, self.drop, self._parameters.options.camera_batch
        )
        self._worker.start()
        self._listen(self._parameters.options.enabled)

    def deactivate(self) -> None:
        """Publish nothing more; returns when the frames in work are done."""
        self._listen(False)
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def close(self) -> None:
        """Deactivate and destroy the publishers.

        A change that is being put in place ends first; later ones are refused.
        """
        self._closed.set()
        with self._change:
            pass
        self.deactivate()
        for channel in self._channels.values():
            channel.close()
        self._vocabulary.destroy()

    def apply(self, parameters: NodeParameters) -> None:
        """Put live parameters to use; raises an ActiveSamError and changes nothing."""
        with self._change:
            self._refuse_when_closed()
            running = replace(self.running, options=parameters.options)
            budget_ms = self._parameters.options.max_latency_ms
            budget_begins = parameters.options.max_latency_ms > 0 >= budget_ms
            if _shapes_modes(parameters) != _shapes_modes(self._parameters):
                prompted = self.engine.with_parameters(running.prompted, parameters)
                if budget_begins:
                    self._warm_beside(prompted, parameters)
                running = replace(running, prompted=prompted)
            self._processor.change(running)
            was_enabled = self._parameters.options.enabled
            self._parameters = parameters
        for source in parameters.inputs:
            self._channels[source.name].apply(source, parameters.options)
        if self._worker is not None and parameters.options.enabled != was_enabled:
            self._listen(parameters.options.enabled)

    def set_vocabulary(self, preset: str, names: Sequence[str]) -> tuple[Running, int]:
        """Compile and warm another vocabulary beside the running one and swap between two frames.

        Returns what runs now and the first image stamp it holds for [ns]. Raises an ActiveSamError
        and changes nothing when the request cannot be used, or the session is closed meanwhile.
        """
        previous = self.running.prompted.vocabulary
        vocabulary = requested_vocabulary(preset, names, previous, self._tokens)
        parameters = self._parameters
        prompted = self.engine.prompt(vocabulary, parameters)
        self._warm_beside(prompted, parameters)
        with self._change:
            # Parameters may have changed meanwhile; frames do not wait for this lock.
            if _shapes_modes(self._parameters) != _shapes_modes(parameters):
                prompted = self.engine.with_parameters(prompted, self._parameters)
                self._warm_beside(prompted, self._parameters)
            self._refuse_when_closed()
            version = self.running.version + 1
            running = replace(self.running, prompted=prompted, version=version)
            return running, self._processor.change(running)

    def _warm_beside(self, prompted: Prompted, parameters: NodeParameters) -> None:
        """Warm what is to run next while frames are segmented with what runs now."""
        if not parameters.options.warm_up:
            return
        try:
            for warm in warm_passes(prompted, warm_batch(parameters)):
                self._refuse_when_closed()
                warm()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            text = str(error)
        else:
            return
        release_memory()  # after the error, whose traceback holds tensors
        self.note(
            f"There is no memory to warm the vocabulary {prompted.vocabulary.name} beside what "
            f"runs: {text} It is used all the same; its first images may take longer."
        )

    def _refuse_when_closed(self) -> None:
        if self._closed.is_set():
            raise UsageError(
                "The node was cleaned up or shut down before this was ready; nothing has changed."
            )

    def follow(self) -> None:
        """Adapt to the publishers that are there now; report new conflicts in the log."""
        conflicts = [
            sentence for channel in self._channels.values() for sentence in channel.follow()
        ]
        for sentence in conflicts:
            if sentence not in self._reported:
                self._node.get_logger().warning(sentence)
        self._reported.update(conflicts)

    def camera_views(self) -> tuple[CameraView, ...]:
        """The cameras as the diagnostics see them."""
        running = self._worker is not None
        return tuple(channel.view(running) for channel in self._channels.values())

    # What the frame processor asks for and hands over

    def wanted(self, camera: str) -> Wanted:
        """What somebody listens to of a camera beyond the mask."""
        return self._channels[camera].wanted()

    def publish_vocabulary(self, running: Running) -> None:
        """Tell what labels mean from here on."""
        self._vocabulary.publish(
            self._node.get_clock().now().to_msg(),
            running.prompted.vocabulary,
            running.version,
            self._parameters.settings.confidence_threshold,
        )

    def publish_result(self, segmented: SegmentedFrame) -> float:
        """Publish everything about a frame; returns the time from receiving it to its mask [ms]."""
        return self._channels[segmented.frame.camera].publish(segmented)

    def drop(self, frame: Frame, error: Exception) -> None:
        """Count a frame that cannot be used, and report the first for each cause."""
        cause = drop_cause(error)
        if not self._channels[frame.camera].statistics.count_dropped(cause, str(error)):
            return
        text = str(error)
        if not isinstance(error, ActiveSamError):
            text = "".join(traceback.format_exception(error)).rstrip()
        self._node.get_logger().error(
            f"An image of {frame.camera} was dropped ({cause}): {text} Further ones for this cause "
            "are counted in the diagnostics only."
        )

    def note(self, text: str) -> None:
        """Warn the operator."""
        self._node.get_logger().warning(text)

    # Frames

    def _store(self) -> FrameStore[Frame]:
        options = self._parameters.options
        if options.keep_all:
            return AllFrames(lambda frame: len(frame.message.data), options.keep_all_mib << 20)
        return NewestFrames()

    def _listen(self, listen: bool) -> None:
        for channel in self._channels.values():
            channel.listen(listen)

    def _receive(self, frame: Frame) -> None:
        worker = self._worker
        if worker is None:
            return
        placeless = worker.put(frame.camera, frame)
        if placeless is None:
            return
        options = self._parameters.options
        if options.keep_all:
            self.drop(
                frame,
                NoRoomError(
                    f"the images that wait fill keep_all_mib={options.keep_all_mib}, so not every "
                    "image is segmented; play the recording slower or allow more memory."
                ),
            )
        else:
            self._channels[frame.camera].statistics.count_left_out(SUPERSEDED)


def _shapes_modes(parameters: NodeParameters) -> tuple[object, ...]:
    """What segmenters are made from."""
    options = parameters.options
    return (
        parameters.settings,
        options.max_latency_ms > 0,
        options.budget_preview_interval,
        options.budget_max_active,
    )


def warm_batch(parameters: NodeParameters) -> int:
    """How many images may be encoded at once: those of as many cameras as there are."""
    return min(parameters.options.camera_batch, len(parameters.inputs))


def requested_vocabulary(
    preset: str,
    names: Sequence[str],
    previous: Vocabulary,
    tokens: PromptTokens | None = None,
) -> Vocabulary:
    """The vocabulary of a request, with the ids of ``previous`` where names stay.

    tokens: counts the prompts' tokens, a new tokenizer if None, which takes 26 MB for a moment.

    Raises UsageError unless exactly one of preset and names is given, VocabularyError when it
    cannot be used.
    """
    if bool(preset) == bool(names):
        raise UsageError(
            "The request must give either a preset or names, not both and not neither."
        )
    if preset:
        return keep_ids(load_vocabulary(preset, tokens), previous)
    return vocabulary_from_names(names, previous, tokens=tokens)
