"""Vocabularies set at run time, warmed by an engine that has no room or is closed meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import rclpy
import torch
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode

from activesam_ros.errors import UsageError, VocabularyError
from activesam_ros.node.budget.degradation import BudgetLevel, Step
from activesam_ros.node.engine import Mode, Prompted
from activesam_ros.node.frame_processor import Running
from activesam_ros.node.parameters.options import NodeParameters
from activesam_ros.node.session import Session
from activesam_ros.node.statistics import FrameStatistics
from activesam_ros.prompts.vocabulary import Vocabulary, vocabulary_from_names
from activesam_ros.recordings.image_encodings import RosbagsConverter
from activesam_ros.segmentation.active_set import Chooser
from activesam_ros.segmentation.result import Segmentation, Wanted

WARM = {"warm_up": True}
TIMEOUT_S = 60
# Enough for a session to close, had it not to wait.
CLOSING_S = 1


@dataclass
class FakeSegmenter:
    """Segments nothing; does what it is told when it is asked to."""

    asked: Callable[[], None]
    bucket_size: int = 32

    def segment_batch(
        self,
        images: Sequence[NDArray[np.uint8]],
        wanted: Sequence[Wanted],
        choosers: Sequence[Chooser | None],
    ) -> Iterator[Segmentation]:
        self.asked()
        return iter(())

    def with_bucket_size(self, bucket_size: int) -> FakeSegmenter:
        return self


@dataclass
class FakeEngine:
    """Prompts whose segmenters call ``asked``; notes for which classes."""

    asked: Callable[[], None] = lambda: None
    prompted: list[tuple[str, ...]] = field(default_factory=list)
    device = "cpu"
    dtype = "float32"

    def prompt(self, vocabulary: Vocabulary, parameters: NodeParameters) -> Prompted:
        self.prompted.append(tuple(entry.name for entry in vocabulary.classes))
        mode = Mode(BudgetLevel(Step.NOTHING, parameters.settings), FakeSegmenter(self.asked))
        return Prompted(vocabulary, (mode,), cache_hit=False)

    def with_parameters(self, prompted: Prompted, parameters: NodeParameters) -> Prompted:
        return self.prompt(prompted.vocabulary, parameters)


@pytest.fixture
def node() -> Iterator[LifecycleNode]:
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = LifecycleNode("session", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


@dataclass
class FakeTokens:
    """A token for each letter."""

    context_length = 9

    def length(self, text: str) -> int:
        return len(text)


def session_of(node: LifecycleNode, engine: FakeEngine, parameters: NodeParameters) -> Session:
    prompted = engine.prompt(vocabulary_from_names(["road"]), parameters)
    statistics = {"image": FrameStatistics()}
    return Session(
        node, engine, prompted, parameters, 1, RosbagsConverter(), statistics, FakeTokens()
    )


def test_without_memory_to_warm_a_vocabulary_it_is_used_all_the_same(
    node: LifecycleNode, capfd: pytest.CaptureFixture[str]
) -> None:
    def has_no_room() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    session = session_of(node, FakeEngine(has_no_room), NodeParameters.from_mapping(WARM))
    running, _ = session.set_vocabulary("", ["car", "dog"])
    assert session.running is running
    assert running.version == 2
    log = capfd.readouterr().err
    assert "Tried to allocate 2 GiB" in log
    assert "first images may take longer" in log
    session.close()


def test_a_fault_while_a_vocabulary_is_warmed_changes_nothing(node: LifecycleNode) -> None:
    def fails() -> None:
        raise RuntimeError("shape 3 does not fit 4")

    session = session_of(node, FakeEngine(fails), NodeParameters.from_mapping(WARM))
    before = session.running
    with pytest.raises(RuntimeError, match="shape 3"):
        session.set_vocabulary("", ["car", "dog"])
    assert session.running is before
    session.close()


def test_a_session_that_is_closed_meanwhile_changes_nothing(node: LifecycleNode) -> None:
    engine = FakeEngine(lambda: session.close())
    session = session_of(node, engine, NodeParameters.from_mapping(WARM))
    before = session.running
    with pytest.raises(UsageError, match="nothing has changed"):
        session.set_vocabulary("", ["car", "dog"])
    assert session.running is before


def test_a_vocabulary_on_its_way_is_published_before_the_session_closes(
    node: LifecycleNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(node, FakeEngine(), NodeParameters.from_mapping({"warm_up": False}))
    closing = threading.Thread(target=session.close)
    publish = session.publish_vocabulary

    def publish_while_it_closes(running: Running) -> None:
        closing.start()
        closing.join(CLOSING_S)
        publish(running)

    monkeypatch.setattr(session, "publish_vocabulary", publish_while_it_closes)
    running, _ = session.set_vocabulary("", ["car", "dog"])
    closing.join(TIMEOUT_S)
    assert not closing.is_alive()
    assert running.version == 2


def test_parameters_that_change_meanwhile_hold_for_the_new_vocabulary(node: LifecycleNode) -> None:
    parameters = NodeParameters.from_mapping(WARM)
    changed = NodeParameters.from_mapping({**WARM, "confidence_threshold": 0.9})
    warmed: list[int] = []

    def asked() -> None:
        warmed.append(len(engine.prompted))
        if len(warmed) == 1:
            session.apply(changed)

    engine = FakeEngine(asked)
    session = session_of(node, engine, parameters)
    running, _ = session.set_vocabulary("", ["car", "dog"])
    assert running.prompted.modes[0].level.settings.confidence_threshold == 0.9
    # road, car and dog, road for the parameters, car and dog for the parameters: the last are warm
    assert warmed == [2, 4]
    session.close()


def test_nothing_is_warmed_where_that_is_switched_off(node: LifecycleNode) -> None:
    warmed: list[int] = []
    engine = FakeEngine(lambda: warmed.append(1))
    session = session_of(node, engine, NodeParameters.from_mapping({"warm_up": False}))
    session.set_vocabulary("", ["car", "dog"])
    assert warmed == []
    session.close()


@pytest.mark.parametrize(("preset", "names"), [("", ["ten letters"]), ("driving", [])])
def test_requests_are_checked_by_the_tokenizer_that_is_there(
    node: LifecycleNode, preset: str, names: list[str]
) -> None:
    session = session_of(node, FakeEngine(), NodeParameters.from_mapping(WARM))
    with pytest.raises(VocabularyError, match="more than the 9 the text encoder reads"):
        session.set_vocabulary(preset, names)
    session.close()
