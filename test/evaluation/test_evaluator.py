"""Methods side by side: tallies, comparisons and timings."""

from __future__ import annotations

import dataclasses
import json
import mmap
import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from activesam_ros.errors import OutputError, UsageError
from activesam_ros.evaluation.datasets.sample_source import Sample
from activesam_ros.evaluation.evaluator import Evaluator, Reference, Tallies
from activesam_ros.evaluation.scoring.measurement import PeakMemory, measure
from activesam_ros.evaluation.scoring.metrics import IdMap
from activesam_ros.evaluation.scoring.results import (
    concept_table,
    document,
    machine,
    summary_table,
    write_results,
)
from activesam_ros.evaluation.scoring.tally import MethodTally, percentiles, prediction_ids
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.segmentation.methods import Method

if TYPE_CHECKING:
    from test.fixtures.recording_fixtures import FakeSegmenter

CPU = torch.device("cpu")
ROAD, TREE, SKY = 0, 1, 7


def image(*rows: list[int]) -> NDArray[np.uint8]:
    """An image that the fake segmenter labels with ``rows``."""
    labels = np.array(rows, np.uint8)
    return np.repeat(labels[..., None], 3, axis=2)


def sample(rows: list[int], labels: list[int] | None, stamp_ns: int | None = None) -> Sample:
    ground_truth = None if labels is None else np.array([labels], np.uint8)
    return Sample(image(rows), ground_truth, stamp_ns, 0, "")


def evaluate(
    samples: list[Sample],
    segmenters: dict[Method, FakeSegmenter],
    vocabulary: Vocabulary,
    label_ids: IdMap | None,
    reference: Reference | None = None,
) -> dict[Method, MethodTally]:
    placed = [dataclasses.replace(entry, place=place) for place, entry in enumerate(samples)]
    evaluator = Evaluator(segmenters, vocabulary, label_ids, CPU, reference)
    return evaluator.run(placed, lambda: None).clean


def one_method(
    samples: list[Sample], segmenter: FakeSegmenter, label_ids: IdMap | None = None
) -> dict[str, object]:
    tallies = evaluate(samples, {Method.ACTIVESAM: segmenter}, segmenter.vocabulary, label_ids)
    return tallies[Method.ACTIVESAM].results()


def test_accuracy_is_of_all_frames_together(fake: FakeSegmenter, vocabulary: Vocabulary) -> None:
    results = one_method(
        [
            sample([ROAD, ROAD, TREE, TREE], [ROAD, ROAD, TREE, SKY]),
            sample([ROAD, TREE], [ROAD, ROAD]),
            sample([SKY, SKY], None),
        ],
        fake,
        prediction_ids(vocabulary),
    )
    assert results["per_class_iou"] == pytest.approx({"road": 3 / 4, "tree": 1 / 3, "sky": 0.0})
    assert results["miou"] == pytest.approx((3 / 4 + 1 / 3) / 3)
    assert results["pixel_accuracy"] == pytest.approx(4 / 6)
    assert (results["frames"], results["labelled_frames"]) == (3, 2)
    assert results["confusion_matrix"] == {
        "classes": ["road", "tree", "sky"],
        "counts": [[3, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]],
    }


def test_without_ground_truth_accuracy_is_null(fake: FakeSegmenter) -> None:
    results = one_method([sample([ROAD], None)], fake)
    for key in ("miou", "per_class_iou", "pixel_accuracy", "confusion_matrix", "presence_recall"):
        assert results[key] is None, key
    assert results["agreement_with_full"] is None
    assert results["frames_per_second"]


def test_full_is_compared_on_every_frame_where_it_runs(
    fake: FakeSegmenter, vocabulary: Vocabulary
) -> None:
    pruned = type(fake)(vocabulary, active=(0,), offset=1)
    samples = [sample([ROAD, ROAD], None), sample([ROAD, SKY], None)]
    tallies = evaluate(samples, {Method.ACTIVESAM: pruned, Method.FULL: fake}, vocabulary, None)
    active, full = (tally.results() for tally in tallies.values())
    assert (active["agreement_with_full"], full["agreement_with_full"]) == (0.0, 1.0)
    assert active["presence_recall_of_full"] == pytest.approx(2 / 3)
    assert active["agreement_frames"] == 2


