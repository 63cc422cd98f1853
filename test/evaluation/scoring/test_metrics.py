"""Metrics equal naive counting, and figures computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from activesam_ros.errors import UsageError
from activesam_ros.evaluation.scoring.metrics import (
    IGNORE_INDEX,
    ConfusionMatrix,
    IdMap,
    Share,
    agreement,
    presence_recall,
    temporal_flicker,
)

CLASSES = 4
IDS = IdMap.of({index: index for index in range(CLASSES)}, CLASSES, (IGNORE_INDEX,))
PREDICTED_IDS = IdMap.of({index: index for index in range(CLASSES)}, CLASSES)

Maps = NDArray[np.uint8]

# classes, ids of no class, and unlabelled
values = st.sampled_from([*range(CLASSES), CLASSES, 200, IGNORE_INDEX])


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Maps, Maps]:
    shape = (draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    label_map = hnp.arrays(np.uint8, shape, elements=values)
    return draw(label_map), draw(label_map)


def matrix(labels: Maps, prediction: Maps) -> ConfusionMatrix:
    return ConfusionMatrix.of(labels, prediction, IDS, PREDICTED_IDS)


def naive_areas(labels: Maps, prediction: Maps) -> list[tuple[int, int, int]]:
    """Intersection, labelled and predicted pixels of each class, counted pixel by pixel."""
    areas = []
    for index in range(CLASSES):
        both = labelled = predicted = 0
        for label, given_label in zip(labels.flat, prediction.flat, strict=True):
            if label == IGNORE_INDEX:
                continue
            labelled += int(label) == index
            predicted += int(given_label) == index
            both += int(label) == int(given_label) == index
        areas.append((both, labelled, predicted))
    return areas


@given(pairs())
def test_iou_and_accuracy_are_those_of_counting_pixel_by_pixel(pair: tuple[Maps, Maps]) -> None:
    areas = naive_areas(*pair)
    iou = [
        both / (labelled + predicted - both) if labelled + predicted - both else math.nan
        for both, labelled, predicted in areas
    ]
    accuracy = [both / labelled if labelled else math.nan for both, labelled, _ in areas]
    found = matrix(*pair)
    np.testing.assert_allclose(found.iou(), iou, rtol=1e-12)
    np.testing.assert_allclose(found.class_accuracy(), accuracy, rtol=1e-12)
    known = [value for value in iou if not math.isnan(value)]
    expected_miou = sum(known) / len(known) if known else math.nan
    np.testing.assert_allclose(found.miou(), expected_miou, rtol=1e-12)
    labelled = sum(area[1] for area in areas)
    expected = sum(area[0] for area in areas) / labelled if labelled else math.nan
    np.testing.assert_allclose(found.pixel_accuracy(), expected, rtol=1e-12)


@given(st.lists(pairs(), min_size=1, max_size=5))
def test_adding_matrices_is_counting_all_pixels_at_once(images: list[tuple[Maps, Maps]]) -> None:
    total = ConfusionMatrix.empty(CLASSES)
    for pair in images:
        total += matrix(*pair)
    flat_labels = np.concatenate([labels.reshape(-1) for labels, _ in images])[None]
    flat_prediction = np.concatenate([prediction.reshape(-1) for _, prediction in images])[None]
    np.testing.assert_array_equal(total.counts, matrix(flat_labels, flat_prediction).counts)


@given(pairs())
def test_every_pixel_that_is_labelled_counts_once(pair: tuple[Maps, Maps]) -> None:
    assert matrix(*pair).counts.sum() == np.count_nonzero(pair[0] != IGNORE_INDEX)


def test_a_perfect_prediction_scores_one_and_absent_classes_do_not_count() -> None:
    labels = np.array([[0, 0, 2]], np.uint8)
    found = matrix(labels, labels)
    assert (found.miou(), found.pixel_accuracy(), found.mean_class_accuracy()) == (1.0, 1.0, 1.0)
    assert np.isnan(found.iou()[[1, 3]]).all()


def test_a_class_predicted_where_nothing_is_labelled_with_it_lowers_miou() -> None:
    found = matrix(np.array([[0, 0, 0, 0]], np.uint8), np.array([[0, 0, 0, 1]], np.uint8))
    assert found.miou() == pytest.approx((3 / 4 + 0) / 2)
    assert found.miou_of_labelled() == pytest.approx(3 / 4)


def test_predictions_on_ids_of_no_class_count_as_wrong_ones_as_in_mmsegmentation() -> None:
    # worked out by hand from IoUMetric: label 200 is neither ignored nor a class
    found = matrix(np.array([[200, 0]], np.uint8), np.array([[0, 0]], np.uint8))
    assert found.iou()[0] == pytest.approx(1 / 2)
    assert found.pixel_accuracy() == 1.0


def test_figures_equal_those_of_mmsegmentation_on_the_same_predictions() -> None:
    # given by IoUMetric's intersect_and_union and total_area_to_metrics of mmsegmentation 1.2.2
    iou = [
        0.6793141189346954, 0.6284067085953878, 0.6360406091370558, 0.5505716798592788,
        0.5792682926829268, 0.4076607387140903, 0.0,
    ]  # fmt: skip
    accuracy = [
        0.7448, 0.7306520414381474, 0.744503862150921, 0.7443519619500595, 0.7768691588785047,
        0.7339901477832512, math.nan,
    ]  # fmt: skip
    random = np.random.RandomState(11)
    ids = IdMap.of({index: index for index in range(7)}, 7, (IGNORE_INDEX,))
    total = ConfusionMatrix.empty(7)
    for _ in range(5):
        shape = random.randint(20, 60, 2)
        shares = [0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05]
        labels = random.choice([0, 1, 2, 3, 4, 5, IGNORE_INDEX], shape, p=shares).astype(np.uint8)
        right = random.random_sample(shape) < 0.7
        prediction = np.where(right, labels, random.randint(0, 7, shape)).astype(np.uint8)
        prediction[prediction == IGNORE_INDEX] = 6
        total += ConfusionMatrix.of(labels, prediction, ids, ids)
    np.testing.assert_allclose(total.iou(), iou, rtol=0, atol=1e-12)
    np.testing.assert_allclose(total.class_accuracy(), accuracy, rtol=0, atol=1e-12)
    assert total.miou() == pytest.approx(float(np.mean(iou)), abs=1e-12)
    assert total.pixel_accuracy() == pytest.approx(0.7446701147975274, abs=1e-12)
    assert total.mean_class_accuracy() == pytest.approx(float(np.nanmean(accuracy)), abs=1e-12)


def test_nothing_labelled_gives_nan() -> None:
    nothing = np.full((2, 2), IGNORE_INDEX, np.uint8)
    found = matrix(nothing, np.zeros((2, 2), np.uint8))
    assert all(
        math.isnan(value)
        for value in (found.miou(), found.pixel_accuracy(), found.mean_class_accuracy())
    )


def test_wide_ids_are_mapped() -> None:
    ids = IdMap.of({60000: 1, 7: 0}, 2, (65535,))
    labels = np.array([[60000, 7, 65535, 8]], np.uint16)
    np.testing.assert_array_equal(ids.indices(labels), [[1, 0, -1, 2]])


def test_maps_of_different_size_are_refused() -> None:
    small, large = np.zeros((2, 2), np.uint8), np.zeros((4, 4), np.uint8)
    with pytest.raises(UsageError, match=r"\(2, 2\).*\(4, 4\)"):
        matrix(small, large)
    with pytest.raises(UsageError, match="cannot be compared"):
        agreement(small, large)


@pytest.mark.parametrize(("id", "index"), [(70000, 0), (0, 2), (-1, 0)])
def test_an_id_map_refuses_what_is_out_of_range(id: int, index: int) -> None:
    with pytest.raises(UsageError, match=f"label id {id} cannot mean class {index}"):
        IdMap.of({id: index}, 2)


@given(pairs())
def test_agreement_is_symmetric_and_one_with_itself(pair: tuple[Maps, Maps]) -> None:
    assert agreement(*pair) == agreement(pair[1], pair[0])
    assert agreement(pair[0], pair[0]).value == 1.0
    same = sum(a == b for a, b in zip(pair[0].flat, pair[1].flat, strict=True))
    assert agreement(*pair) == Share(same, pair[0].size)


def test_flicker_is_the_share_of_pixels_that_changed_since_the_frame_before() -> None:
    before, after = np.array([[1, 1, 2, 2]], np.uint8), np.array([[1, 3, 2, 2]], np.uint8)
    assert temporal_flicker(before, after) == Share(1, 4)
    assert temporal_flicker(None, after) == Share(0, 0)
    assert temporal_flicker(np.zeros((9, 9), np.uint8), after) == Share(0, 0)


def test_presence_recall_counts_classes_that_cover_enough() -> None:
    labels = np.zeros((10, 10), np.uint8)
    labels[0, :5] = 1  # five of the hundred pixels, of which ten do not count
    labels[1] = IGNORE_INDEX
    labels[2, 0] = 2  # too small to be asked for
    assert presence_recall(labels, IDS, [0], 0.02) == Share(1, 2)
    assert presence_recall(labels, IDS, [0, 1], 0.02) == Share(2, 2)
    assert presence_recall(labels, IDS, [], 5 / 90) == Share(0, 1)


def test_shares_add_up() -> None:
    assert (Share(1, 4) + Share(2, 2)).value == pytest.approx(0.5)
    assert math.isnan(Share().value)
