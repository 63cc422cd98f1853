"""A frame's way, and changes between two frames, without a network or DDS."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from activesam_ros.errors import UsageError, VocabularyError
from activesam_ros.node.budget.degradation import BudgetLevel, Step
from activesam_ros.node.budget.latency_budget import EASY_FRAMES, LATE_FRAMES
from activesam_ros.node.engine import Mode, Prompted, release_memory, settle_memory, warm_up
from activesam_ros.node.frame_processor import (
    FrameProcessor,
    NoRoomError,
    Running,
    SegmentedFrame,
    TooOldError,
    drop_cause,
)
from activesam_ros.node.parameters.options import NodeOptions
from activesam_ros.node.ros.camera import Frame
from activesam_ros.node.session import requested_vocabulary
from activesam_ros.node.statistics import FrameStatistics
from activesam_ros.prompts.vocabulary import Vocabulary, vocabulary_from_names
from activesam_ros.recordings.image_encodings import Cause, RejectedImageError, RosbagsConverter
from activesam_ros.segmentation.active_set import Chooser
from activesam_ros.segmentation.result import Segmentation, Wanted
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
    bucket_size: int = 32
    most_buckets: int = 1024
    most_images: int = 8

    def segment_batch(
        self,
        images: Sequence[NDArray[np.uint8]],
        wanted: Sequence[Wanted],
        choosers: Sequence[Chooser | None],
    ) -> Iterator[Segmentation]:
        self.wanted += wanted
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
class FakeOutputs:
    """Remembers what was published, in order; latencies are as told."""

    published: list[tuple[str, int]] = field(default_factory=list)
    dropped: list[tuple[str, Exception]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    latency_ms: float = 5.0

    def wanted(self, camera: str) -> Wanted:
        return Wanted(confidence=camera == "image")

    def publish_result(self, segmented: SegmentedFrame) -> float:
        self.published.append(("mask", int(segmented.result.labels[0, 0])))
        return self.latency_ms

    def publish_vocabulary(self, running: Running) -> None:
        self.published.append(("vocabulary", running.version))

    def drop(self, frame: Frame, error: Exception) -> None:
        self.dropped.append((frame.camera, error))

    def note(self, text: str) -> None:
        self.notes.append(text)


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


def running(
    label: int, version: int, options: NodeOptions | None = None, levels: Sequence[BudgetLevel] = ()
) -> Running:
    modes = [
        Mode(level, FakeSegmenter(label + place)) for place, level in enumerate((NOTHING, *levels))
    ]
    return Running(
        Prompted(VOCABULARY, tuple(modes), cache_hit=False), version, options or NodeOptions()
    )


def segmenter_of(state: Running, level: int = 0) -> FakeSegmenter:
    segmenter = state.prompted.modes[level].segmenter
    assert isinstance(segmenter, FakeSegmenter)
    return segmenter


def frame(stamp_ns: int = SECOND_NS, encoding: str = "rgb8", camera: str = "image") -> Frame:
    message = Image(height=2, width=3, encoding=encoding, step=9, data=[0] * 18)
    return Frame(camera, message, stamp_ns, received_s=0.0)


def processor(
    state: Running, outputs: FakeOutputs, now_ns: int = SECOND_NS
) -> tuple[FrameProcessor, FrameStatistics]:
    statistics = {name: FrameStatistics() for name in ("image", "left")}
    return (
        FrameProcessor(state, RosbagsConverter(), outputs, statistics, now_ns=lambda: now_ns),
        statistics["image"],
    )


def test_a_frame_is_segmented_published_and_counted() -> None:
    outputs, state = FakeOutputs(), running(label=4, version=1)
    process, statistics = processor(state, outputs)
    process.process([frame()])
    assert outputs.published == [("mask", 4)]
    assert segmenter_of(state).wanted == [Wanted(confidence=True)]
    snapshot = statistics.snapshot()
    assert snapshot.segmented == 1
    assert snapshot.latency_ms["latency"].p50 == 5.0
    assert {"wait", "convert", "segment", "publish", "segment.total"} < set(snapshot.latency_ms)


def test_an_unusable_frame_is_dropped_and_publishes_nothing() -> None:
    outputs = FakeOutputs()
    process, statistics = processor(running(label=4, version=1), outputs)
    process.process([frame(encoding="unheard_of")])
    ((camera, error),) = outputs.dropped
    assert camera == "image"
    assert isinstance(error, RejectedImageError)
    assert outputs.published == []
    assert statistics.snapshot().segmented == 0
    process.process([frame()])
    assert outputs.published == [("mask", 4)]


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
    outputs = FakeOutputs()
    options = NodeOptions(max_image_age_ms=max_age_ms)
    process, _ = processor(running(label=1, version=1, options=options), outputs)
    if is_used:
        process.process([frame(stamp_ns)])
        assert outputs.published == [("mask", 1)]
    else:
        process.process([frame(stamp_ns)])
        ((_, error),) = outputs.dropped
        assert isinstance(error, TooOldError)
        assert "101 ms old, more than max_image_age_ms=100" in str(error)
        assert "use_sim_time" in str(error)


def test_a_vocabulary_changes_between_two_frames() -> None:
    outputs, old = FakeOutputs(), running(label=1, version=1)
    go_on = segmenter_of(old).go_on = threading.Event()
    process, _ = processor(old, outputs)
    new = running(label=2, version=2)
    stamps: list[int] = []
    working = threading.Thread(target=process.process, args=([frame(stamp_ns=700)],))
    working.start()
    assert segmenter_of(old).entered.wait(TIMEOUT_S)
    changing = threading.Thread(target=lambda: stamps.append(process.change(new)))
    changing.start()
    assert process.running is old, "the frame in work ends with what it began with"
    go_on.set()
    working.join(TIMEOUT_S)
    changing.join(TIMEOUT_S)
    process.process([frame(stamp_ns=800)])
    assert outputs.published == [("mask", 1), ("vocabulary", 2), ("mask", 2)]
    assert stamps == [701]


def test_a_change_before_any_frame_holds_from_the_beginning() -> None:
    process, _ = processor(running(label=1, version=1), FakeOutputs())
    assert process.change(running(label=2, version=2)) == 0


def test_other_settings_are_no_other_vocabulary() -> None:
    outputs, state = FakeOutputs(), running(label=1, version=1)
    process, _ = processor(state, outputs)
    process.change(replace(state, options=NodeOptions(overlay_opacity=0.1)))
    assert outputs.published == []
    assert process.running.options.overlay_opacity == 0.1


def test_frames_of_several_cameras_are_segmented_at_once() -> None:
    outputs, state = FakeOutputs(), running(label=4, version=1)
    process, statistics = processor(state, outputs)
    process.process([frame(), frame(camera="left", encoding="unheard_of"), frame(camera="left")])
    assert segmenter_of(state).batches == [2]
    assert segmenter_of(state).wanted == [Wanted(confidence=True), Wanted()]
    assert outputs.published == [("mask", 4)] * 2
    assert [camera for camera, _ in outputs.dropped] == ["left"]
    assert statistics.snapshot().segmented == 1


def test_without_memory_frames_go_one_by_one_and_then_in_smaller_buckets() -> None:
    outputs, state = FakeOutputs(), running(label=4, version=1)
    fake = segmenter_of(state)
    fake.most_images, fake.most_buckets = 1, 2
    process, _ = processor(state, outputs)
    process.process([frame(), frame(camera="left")])
    assert list(zip(fake.batches, fake.buckets, strict=True)) == [
        (2, 32),
        (1, 32),
        (1, 8),
        (1, 2),
        (1, 2),  # the other camera's, which need not fail first
    ]
    assert outputs.published == [("mask", 4)] * 2
    assert outputs.dropped == []
    assert process.bucket_size == 2
    assert "bucket_size 8 instead of 32" in outputs.notes[0]


def test_a_frame_there_is_no_memory_for_is_skipped() -> None:
    outputs, state = FakeOutputs(), running(label=4, version=1)
    fake = segmenter_of(state)
    fake.most_buckets = 0
    process, _ = processor(state, outputs)
    process.process([frame()])
    assert fake.buckets == [32, 8, 2, 1]
    ((_, error),) = outputs.dropped
    assert drop_cause(error) == "out_of_memory"
    assert "Tried to allocate 2 GiB" in str(error)
    fake.most_buckets = 1024
    process.process([frame()])
    assert outputs.published == [("mask", 4)]


PREVIEWS = BudgetLevel(
    Step.PREVIEWS,
    Settings(streaming=True, preview_interval=3),
    ("every class previewed once in 3 frames",),
)
CLASSES = BudgetLevel(Step.CLASSES, PREVIEWS.settings.replace({"max_active": 2}))


def test_late_frames_take_a_step_after_the_other_and_easy_ones_take_them_back() -> None:
    outputs = FakeOutputs(latency_ms=150.0)
    options = NodeOptions(max_latency_ms=100.0)
    state = running(label=1, version=1, options=options, levels=(PREVIEWS, CLASSES))
    process, _ = processor(state, outputs)
    for _ in range(LATE_FRAMES):
        process.process([frame()])
    assert process.mode.level is PREVIEWS
    for _ in range(LATE_FRAMES):
        process.process([frame()])
    assert process.mode.level is CLASSES
    assert segmenter_of(state, 0).previewed == [0, 0, 0], "of its own choice"
    assert segmenter_of(state, 1).previewed == [2, 0, 0], "all of it first, then what is inactive"
    outputs.latency_ms = 10.0
    for _ in range(2 * EASY_FRAMES):
        process.process([frame()])
    assert process.mode.level is NOTHING
    assert [label for _, label in outputs.published[:7]] == [1, 1, 1, 2, 2, 2, 3]
    assert "every class previewed once in 3 frames" in outputs.notes[0]
    assert "nothing is left out" in outputs.notes[-1]
    assert len(outputs.notes) == 4


def test_every_level_is_warmed_with_every_number_of_images() -> None:
    state = running(label=1, version=1, levels=(PREVIEWS, CLASSES))
    warm_up(state.prompted, batch=3)
    for level in range(3):
        assert segmenter_of(state, level).batches == [1, 2, 3]


def test_a_stream_is_warmed_with_a_full_preview_and_a_slice() -> None:
    names = [f"class {number}" for number in range(10)]
    settings = Settings(max_active=2, preview_interval=5, streaming=True)
    segmenter = FakeSegmenter(label=1)
    mode = Mode(BudgetLevel(Step.NOTHING, settings), segmenter)
    warm_up(Prompted(vocabulary_from_names(names), (mode,), cache_hit=False), batch=2)
    assert segmenter.previewed == [10, 2, 10, 10, 2, 2]


def test_a_stream_ends_when_a_step_is_taken_back() -> None:
    names = [f"class {number}" for number in range(10)]
    options = NodeOptions(max_latency_ms=100.0)
    state = running(label=1, version=1, options=options, levels=(PREVIEWS,))
    vocabulary = vocabulary_from_names(names)
    state = replace(state, prompted=replace(state.prompted, vocabulary=vocabulary))
    outputs = FakeOutputs()
    process, _ = processor(state, outputs)

    def pass_frames(count: int, latency_ms: float) -> None:
        outputs.latency_ms = latency_ms
        for _ in range(count):
            process.process([frame()])

    pass_frames(LATE_FRAMES, latency_ms=150.0)
    pass_frames(EASY_FRAMES, latency_ms=10.0)
    assert process.mode.level is NOTHING
    pass_frames(LATE_FRAMES + 1, latency_ms=150.0)
    first, *later, last = segmenter_of(state, 1).previewed
    assert (first, last) == (10, 10)
    assert 10 not in later


def test_what_was_settled_is_freed_when_it_is_dropped() -> None:
    class Knot:
        """Refers to itself, so that only the garbage collector can free it."""

        def __init__(self) -> None:
            self.itself = self

    knot = Knot()
    settled = weakref.ref(knot)
    settle_memory()
    del knot
    gc.collect()
    assert settled() is not None, "the collector passes over it"
    later = weakref.ref(Knot())
    gc.collect()
    assert later() is None, "and finds what comes later"
    release_memory()
    assert settled() is None
    gc.unfreeze()


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RejectedImageError(Cause.WRONG_STEP, "step 3"), "wrong_step"),
        (TooOldError("old"), "too_old"),
        (NoRoomError("full"), "no_room"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (RuntimeError("shape 3 does not fit 4"), "failed_RuntimeError"),
    ],
)
def test_causes_do_not_depend_on_numbers_in_messages(error: Exception, cause: str) -> None:
    assert drop_cause(error) == cause


@pytest.mark.parametrize(("preset", "names"), [("", []), ("driving", ["road"])])
def test_a_request_gives_either_a_preset_or_names(preset: str, names: list[str]) -> None:
    with pytest.raises(UsageError, match="either a preset or names"):
        requested_vocabulary(preset, names, VOCABULARY)


def ids(vocabulary: Vocabulary) -> dict[str, int]:
    return {entry.name: entry.id for entry in vocabulary.classes}


def test_ids_of_names_that_stay_keep_their_value() -> None:
    before = ids(VOCABULARY)
    after = ids(requested_vocabulary("", ["dog", "car"], VOCABULARY))
    assert after["car"] == before["car"]
    assert after["dog"] not in before.values()
    preset = ids(requested_vocabulary("cityscapes", [], VOCABULARY))
    assert preset["road"] == before["road"]
    assert preset["car"] == before["car"]


def test_a_request_that_cannot_be_used_is_refused() -> None:
    for preset, names in (("no_such_preset", []), ("", ["a", "a"]), ("", [" "])):
        with pytest.raises(VocabularyError):
            requested_vocabulary(preset, names, VOCABULARY)