def test_admitted_classes_are_counted_apart_from_those_screened_out(
    fake: FakeSegmenter, vocabulary: Vocabulary
) -> None:
    # Queries 1 and 2 are names of one class, which survives by one of them.
    screening = type(fake)(vocabulary, active=(1,), admitted=(0, 1, 2))
    samples = [sample([ROAD], None, stamp_ns) for stamp_ns in (10, 20)]
    tallies = evaluate(samples, {Method.ACTIVESAM2: screening, Method.FULL: fake}, vocabulary, None)
    (first, _), results = tallies[Method.ACTIVESAM2].figures, tallies[Method.ACTIVESAM2].results()
    assert (first.admitted, first.active, first.screened_out) == ((0, 1), (1,), (0,))
    assert (results["admitted_classes_mean"], results["screened_out_classes_mean"]) == (2.0, 1.0)
    assert results["active_classes_over_time"] == {
        "stamp_ns": [10, 20],
        "active_classes": [1, 1],
        "admitted_classes": [2, 2],
        "screened_out_classes": [1, 1],
    }
    full = tallies[Method.FULL].results()
    assert (full["admitted_classes_mean"], full["screened_out_classes_mean"]) == (None, None)
    assert tallies[Method.FULL].figures[0].screened_out is None


def test_what_signatures_change_is_counted_by_pairs_of_classes(
    fake: FakeSegmenter, vocabulary: Vocabulary
) -> None:
    ids = prediction_ids(vocabulary)
    tally = MethodTally(vocabulary, None, ids)
    plain = [[ROAD, ROAD, TREE, SKY], [SKY, SKY, SKY, SKY]]
    decoded = [[TREE, TREE, TREE, 255], [SKY, SKY, ROAD, SKY]]
    for place, (before, after) in enumerate(zip(plain, decoded, strict=True)):
        measured = measure(fake, image(after), PeakMemory(CPU))
        tally.add(place, "", None, measured, None, None, np.array([before], np.uint8))
    tally.add(2, "", None, measure(fake, image([SKY]), PeakMemory(CPU)), None, None)
    changes = tally.results()["concept_changes"]
    assert changes == {
        "frames": 2,
        "share": 4 / 8,
        "pairs": [
            {"from": "road", "to": "tree", "share": 2 / 8},
            {"from": "sky", "to": "background", "share": 1 / 8},
            {"from": "sky", "to": "road", "share": 1 / 8},
        ],
    }
    content = {"methods": {"activesam2": tally.results(), "full": {"concept_changes": None}}}
    lines = concept_table(content).splitlines()
    assert "activesam2: signatures change the class of 50.0 % of the pixels of 2 frames" in lines[0]
    assert [line.split() for line in lines[2:]] == [
        ["road", "->", "tree", "25.00"],
        ["sky", "->", "background", "12.50"],
        ["sky", "->", "road", "12.50"],
    ]
    assert concept_table({"methods": {"full": {"concept_changes": None}}}) == ""
    nothing = MethodTally(vocabulary, None, ids)
    same = np.array([[ROAD]], np.uint8)
    nothing.add(0, "", None, measure(fake, image([ROAD]), PeakMemory(CPU)), None, None, same)
    assert nothing.results()["concept_changes"] == {"frames": 1, "share": 0.0, "pairs": []}


def test_a_reference_runs_on_every_nth_frame_only(
    fake: FakeSegmenter, vocabulary: Vocabulary
) -> None:
    unpruned = type(fake)(vocabulary)
    samples = [sample([place], None) for place in range(7)]
    tallies = evaluate(samples, {Method.ACTIVESAM: fake}, vocabulary, None, Reference(unpruned, 3))
    assert [int(seen[0, 0, 0]) for seen in unpruned.images] == [0, 3, 6]
    results = tallies[Method.ACTIVESAM].results()
    assert (results["agreement_frames"], results["agreement_with_full"]) == (3, 1.0)


def test_the_first_sample_warms_up_and_is_measured_all_the_same(fake: FakeSegmenter) -> None:
    results = one_method([sample([ROAD], None), sample([SKY], None)], fake)
    assert [int(seen[0, 0, 0]) for seen in fake.images] == [ROAD, ROAD, SKY]
    assert results["frames"] == 2


def test_active_classes_are_those_decoded_over_time(
    fake: FakeSegmenter, vocabulary: Vocabulary
) -> None:
    fake.active = (1, 2)  # tree and its alias hedge
    results = one_method(
        [sample([TREE, ROAD], [TREE, ROAD], 10), sample([TREE, TREE], [TREE, TREE], 20)],
        fake,
        prediction_ids(vocabulary),
    )
    assert results["active_classes_mean"] == 1.0
    assert results["active_classes_over_time"] == {"stamp_ns": [10, 20], "active_classes": [1, 1]}
    assert results["presence_recall"] == pytest.approx(2 / 3)  # road was there and not active
    assert results["temporal_flicker"] == pytest.approx(1 / 2)


