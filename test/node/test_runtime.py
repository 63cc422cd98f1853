"""A frame's way, and changes between two frames, without a network or DDS."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from activesam_ros.errors import UsageError, VocabularyError
from activesam_ros.node.camera import Frame
from activesam_ros.node.engine import Prompted
from activesam_ros.node.images import Cause, RejectedImageError, RosbagsConverter
from activesam_ros.node.options import NodeOptions
from activesam_ros.node.runtime import FrameProcessor, Running, TooOldError, drop_cause
from activesam_ros.node.session import requested_vocabulary
from activesam_ros.node.statistics import FrameStatistics
from activesam_ros.prompts.vocabulary import Vocabulary, vocabulary_from_names
from activesam_ros.segmentation.result import Segmentation, Wanted

TIMEOUT_S = 30
SECOND_NS = 1_000_000_000


@dataclass
class FakeSegmenter:
    """Labels every pixel with ``label``; waits where told to."""

    label: int
    entered: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event | None = None
    wanted: list[Wanted] = field(default_factory=list)

    def segment(self, image: NDArray[np.uint8], wanted: Wanted = Wanted()) -> Segmentation:  # noqa: B008
        self.wanted.append(wanted)
        self.entered.set()
        if self.go_on is not None:
            assert self.go_on.wait(TIMEOUT_S)
        labels = np.full(image.shape[:2], self.label, np.uint8)
        return Segmentation(labels, (), (), (), {"total": 1.0})


@dataclass
class FakeOutputs:
    """Remembers what was published, in order."""

    published: list[tuple[str, int]] = field(default_factory=list)

    def wanted(self) -> Wanted:
        return Wanted(confidence=True)

    def publish_result(
        self, frame: Frame, image: NDArray[np.uint8], result: Segmentation, running: Running
    ) -> float:
        self.published.append(("mask", int(result.labels[0, 0])))
        return 5.0

    def publish_vocabulary(self, running: Running) -> None:
        self.published.append(("vocabulary", running.version))


VOCABULARY = vocabulary_from_names(["road", "car"])


def running(label: int, version: int, options: NodeOptions | None = None) -> Running:
    prompted = Prompted(VOCABULARY, FakeSegmenter(label), cache_hit=False)
    return Running(prompted, version, options or NodeOptions())


def segmenter_of(state: Running) -> FakeSegmenter:
    assert isinstance(state.prompted.segmenter, FakeSegmenter)
    return state.prompted.segmenter


def frame(stamp_ns: int = SECOND_NS, encoding: str = "rgb8") -> Frame:
    message = Image(height=2, width=3, encoding=encoding, step=9, data=[0] * 18)
    return Frame("image", message, stamp_ns, received_s=0.0)


def processor(
    state: Running, outputs: FakeOutputs, now_ns: int = SECOND_NS
) -> tuple[FrameProcessor, FrameStatistics]:
    statistics = FrameStatistics()
    return (
        FrameProcessor(state, RosbagsConverter(), outputs, statistics, now_ns=lambda: now_ns),
        statistics,
    )


def test_a_frame_is_segmented_published_and_counted() -> None:
    outputs, state = FakeOutputs(), running(label=4, version=1)
    process, statistics = processor(state, outputs)
    process.process(frame())
    assert outputs.published == [("mask", 4)]
    assert segmenter_of(state).wanted == [Wanted(confidence=True)]
    snapshot = statistics.snapshot()
    assert snapshot.segmented == 1
    assert snapshot.latency_ms["latency"].p50 == 5.0
    assert {"wait", "convert", "segment", "publish", "segment.total"} < set(snapshot.latency_ms)


def test_an_unusable_frame_raises_and_publishes_nothing() -> None:
    outputs = FakeOutputs()
    process, statistics = processor(running(label=4, version=1), outputs)
    with pytest.raises(RejectedImageError):
        process.process(frame(encoding="unheard_of"))
    assert outputs.published == []
    assert statistics.snapshot().segmented == 0
    process.process(frame())
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
        process.process(frame(stamp_ns))
        assert outputs.published == [("mask", 1)]
    else:
        with pytest.raises(TooOldError, match=r"101 ms old, more than max_image_age_ms=100.*sim"):
            process.process(frame(stamp_ns))


def test_a_vocabulary_changes_between_two_frames() -> None:
    outputs, old = FakeOutputs(), running(label=1, version=1)
    go_on = segmenter_of(old).go_on = threading.Event()
    process, _ = processor(old, outputs)
    new = running(label=2, version=2)
    stamps: list[int] = []
    working = threading.Thread(target=process.process, args=(frame(stamp_ns=700),))
    working.start()
    assert segmenter_of(old).entered.wait(TIMEOUT_S)
    changing = threading.Thread(target=lambda: stamps.append(process.change(new)))
    changing.start()
    assert process.running is old, "the frame in work ends with what it began with"
    go_on.set()
    working.join(TIMEOUT_S)
    changing.join(TIMEOUT_S)
    process.process(frame(stamp_ns=800))
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


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RejectedImageError(Cause.WRONG_STEP, "step 3"), "wrong_step"),
        (TooOldError("old"), "too_old"),
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
