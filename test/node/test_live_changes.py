"""Live parameters and vocabularies, also without memory and while the session closes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import rclpy
import torch
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode

from activesam_ros.errors import UsageError, VocabularyError
from activesam_ros.node.budget.degradation import BudgetLevel, Step
from activesam_ros.node.engine import CompiledVocabulary, Engine
from activesam_ros.node.frame_processor import VocabularyInUse
from activesam_ros.node.live_changes import requested_vocabulary
from activesam_ros.node.parameters.options import NodeParameters
from activesam_ros.node.ros.publishers import VocabularyPublishers
from activesam_ros.node.session import Session
from activesam_ros.node.statistics import FrameStatistics
from activesam_ros.prompts.vocabulary import Vocabulary, vocabulary_from_names
from activesam_ros.recordings.image_encodings import RosbagsConverter
from activesam_ros.sam3.tokenizer import Tokenizer
from activesam_ros.segmentation.active_set import Chooser
from activesam_ros.segmentation.result import Segmentation, Wanted
from activesam_ros.segmentation.segmenter import Segmenter

WARM = {"warm_up": True, "method": "activesam"}
TIMEOUT_S = 60
# Enough for a session to close if it did not wait.
CLOSING_S = 1


@dataclass
class FakeSegmenter:
    """Segments nothing; does what it is told when it is asked to."""

    asked: Callable[[], None]
    bucket_size: int = 32
    background_id: int = 0

    def segment_batch(
        self,
        images: Sequence[NDArray[np.uint8]],
        wanted: Sequence[Wanted],
        choosers: Sequence[Chooser | None],
    ) -> Iterator[Segmentation]:
        self.asked()
        return iter(())


@dataclass
class FakeEngine:
    """Vocabularies whose segmenters call ``asked``; notes for which classes."""

    asked: Callable[[], None] = lambda: None
    compiled: list[tuple[str, ...]] = field(default_factory=list)
    device = "cpu"
    dtype = "float32"

    def compile_for_swap(
        self,
        vocabulary: Vocabulary,
        parameters: NodeParameters,
        between_steps: Callable[[], None] = lambda: None,
    ) -> CompiledVocabulary:
        return self.compile(vocabulary, parameters)

    def compile(self, vocabulary: Vocabulary, parameters: NodeParameters) -> CompiledVocabulary:
        self.compiled.append(tuple(entry.name for entry in vocabulary.classes))
        level = BudgetLevel(Step.NOTHING, parameters.settings)
        segmenter = cast("Segmenter", FakeSegmenter(self.asked))
        return CompiledVocabulary(vocabulary, (level,), (segmenter,), cache_hit=False)

    def with_parameters(
        self, compiled: CompiledVocabulary, parameters: NodeParameters
    ) -> CompiledVocabulary:
        return self.compile(compiled.vocabulary, parameters)


@pytest.fixture
def node() -> Iterator[LifecycleNode]:
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = LifecycleNode("session", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def session_of(node: LifecycleNode, engine: FakeEngine, parameters: NodeParameters) -> Session:
    compiled = engine.compile(vocabulary_from_names(["road"]), parameters)
    active = VocabularyInUse(compiled, 1, parameters)
    statistics = {"image": FrameStatistics()}
    return Session(
        node, cast("Engine", engine), active, RosbagsConverter(), statistics, Tokenizer(3)
    )


def test_without_memory_to_warm_up_a_vocabulary_it_is_used_all_the_same(
    node: LifecycleNode, capfd: pytest.CaptureFixture[str]
) -> None:
    session = session_of(node, FakeEngine(has_no_room), NodeParameters.from_mapping(WARM))
    active, _ = session.changes.swap_vocabulary("", ["car", "dog"])
    assert session.processor.in_use is active
    assert active.version == 2
    log = capfd.readouterr().err
    assert "Tried to allocate 2 GiB" in log
    assert "first images may take longer" in log
    session.close()


def has_no_room() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")


def test_without_memory_to_compile_a_change_is_refused(node: LifecycleNode) -> None:
    class FullEngine(FakeEngine):
        full = False

        def compile(self, vocabulary: Vocabulary, parameters: NodeParameters) -> CompiledVocabulary:
            if self.full:
                has_no_room()
            return super().compile(vocabulary, parameters)

    engine = FullEngine()
    session = session_of(node, engine, NodeParameters.from_mapping(WARM))
    before = session.processor.in_use
    engine.full = True
    with pytest.raises(
        UsageError, match=r"not enough memory.*2 GiB.*Nothing has changed"
    ) as caught:
        session.changes.swap_vocabulary("", ["car", "dog"])
    assert caught.value.__context__ is None, "whose traceback would keep tensors alive"
    changed = NodeParameters.from_mapping({**WARM, "confidence_threshold": 0.9})
    with pytest.raises(UsageError, match=r"not enough memory.*2 GiB.*Nothing has changed"):
        session.changes.apply_parameters(changed)
    assert session.processor.in_use is before
    session.close()


def test_a_fault_while_a_vocabulary_is_warmed_up_changes_nothing(node: LifecycleNode) -> None:
    def fails() -> None:
        raise RuntimeError("shape 3 does not fit 4")

    session = session_of(node, FakeEngine(fails), NodeParameters.from_mapping(WARM))
    before = session.processor.in_use
    with pytest.raises(RuntimeError, match="shape 3"):
        session.changes.swap_vocabulary("", ["car", "dog"])
    assert session.processor.in_use is before
    session.close()


def test_a_session_that_is_closed_meanwhile_changes_nothing(node: LifecycleNode) -> None:
    engine = FakeEngine(lambda: session.close())
    session = session_of(node, engine, NodeParameters.from_mapping(WARM))
    before = session.processor.in_use
    with pytest.raises(UsageError, match="nothing has changed"):
        session.changes.swap_vocabulary("", ["car", "dog"])
    with pytest.raises(UsageError, match="nothing has changed"):
        session.changes.apply_parameters(NodeParameters.from_mapping({**WARM, "max_active": 7}))
    assert session.processor.in_use is before


def test_a_vocabulary_that_is_being_swapped_in_is_published_before_the_session_closes(
    node: LifecycleNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(node, FakeEngine(), NodeParameters.from_mapping({"warm_up": False}))
    closing = threading.Thread(target=session.close)
    publish = VocabularyPublishers.publish

    def publish_while_it_closes(publishers: VocabularyPublishers, *arguments: Any) -> None:
        closing.start()
        closing.join(CLOSING_S)
        publish(publishers, *arguments)

    monkeypatch.setattr(VocabularyPublishers, "publish", publish_while_it_closes)
    active, _ = session.changes.swap_vocabulary("", ["car", "dog"])
    closing.join(TIMEOUT_S)
    assert not closing.is_alive()
    assert active.version == 2


def test_parameters_that_change_meanwhile_hold_for_the_new_vocabulary(node: LifecycleNode) -> None:
    parameters = NodeParameters.from_mapping(WARM)
    changed = NodeParameters.from_mapping({**WARM, "confidence_threshold": 0.9})
    warmed: list[int] = []

    def asked() -> None:
        warmed.append(len(engine.compiled))
        if len(warmed) == 1:
            session.changes.apply_parameters(changed)

    engine = FakeEngine(asked)
    session = session_of(node, engine, parameters)
    active, _ = session.changes.swap_vocabulary("", ["car", "dog"])
    assert active.compiled.levels[0].settings.confidence_threshold == 0.9
    assert active.parameters is changed
    # road, car and dog, road for the parameters, car and dog for the parameters: the last are warm
    assert warmed == [2, 4]
    session.close()


def test_only_parameters_that_segmenters_are_made_from_make_new_ones(node: LifecycleNode) -> None:
    engine = FakeEngine()
    session = session_of(node, engine, NodeParameters.from_mapping(WARM))
    before = session.processor.in_use
    session.changes.apply_parameters(
        NodeParameters.from_mapping({**WARM, "overlay_opacity": 0.1, "max_image_age_ms": 7.0})
    )
    assert session.processor.in_use.compiled is before.compiled
    assert session.processor.in_use.parameters.options.overlay_opacity == 0.1
    session.changes.apply_parameters(NodeParameters.from_mapping({**WARM, "max_active": 7}))
    assert session.processor.in_use.compiled is not before.compiled
    assert session.processor.in_use.version == before.version
    session.close()


def test_nothing_is_warmed_up_where_that_is_switched_off(node: LifecycleNode) -> None:
    warmed: list[int] = []
    engine = FakeEngine(lambda: warmed.append(1))
    session = session_of(node, engine, NodeParameters.from_mapping({"warm_up": False}))
    session.changes.swap_vocabulary("", ["car", "dog"])
    assert warmed == []
    session.close()


@pytest.mark.parametrize(("preset", "names"), [("", ["ten letters"]), ("driving", [])])
def test_requests_are_checked_by_the_tokenizer_that_is_there(
    node: LifecycleNode, preset: str, names: list[str]
) -> None:
    session = session_of(node, FakeEngine(), NodeParameters.from_mapping(WARM))
    with pytest.raises(VocabularyError, match="more than the 3 the text encoder reads"):
        session.changes.swap_vocabulary(preset, names)
    session.close()


VOCABULARY = vocabulary_from_names(["road", "car"])
TOKENIZER = Tokenizer()


@pytest.mark.parametrize(("preset", "names"), [("", []), ("driving", ["road"])])
def test_a_request_gives_either_a_preset_or_names(preset: str, names: list[str]) -> None:
    with pytest.raises(UsageError, match="either a preset or names"):
        requested_vocabulary(preset, names, VOCABULARY, TOKENIZER)


def ids(vocabulary: Vocabulary) -> dict[str, int]:
    return {entry.name: entry.id for entry in vocabulary.classes}


def test_ids_of_names_that_stay_keep_their_value() -> None:
    before = ids(VOCABULARY)
    after = ids(requested_vocabulary("", ["dog", "car"], VOCABULARY, TOKENIZER))
    assert after["car"] == before["car"]
    assert after["dog"] not in before.values()
    preset = ids(requested_vocabulary("cityscapes", [], VOCABULARY, TOKENIZER))
    assert preset["road"] == before["road"]
    assert preset["car"] == before["car"]


@pytest.mark.parametrize(
    ("preset", "names", "reason"),
    [
        ("", ["a"] * 10_001, "has 10,001 names and aliases, more than the 10,000 allowed"),
        ("", ["a," * 10_000], "has 10,001 names and aliases"),
        ("", ["a" * 600_000, "b" * 400_001], "has 1,000,001 characters, more than the 1,000,000"),
        ("x" * 1_000_001, [], "has 1,000,001 characters"),
    ],
)
def test_a_request_is_bounded(preset: str, names: list[str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as refusal:
        requested_vocabulary(preset, names, VOCABULARY, TOKENIZER)
    assert len(str(refusal.value)) < 200


def test_a_session_that_is_closed_ends_the_compilation_between_two_steps(
    node: LifecycleNode,
) -> None:
    class Stepping(FakeEngine):
        steps = 0

        def compile_for_swap(
            self,
            vocabulary: Vocabulary,
            parameters: NodeParameters,
            between_steps: Callable[[], None] = lambda: None,
        ) -> CompiledVocabulary:
            for _ in range(3):
                between_steps()
                self.steps += 1
                session.close()
            return self.compile(vocabulary, parameters)

    engine = Stepping()
    session = session_of(node, engine, NodeParameters.from_mapping({"warm_up": False}))
    with pytest.raises(UsageError, match="nothing has changed"):
        session.changes.swap_vocabulary("", ["car"])
    assert engine.steps == 1


def test_a_file_of_a_request_lies_below_a_folder_of_the_parameter(tmp_path: Path) -> None:
    (tmp_path / "kitchen.txt").write_text("cup\nplate\n")
    folders = (str(tmp_path),)
    for preset in (str(tmp_path / "kitchen.txt"), "kitchen.txt"):
        found = requested_vocabulary(preset, [], VOCABULARY, TOKENIZER, folders)
        assert set(ids(found)) == {"cup", "plate"}
        with pytest.raises(VocabularyError, match="vocabulary_folders is empty"):
            requested_vocabulary(preset, [], VOCABULARY, TOKENIZER)


def test_a_request_may_state_thresholds() -> None:
    named = requested_vocabulary("", ["dog", "{name: car, threshold: 0.5}"], VOCABULARY, TOKENIZER)
    assert [entry.threshold for entry in named.classes] == [0.0, 0.5]
    kept = requested_vocabulary("", ["car"], named, TOKENIZER)
    assert kept.classes[0].threshold == 0.5


def test_a_request_that_cannot_be_used_is_refused() -> None:
    for preset, names in (("no_such_preset", []), ("", ["a", "a"]), ("", [" "])):
        with pytest.raises(VocabularyError):
            requested_vocabulary(preset, names, VOCABULARY, TOKENIZER)