def test_frames_that_do_not_follow_each_other_have_no_flicker(fake: FakeSegmenter) -> None:
    results = one_method([sample([ROAD], None), sample([SKY], None)], fake)
    assert results["temporal_flicker"] is None
    assert results["active_classes_over_time"] is None


def test_labels_of_another_size_are_refused(fake: FakeSegmenter, vocabulary: Vocabulary) -> None:
    with pytest.raises(UsageError, match="the same size"):
        one_method([sample([ROAD, ROAD], [ROAD])], fake, prediction_ids(vocabulary))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    places=st.lists(st.sampled_from([ROAD, TREE, SKY]), max_size=8),
    cuts=st.sets(st.integers(1, 7), max_size=3),
    timed=st.booleans(),
)
def test_tallies_of_parts_add_up_to_that_of_the_whole(
    places: list[int], cuts: set[int], timed: bool, fake: FakeSegmenter
) -> None:
    samples = [
        dataclasses.replace(
            sample([id, ROAD], [id, TREE] if place % 3 else None, place if timed else None),
            place=place,
        )
        for place, id in enumerate(places)
    ]

    def run(edges: list[int]) -> dict[str, object]:
        pruned = type(fake)(fake.vocabulary, active=(0, 3))
        shifted = type(fake)(fake.vocabulary, offset=1)
        ids = prediction_ids(fake.vocabulary)
        total = None
        for start, stop in zip(edges, [*edges[1:], len(samples)], strict=True):
            evaluator = Evaluator(
                {Method.ACTIVESAM: pruned}, fake.vocabulary, ids, CPU, Reference(shifted, 2)
            )
            made = evaluator.run(samples[start:stop], lambda: None)
            part: Tallies = pickle.loads(pickle.dumps(made))
            if total is None:
                total = part
            else:
                total.extend(part)
        assert total is not None
        results = total.clean[Method.ACTIVESAM].results()
        for key in ("frames_per_second", "latency_ms", "stage_latency_ms", "peak_memory_mib"):
            assert (results.pop(key) is None) == (not samples and key[0] in "fp")
        return results

    assert run([0, *sorted(cuts)]) == run([0])


def test_percentiles_are_interpolated() -> None:
    assert percentiles([1.0, 2.0, 3.0, 4.0, 5.0]) == {"p50": 3.0, "p95": pytest.approx(4.8)}
    assert percentiles([]) == {"p50": None, "p95": None}


def hold_and_give_back(call: int) -> None:
    """200 MiB from the kernel, because the C library may keep freed memory."""
    with mmap.mmap(-1, 200 << 20) as block:
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1


def test_peak_memory_sees_what_a_segmentation_holds(fake: FakeSegmenter) -> None:
    memory = PeakMemory(CPU)
    pixels = image([ROAD])
    small = measure(fake, pixels, memory).peak_memory_mib
    assert small is not None
    fake.before = hold_and_give_back
    large = measure(fake, pixels, memory).peak_memory_mib
    fake.before = lambda call: None
    again = measure(fake, pixels, memory).peak_memory_mib
    assert large is not None
    assert again is not None
    assert large - small > 150
    assert large - again > 150


def test_the_results_are_json_with_nulls_and_a_table(
    fake: FakeSegmenter, vocabulary: Vocabulary, tmp_path_factory: pytest.TempPathFactory
) -> None:
    samples = [sample([ROAD, TREE], [ROAD, ROAD])]
    tallies = evaluate(samples, {Method.SEGEARTH: fake}, vocabulary, prediction_ids(vocabulary))
    folder = tmp_path_factory.mktemp("results") / "new"
    path = write_results(folder, document(tallies, machine(CPU, torch.float32), {"note": 1}))
    content = json.loads(path.read_text())
    entry = content["methods"]["segearth"]
    assert set(entry) >= {
        "frames", "miou", "per_class_iou", "pixel_accuracy", "frames_per_second", "latency_ms",
        "active_classes_mean", "agreement_with_full", "peak_memory_mib",
    }  # fmt: skip
    assert entry["per_class_iou"] == {"road": 0.5, "tree": 0.0, "sky": None}
    assert set(entry["latency_ms"]) == {"p50", "p95"}
    assert set(entry["stage_latency_ms"]) == {"encode", "total"}
    assert content["note"] == 1
    head, row = summary_table(content).splitlines()
    assert head.split()[:4] == ["method", "frames", "labelled", "mIoU"]
    assert row.split()[:6] == ["segearth", "1", "50.0", "-", "25.0", "50.0"]
    assert list(folder.iterdir()) == [path]


def test_results_that_cannot_be_written_are_an_output_error(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    file = tmp_path_factory.mktemp("results") / "file"
    file.touch()
    with pytest.raises(OutputError, match="below cannot be made"):
        write_results(file / "below", {})
