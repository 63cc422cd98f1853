"""A frame's way, and changes between two frames, without a network or DDS."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import cv2
import numpy as np
import pytest
import torch
from activesam_ros.msg import ActiveClasses
from numpy.typing import NDArray
from rclpy.impl.rcutils_logger import RcutilsLogger
from sensor_msgs.msg import CompressedImage, Image

from activesam_ros.node.budget.degradation import BudgetLevel, Step
from activesam_ros.node.budget.latency_budget import EASY_FRAMES, LATE_FRAMES
from activesam_ros.node.dropped_frames import FrameReporter
from activesam_ros.node.engine import CompiledVocabulary
from activesam_ros.node.frame_processor import FrameProcessor, VocabularyInUse
from activesam_ros.node.parameters.options import NodeOptions, NodeParameters
from activesam_ros.node.ros.camera import Camera, CameraFrame
from activesam_ros.node.statistics import FrameStatistics
from activesam_ros.prompts.vocabulary import Vocabulary, vocabulary_from_names
from activesam_ros.recordings.image_encodings import RosbagsConverter
from activesam_ros.segmentation.active_set import Chooser
from activesam_ros.segmentation.result import Segmentation, Wanted
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.settings import Settings

TIMEOUT_S = 30
SECOND_NS = 1_000_000_000


@dataclass
class FakeSegmenter:
    """Labels every pixel with ``label``; waits, and runs out of memory, where told to."""

    label: int
    entered: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event | None = None
    wanted: list[Wanted] = field(default_factory=list)
    previewed: list[int] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    buckets: list[int] = field(default_factory=list)
    images: list[NDArray[np.uint8]] = field(default_factory=list)
    bucket_size: int = 32
    most_buckets: int = 1024
    most_images: int = 8
    background_id: int = 0

    def segment_batch(
        self,
        images: Sequence[NDArray[np.uint8]],
        wanted: Sequence[Wanted],
        choosers: Sequence[Chooser | None],
    ) -> Iterator[Segmentation]:
        self.wanted += wanted
        self.images += images
        self.previewed += [_previewed(chooser) for chooser in choosers]
        self.batches.append(len(images))
        self.buckets.append(self.bucket_size)
        self.entered.set()
        if self.go_on is not None:
            assert self.go_on.wait(TIMEOUT_S)
        if self.bucket_size > self.most_buckets or len(images) > self.most_images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        for image in images:
            labels = np.full(image.shape[:2], self.label, np.uint8)
            yield Segmentation(labels, (0.5,), (0,), (), {"total": 1.0})

    def with_bucket_size(self, bucket_size: int) -> FakeSegmenter:
        return replace(self, bucket_size=bucket_size)  # which shares the lists


@dataclass
class FakeLogger:
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def warning(self, message: str) -> None:
        self.warnings.append(message)

    def error(self, message: str) -> None:
        self.errors.append(message)


class FakePublishers:
    """Notes what is published, in order; fails for the outputs named in ``broken``."""

    def __init__(self, camera: str, published: list[tuple[str, Any]], broken: set[str]) -> None:
        self._camera = camera
        self._published = published
        self._broken = broken

    def wanted(self) -> Wanted:
        return Wanted(confidence=self._camera == "image")

    def publish_mask(self, header: Any, labels: NDArray[np.uint8]) -> None:
        self._publish("mask", int(labels[0, 0]))

    def publish_camera_info(self, header: Any, camera_info: Any) -> None:
        self._publish("camera_info", camera_info)

    def publish_compressed_mask(self, header: Any, labels: Any) -> None:
        self._publish("compressed_mask", None)

    def publish_confidence(self, header: Any, confidence: Any) -> None:
        self._publish("confidence", confidence)

    def publish_active_classes(self, message: ActiveClasses) -> None:
        self._publish("active_classes", (message.vocabulary_version, message.degradation))

    def publish_overlay(
        self, header: Any, image: Any, labels: Any, vocabulary: Any, options: NodeOptions
    ) -> None:
        self._publish("overlay", options.overlay_opacity)

    def _publish(self, output: str, value: Any) -> None:
        if output in self._broken:
            raise RuntimeError(f"{output} is broken")
        self._published.append((output, value))


@dataclass
class FakeCamera:
    publishers: FakePublishers
    statistics: FrameStatistics

    def camera_info(self, stamp: int, width: int, height: int) -> str:
        return f"{width}x{height}"


class Rig:
    """A frame processor with two cameras, ``image`` and ``left``, and all that comes out of it."""

    def __init__(self, active: VocabularyInUse, now_ns: int = SECOND_NS) -> None:
        self.published: list[tuple[str, Any]] = []
        self.broken: set[str] = set()
        self.logger = FakeLogger()
        self.statistics = {name: FrameStatistics() for name in ("image", "left")}
        cameras = {
            name: FakeCamera(FakePublishers(name, self.published, self.broken), statistics)
            for name, statistics in self.statistics.items()
        }
        self.processor = FrameProcessor(
            active,
            RosbagsConverter(),
            cast("Mapping[str, Camera]", cameras),
            FrameReporter(cast("RcutilsLogger", self.logger), self.statistics),
            lambda vocabulary: self.published.append(("vocabulary", vocabulary.version)),
            now_ns=lambda: now_ns,
        )

    def process(self, *frames: CameraFrame) -> None:
        self.processor.process(frames)

    def drops(self, camera: str = "image") -> Mapping[str, int]:
        return self.statistics[camera].snapshot().drops

    def segmented(self, camera: str = "image") -> int:
        return self.statistics[camera].snapshot().segmented

    @property
    def labels(self) -> list[tuple[str, Any]]:
        """The masks and vocabularies published."""
        return [entry for entry in self.published if entry[0] in ("mask", "vocabulary")]


def _previewed(chooser: Chooser | None) -> int:
    """How many queries a frame previews with a chooser, by which it then goes; 0 with none."""
    if chooser is None:
        return 0
    queries = chooser.choose_preview(np.zeros((8, 8, 3), np.uint8))
    chosen = chooser.choose_decode(torch.full((len(queries),), 0.5))
    chooser.finish(dict.fromkeys(chosen, 0.0))
    return len(queries)


VOCABULARY = vocabulary_from_names(["road", "car"])
NOTHING = BudgetLevel(Step.NOTHING, Settings())


def active_with(
    label: int,
    version: int = 1,
    options: NodeOptions | None = None,
    levels: Sequence[BudgetLevel] = (),
    vocabulary: Vocabulary = VOCABULARY,
) -> VocabularyInUse:
    """Its first segmenter gives every pixel ``label``, that of each further level one more."""
    segmenters = tuple(FakeSegmenter(label + place) for place in range(1 + len(levels)))
    fakes = cast("tuple[Segmenter, ...]", segmenters)
    compiled = CompiledVocabulary(vocabulary, (NOTHING, *levels), fakes, cache_hit=False)
    return VocabularyInUse(compiled, version, NodeParameters(options or NodeOptions()))


def segmenter_of(active: VocabularyInUse, level: int = 0) -> FakeSegmenter:
    return cast("FakeSegmenter", active.compiled.segmenters[level])


def frame(
    stamp_ns: int = SECOND_NS, encoding: str = "rgb8", camera: str = "image", age_s: float = 0.0
) -> CameraFrame:
    """An image of 3x2 pixels that was received ``age_s`` ago."""
    message = Image(height=2, width=3, encoding=encoding, step=9, data=[0] * 18)
    return CameraFrame(camera, message, stamp_ns, time.monotonic() - age_s)


def test_a_frame_is_segmented_published_and_counted() -> None:
    active = active_with(label=4, options=NodeOptions(overlay_opacity=0.3))
    rig = Rig(active)
    rig.process(frame(age_s=5.0))
    assert rig.published == [
        ("mask", 4),
        ("camera_info", "3x2"),
        ("compressed_mask", None),
        ("confidence", None),
        ("active_classes", (1, Step.NOTHING)),
        ("overlay", 0.3),
    ]
    assert segmenter_of(active).wanted == [Wanted(confidence=True)]
    snapshot = rig.statistics["image"].snapshot()
    assert snapshot.segmented == 1
    assert snapshot.latency_ms["latency"].p50 >= 5000.0
    assert {"wait", "convert", "segment", "publish", "segment.total"} < set(snapshot.latency_ms)


@pytest.mark.parametrize("compressed", [False, True])
def test_the_bit_depth_may_change_between_two_frames(compressed: bool) -> None:
    """12 bits in 16 are nearly black until it is set."""
    steps = np.array([[0, 1024, 4095]], np.uint16)
    message = Image(height=1, width=3, encoding="mono16", step=6, data=list(steps.tobytes()))
    if compressed:
        png = cv2.imencode(".png", steps)[1].tolist()
        message = CompressedImage(format="mono16; png compressed ", data=png)
    active = active_with(label=4)
    rig = Rig(active)
    rig.process(CameraFrame("image", message, SECOND_NS, time.monotonic()))
    parameters = NodeParameters(settings=Settings(bit_depth=12))
    rig.processor.change(replace(active, parameters=parameters))
    rig.process(CameraFrame("image", message, SECOND_NS, time.monotonic()))
    seen = [image[0].tolist() for image in segmenter_of(active).images]
    assert seen == [[[value] * 3 for value in row] for row in ([0, 4, 16], [0, 64, 255])]


def test_an_unknown_format_is_counted_and_named() -> None:
    rig = Rig(active_with(label=4))
    message = CompressedImage(format="rgb8; tiff compressed bgr8", data=[1, 2, 3])
    rig.process(CameraFrame("image", message, SECOND_NS, time.monotonic()))
    assert rig.drops() == {"unknown_format": 1}
    assert (
        "rgb8; tiff compressed bgr8"
        in rig.statistics["image"].snapshot().problems["unknown_format"]
    )


def test_an_unusable_frame_is_dropped_and_publishes_nothing() -> None:
    rig = Rig(active_with(label=4))
    rig.process(frame(encoding="unheard_of"))
    assert rig.drops() == {"unknown_encoding": 1}
    assert rig.published == []
    assert rig.segmented() == 0
    rig.process(frame())
    assert rig.labels == [("mask", 4)]


@pytest.mark.parametrize(
    "output", ["camera_info", "compressed_mask", "confidence", "active_classes", "overlay"]
)
def test_a_fault_after_the_mask_is_counted_for_itself(output: str) -> None:
    active = active_with(label=4)
    rig = Rig(active)
    rig.broken.add(output)
    for _ in range(2):
        rig.process(frame(), frame(camera="left"))
    assert segmenter_of(active).batches == [2, 2], "no frame is segmented again"
    assert rig.labels == [("mask", 4)] * 4
    assert len(rig.published) == 4 * 5, "the other outputs are published"
    for camera in ("image", "left"):
        snapshot = rig.statistics[camera].snapshot()
        assert (snapshot.segmented, snapshot.dropped) == (2, 0)
        assert snapshot.output_failures == {output: 2}
        assert snapshot.output_problems == {output: f"{output} is broken"}
        assert snapshot.problems == {}
    errors = rig.logger.errors
    assert len(errors) == 2, "once for each camera"
    assert all(f"The output {output} of" in text for text in errors)


def test_a_frame_whose_mask_cannot_be_published_is_dropped_and_the_next_one_goes_on() -> None:
    active = active_with(label=4)
    rig = Rig(active)
    rig.broken.add("mask")
    rig.process(frame(), frame(camera="left"))
    assert segmenter_of(active).batches == [2], "no frame is segmented again"
    assert rig.published == []
    assert rig.drops("image") == rig.drops("left") == {"failed_RuntimeError": 1}
    rig.broken.clear()
    rig.process(frame())
    assert rig.labels == [("mask", 4)]


@pytest.mark.parametrize(
    ("stamp_ns", "max_age_ms", "is_used"),
    [
        (SECOND_NS, 0.0, True),
        (0, 0.0, True),
        (SECOND_NS, 100.0, True),
        (SECOND_NS - 99_000_000, 100.0, True),
        (SECOND_NS - 101_000_000, 100.0, False),
        (9 * SECOND_NS, 100.0, True),  # from the future
    ],
)
def test_old_frames_are_dropped(stamp_ns: int, max_age_ms: float, is_used: bool) -> None:
    rig = Rig(active_with(label=1, options=NodeOptions(max_image_age_ms=max_age_ms)))
    rig.process(frame(stamp_ns))
    assert rig.labels == ([("mask", 1)] if is_used else [])
    assert rig.drops() == ({} if is_used else {"too_old": 1})


def test_a_vocabulary_changes_between_two_frames() -> None:
    old, new = active_with(label=1), active_with(label=2, version=2)
    go_on = segmenter_of(old).go_on = threading.Event()
    rig = Rig(old)
    stamps: list[int] = []
    working = threading.Thread(target=rig.process, args=(frame(stamp_ns=700),))
    working.start()
    assert segmenter_of(old).entered.wait(TIMEOUT_S)
    changing = threading.Thread(target=lambda: stamps.append(rig.processor.change(new)))
    changing.start()
    assert rig.processor.in_use is old, "a frame ends with the vocabulary it began with"
    go_on.set()
    working.join(TIMEOUT_S)
    changing.join(TIMEOUT_S)
    rig.process(frame(stamp_ns=800))
    assert rig.labels == [("mask", 1), ("vocabulary", 2), ("mask", 2)]
    assert stamps == [701]


def test_a_change_holds_after_the_newest_mask_of_all_cameras() -> None:
    rig = Rig(active_with(label=1))
    rig.process(frame(stamp_ns=100))
    rig.process(frame(stamp_ns=90, camera="left"))
    assert rig.processor.change(active_with(label=2, version=2)) == 101


def test_a_change_before_any_frame_holds_from_the_beginning() -> None:
    rig = Rig(active_with(label=1))
    assert rig.processor.change(active_with(label=2, version=2)) == 0


def test_other_parameters_are_no_other_vocabulary() -> None:
    active = active_with(label=1)
    rig = Rig(active)
    parameters = NodeParameters(NodeOptions(overlay_opacity=0.1))
    rig.processor.change(replace(active, parameters=parameters))
    assert rig.published == []
    rig.process(frame())
    assert rig.published[-1] == ("overlay", 0.1)


def test_another_background_is_published_before_its_masks() -> None:
    active = active_with(label=1)
    rig = Rig(active)
    fakes = (cast("Segmenter", FakeSegmenter(label=9, background_id=9)),)
    rig.processor.change(replace(active, compiled=replace(active.compiled, segmenters=fakes)))
    rig.process(frame())
    assert rig.labels == [("vocabulary", 1), ("mask", 9)]


def test_frames_of_several_cameras_are_segmented_at_once() -> None:
    active = active_with(label=4)
    rig = Rig(active)
    rig.process(frame(), frame(camera="left", encoding="unheard_of"), frame(camera="left"))
    assert segmenter_of(active).batches == [2]
    assert segmenter_of(active).wanted == [Wanted(confidence=True), Wanted()]
    assert rig.labels == [("mask", 4)] * 2
    assert rig.drops("left") == {"unknown_encoding": 1}
    assert (rig.segmented("image"), rig.segmented("left")) == (1, 1)


def test_without_memory_frames_go_one_by_one_and_then_in_smaller_buckets() -> None:
    active = active_with(label=4)
    fake = segmenter_of(active)
    fake.most_images, fake.most_buckets = 1, 2
    rig = Rig(active)
    rig.process(frame(), frame(camera="left"))
    assert list(zip(fake.batches, fake.buckets, strict=True)) == [
        (2, 32),
        (1, 32),
        (1, 8),
        (1, 2),
        (1, 2),  # the other camera's, which need not fail first
    ]
    assert rig.labels == [("mask", 4)] * 2
    assert rig.drops("image") == rig.drops("left") == {}
    assert rig.processor.bucket_size == 2
    assert "bucket_size 8 instead of 32" in rig.logger.warnings[0]


def test_a_frame_there_is_no_memory_for_is_dropped() -> None:
    active = active_with(label=4)
    fake = segmenter_of(active)
    fake.most_buckets = 0
    rig = Rig(active)
    rig.process(frame())
    assert fake.buckets == [32, 8, 2, 1]
    assert rig.drops() == {"out_of_memory": 1}
    assert "Tried to allocate 2 GiB" in rig.logger.errors[0]
    fake.most_buckets = 1024
    rig.process(frame())
    assert rig.labels == [("mask", 4)]


# Far from what processing a frame takes: [s] that it waited before.
LATE_S, EASY_S = 150.0, 10.0
BUDGET = NodeOptions(max_latency_ms=100e3)
PREVIEWS = BudgetLevel(
    Step.PREVIEWS,
    Settings(streaming=True, preview_interval=3),
    ("every query previewed or decoded once in 3 frames",),
)
CLASSES = BudgetLevel(Step.CLASSES, PREVIEWS.settings.replace({"max_active": 2}))


def test_late_frames_take_a_step_after_the_other_and_easy_ones_take_them_back() -> None:
    active = active_with(label=1, options=BUDGET, levels=(PREVIEWS, CLASSES))
    rig = Rig(active)
    for _ in range(LATE_FRAMES):
        rig.process(frame(age_s=LATE_S))
    assert rig.processor.level is PREVIEWS
    for _ in range(LATE_FRAMES):
        rig.process(frame(age_s=LATE_S))
    assert rig.processor.level is CLASSES
    assert segmenter_of(active, 0).previewed == [0, 0, 0], "of its own choice"
    assert segmenter_of(active, 1).previewed == [2, 0, 0], "all of it first, then what is inactive"
    for _ in range(2 * EASY_FRAMES):
        rig.process(frame(age_s=EASY_S))
    assert rig.processor.level is NOTHING
    assert [label for _, label in rig.labels[:7]] == [1, 1, 1, 2, 2, 2, 3]
    steps = [value for output, value in rig.published if output == "active_classes"]
    assert steps[LATE_FRAMES] == (1, Step.PREVIEWS)
    warnings = rig.logger.warnings
    assert "every query previewed or decoded once in 3 frames" in warnings[0]
    assert "nothing is left out" in warnings[-1]
    assert len(warnings) == 4


def test_a_stream_ends_when_a_step_is_taken_back() -> None:
    vocabulary = vocabulary_from_names([f"class {number}" for number in range(10)])
    active = active_with(label=1, options=BUDGET, levels=(PREVIEWS,), vocabulary=vocabulary)
    rig = Rig(active)
    for _ in range(LATE_FRAMES):
        rig.process(frame(age_s=LATE_S))
    for _ in range(EASY_FRAMES):
        rig.process(frame(age_s=EASY_S))
    assert rig.processor.level is NOTHING
    for _ in range(LATE_FRAMES + 1):
        rig.process(frame(age_s=LATE_S))
    first, *later, last = segmenter_of(active, 1).previewed
    assert (first, last) == (10, 10)
    assert 10 not in later
