"""A part's result comes back as it was, and one that contradicts its task is refused."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from activesam_ros.errors import PlainDataError, RecordingError
from activesam_ros.evaluation.corruptions.catalogue import Corrupter, Corruption, CorruptionPlan
from activesam_ros.evaluation.datasets.bag_samples import BagSource
from activesam_ros.evaluation.datasets.sample_source import Sample, SourceCount
from activesam_ros.evaluation.evaluator import Evaluator
from activesam_ros.evaluation.execution.part_data import (
    PartResult,
    evaluation_journal,
    part_bytes,
    part_from_bytes,
)
from activesam_ros.evaluation.execution.worker import Task
from activesam_ros.evaluation.scoring.frame_figures import ConceptChanges
from activesam_ros.evaluation.scoring.tally import MethodTally, TallyContent, prediction_ids
from activesam_ros.execution.task import Part
from activesam_ros.pipeline import NetworkOptions
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.segmentation.methods import Method, default_settings

if TYPE_CHECKING:
    from test.fixtures.recording_fixtures import FakeSegmenter

METHODS = (Method.ACTIVESAM, Method.FULL)
PLAN = CorruptionPlan((Corruption("brightness", 2),))


@pytest.fixture
def task(vocabulary: Vocabulary) -> Task:
    return Task(
        BagSource(Path("drive.mcap"), "/camera", "/labels"),
        NetworkOptions(Path("sam3.pt")),
        vocabulary,
        {method: default_settings(method) for method in METHODS},
        prediction_ids(vocabulary),
        corruptions=PLAN,
        pictures=True,
    )


@pytest.fixture
def result(fake: FakeSegmenter, task: Task) -> PartResult:
    """Three frames by two methods, clean and under a corruption, with pictures."""
    pruned = type(fake)(task.vocabulary, active=(0,), offset=1, admitted=(0, 1))
    evaluator = Evaluator(
        {Method.ACTIVESAM: pruned, Method.FULL: fake},
        task.vocabulary,
        task.label_ids,
        torch.device("cpu"),
        pictures=True,
        corrupter=Corrupter(PLAN),
    )
    random = np.random.default_rng(3)
    samples = []
    for place in range(3):
        image = random.integers(0, 8, (32, 40, 3), np.uint8)
        labels = random.choice(np.array([0, 1, 7], np.uint8), (32, 40))
        samples.append(Sample(image, labels, place * 10, place, f"frame {place}"))
    tallies = evaluator.run(samples, lambda: None)
    figures = tallies.clean[Method.ACTIVESAM].figures
    moves = np.array([[0, 2], [1, 3], [5, 6]], np.int32)
    figures[0] = dataclasses.replace(figures[0], concepts=ConceptChanges(32 * 40, moves))
    count = SourceCount(images=4, unusable_images=1, stamps_replaced=1, ended=True, notes=("cut",))
    count.problems["dark"] += 1
    count.label_pixels[7] += 9
    return PartResult(tallies, count)


def told(result: PartResult) -> Any:
    """All that a result says."""
    tallies = result.tallies
    each = [tallies.clean, *tallies.corrupted.values()]
    figures = [[tally.figures for tally in by_method.values()] for by_method in each]
    pixels = [[f.pixels.tolist() for f in tally.figures] for tally in tallies.clean.values()]  # type: ignore[union-attr]
    results = [{method: tally.results() for method, tally in by.items()} for by in each]
    return figures, pixels, results, tallies.clean_agreement, tallies.pictures, result.count


def test_a_result_comes_back_as_it_was(result: PartResult, task: Task) -> None:
    back = part_from_bytes(part_bytes(result), task)
    assert told(back) == told(result)
    entry = told(result)[2][0][Method.ACTIVESAM]
    assert entry["miou"] is not None
    assert entry["screened_out_classes_mean"] == 1
    assert entry["concept_changes"]["share"] == 11 / (32 * 40)
    both = copy.deepcopy(result)
    both.extend(copy.deepcopy(result))
    back.extend(part_from_bytes(part_bytes(result), task))
    assert told(back) == told(both)  # labels of the ends of the parts came along


def test_every_sum_of_a_tally_is_part_of_its_content(result: PartResult) -> None:
    tally = result.tallies.clean[Method.FULL]
    fixed = {"_vocabulary", "_label_ids", "_prediction_ids"}
    names = {name.lstrip("_") for name in vars(tally) if name not in fixed}
    assert names == {field.name for field in dataclasses.fields(TallyContent)}


def test_a_result_is_no_pickle_and_a_pickle_no_result(result: PartResult, task: Task) -> None:
    assert set(load(part_bytes(result))) >= {"content", "0"}
    with pytest.raises(PlainDataError):
        part_from_bytes(pickle.dumps(result), task)


def changed(result: PartResult, change: Callable[[Any, dict[str, Any]], object]) -> bytes:
    arrays = load(part_bytes(result))
    tree = json.loads(arrays.pop("content").tobytes())
    change(tree, arrays)
    return save(arrays | {"content": np.frombuffer(json.dumps(tree).encode(), np.uint8)})


def clean(tree: Any) -> Any:
    return tree["clean"][0][1]


def frame(tree: Any) -> Any:
    return clean(tree)["figures"][0]


def picture(tree: Any) -> Any:
    return tree["pictures"]["pictures"][0][1]


CHANGES: dict[str, Callable[[Any, dict[str, Any]], object]] = {
    "no method": lambda tree, _: tree["clean"].pop(),
    "another method": lambda tree, _: tree["clean"][0].__setitem__(0, "segearth"),
    "a method of no name": lambda tree, _: tree["clean"][0].__setitem__(0, "evil"),
    "another order": lambda tree, _: tree["clean"].reverse(),
    "no corruption": lambda tree, _: tree["corrupted"].clear(),
    "another corruption": lambda tree, _: tree["corrupted"][0][0].update(severity=5),
    "shares without a method": lambda tree, _: tree["clean_agreement"][0][1].pop(),
    "a share above 1": lambda tree, _: tree["clean_agreement"][0][1][0][1].update(hits=1 << 40),
    "no pictures": lambda tree, _: tree.update(pictures=None),
    "negative images": lambda tree, _: tree["count"].update(images=-1),
    "more images": lambda tree, _: tree["count"].update(images=100),
    "label ids": lambda tree, _: tree["count"].update(label_pixels=[[1 << 20, 1]]),
    "label ids as text": lambda tree, _: tree["count"].update(label_pixels=[["7", 1]]),
    "a smaller matrix": lambda tree, arrays: arrays.update(
        {str(clean(tree)["confusion"]["counts"]): np.zeros((2, 2), np.int64)}
    ),
    "a negative matrix": lambda tree, arrays: arrays.update(
        {str(clean(tree)["confusion"]["counts"]): np.full((4, 4), -1)}
    ),
    "a matrix of floats": lambda tree, arrays: arrays.update(
        {str(clean(tree)["confusion"]["counts"]): np.zeros((4, 4))}
    ),
    "labels of one row": lambda tree, arrays: arrays.update(
        {str(clean(tree)["first"]): np.zeros(9, np.uint8)}
    ),
    "no last labels": lambda tree, _: clean(tree).update(previous=None),
    "frames": lambda tree, _: clean(tree)["figures"].pop(),
    "labelled frames": lambda tree, _: clean(tree).update(labelled_frames=1000),
    "the order of frames": lambda tree, _: clean(tree)["figures"].reverse(),
    "a class that is not there": lambda tree, _: frame(tree).update(active=[3]),
    "a class below 0": lambda tree, _: frame(tree).update(active=[-1]),
    "classes out of order": lambda tree, _: frame(tree).update(active=[1, 0]),
    "a class that is active but not admitted": lambda tree, _: frame(tree).update(active=[2]),
    "an admitted class that is not there": lambda tree, _: frame(tree).update(admitted=[0, 9]),
    "moves to no class": lambda tree, arrays: arrays.update(
        {str(frame(tree)["concepts"]["moves"]): np.array([[0], [4], [1]], np.int32)}
    ),
    "moves of two rows": lambda tree, arrays: arrays.update(
        {str(frame(tree)["concepts"]["moves"]): np.zeros((2, 1), np.int32)}
    ),
    "more moves than pixels": lambda tree, _: frame(tree)["concepts"].update(size=10),
    "a mIoU above 1": lambda tree, _: frame(tree).update(miou=1.5),
    "a negative time": lambda tree, _: frame(tree).update(latency_ms=-1.0),
    "a stamp beyond all times": lambda tree, _: frame(tree).update(stamp_ns=10**400),
    "a time without end": lambda tree, _: frame(tree).update(latency_ms=float("inf")),
    "a mIoU that is no number": lambda tree, _: frame(tree).update(miou=float("nan")),
    "a memory that is no number": lambda tree, _: clean(tree).update(peak_memory_mib=float("nan")),
    "no field": lambda tree, _: frame(tree).pop("place"),
    "pixels of classes": lambda tree, arrays: arrays.update(
        {str(frame(tree)["pixels"]): np.full((4, 1), 7, np.int32)}
    ),
    "a huge picture": lambda tree, _: picture(tree).update(width=1 << 30),
    "a layer of no name": lambda tree, _: picture(tree)["layers"][0].__setitem__(0, "<script>"),
    "a layer that is no PNG": lambda tree, arrays: arrays.update(
        {str(picture(tree)["layers"][0][1]["png"]): np.zeros(9, np.uint8)}
    ),
    "scores above 1": lambda tree, _: tree["pictures"]["scores"][0].__setitem__(1, 7.0),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_result_that_contradicts_its_task_is_refused(
    name: str, result: PartResult, task: Task
) -> None:
    with pytest.raises(PlainDataError) as caught:
        part_from_bytes(changed(result, CHANGES[name]), task)
    assert "\n" not in str(caught.value)


def test_parts_that_overlap_or_lie_far_apart_are_refused(
    result: PartResult, task: Task, tmp_path: Path
) -> None:
    for number, spans in enumerate((((0, 4), (2, 6)), ((1 << 40, (1 << 40) + 4),), ((0, 9),))):
        result.count.ended = False
        journal = evaluation_journal(tmp_path / str(number), {"job": 1}, task)
        for start, stop in spans:
            journal.keep(Part(start, stop), result)
        with pytest.raises(RecordingError, match=r"is damaged \(images"):
            list(journal.parts())
        journal.close()


def test_a_journal_of_another_evaluation_is_refused(
    result: PartResult, task: Task, tmp_path: Path
) -> None:
    journal = evaluation_journal(tmp_path, {"job": 1}, task)
    journal.keep(Part(0, 4), result)
    ((part, back),) = journal.parts()
    assert (part, told(back)) == (Part(0, 4), told(result))
    journal.close()
    for other, what in (
        (dataclasses.replace(task, settings={}), "methods"),
        (dataclasses.replace(task, pictures=False), "pictures"),
    ):
        journal = evaluation_journal(tmp_path, {"job": 1}, other)
        with pytest.raises(RecordingError, match=f"its {what} are not those of the evaluation"):
            list(journal.parts())
        journal.close()


def test_the_empty_tally_is_restored_too(task: Task) -> None:
    empty = MethodTally(task.vocabulary, task.label_ids, prediction_ids(task.vocabulary))
    assert empty.restored(empty.content()).results() == empty.results()
