"""The two background rules, number by number."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from activesam_ros.errors import SettingsError, VocabularyError
from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.segmentation.background import (
    Background,
    background_class,
    background_label,
    below_threshold,
    has_small_ids,
    margin_aware,
)
from activesam_ros.settings import Settings

scores = st.floats(0, 1, width=32)


def numbered(*ids: int, **names: int) -> Vocabulary:
    """A class for each of ``ids``, and one for each of ``names``."""
    known = {f"thing {id}": id for id in ids} | names
    return Vocabulary(
        "v", tuple(VocabularyClass(id, (name,), (0, 0, 0)) for name, id in known.items())
    )


@pytest.mark.parametrize(
    ("vocabulary", "expected"),
    [
        (numbered(1, 2, 255), 0),
        (numbered(0, 1), 255),
        (numbered(0, 255), 254),
        (numbered(*range(255)), 255),
        (numbered(*range(256)), 65535),
        (numbered(0, 300), 65535),
        (numbered(1, 300), 0),
        (numbered(0, background=7), 7),
        (numbered(0, Background=7), 7),
        (load_vocabulary("cityscapes"), 255),
        (load_vocabulary("coco_stuff"), 255),
        (load_vocabulary("driving"), 0),
        (load_vocabulary("voc21"), 0),
    ],
)
def test_the_background_has_an_id_of_its_own(vocabulary: Vocabulary, expected: int) -> None:
    assert background_label(vocabulary, Settings(background_threshold=0.5)) == expected


@given(st.sets(st.integers(0, 300), min_size=1), st.booleans())
def test_the_background_is_no_class_and_does_not_widen_the_mask(ids: set[int], wide: bool) -> None:
    vocabulary = numbered(*ids, *((65534,) if wide else ()))
    found = background_label(vocabulary, Settings())
    assert found not in {entry.id for entry in vocabulary.classes}
    assert has_small_ids(vocabulary) == has_small_ids(numbered(*ids, 301) if wide else vocabulary)
    if has_small_ids(vocabulary):
        assert found <= 255


def test_the_id_of_another_class_is_refused() -> None:
    cityscapes, voc21 = load_vocabulary("cityscapes"), load_vocabulary("voc21")
    with pytest.raises(SettingsError, match="background_id=0 is the id of the class 'road'"):
        background_label(cityscapes, Settings(background_threshold=0.5, background_id=0))
    assert background_label(voc21, Settings(background_threshold=0.5, background_id=0)) == 0
    assert background_label(voc21, Settings(background_threshold=0.5, background_id=99)) == 99
    # A parameter file of an older version, without a threshold.
    assert background_label(cityscapes, Settings(background_id=0)) == 255


def test_any_class_may_mean_background() -> None:
    cityscapes, voc21 = load_vocabulary("cityscapes"), load_vocabulary("voc21")
    sky = Settings(background_threshold=0.5, background_class="sky")
    named = background_class(cityscapes, sky)
    assert named is not None
    assert named.name == "sky"
    assert background_label(cityscapes, sky) == named.id
    assert background_label(cityscapes, sky.replace({"background_id": named.id})) == named.id
    found = background_class(voc21, Settings())
    assert found is not None
    assert found.names[0] == "background"
    assert background_class(cityscapes, Settings()) is None
    with pytest.raises(VocabularyError, match="has no class 'unicorn'"):
        background_label(cityscapes, Settings(background_class="unicorn"))


def test_without_a_threshold_only_what_nothing_scores_is_background() -> None:
    best = torch.tensor([0.0, 1e-30, 1.0])
    for exponent in (None, 1.25):
        assert Background(0.0, exponent).empty(best, best * 0).tolist() == [True, False, False]


def test_margin_aware_calibration() -> None:
    best = torch.tensor([0.9, 0.9, 0.3, 0.2])
    second = torch.tensor([0.1, 0.8999, 0.0, 0.25])
    # 0.9 * sqrt(0.8) = 0.805; 0.9 * 0.01 = 0.009; 0.3 * sqrt(0.3) = 0.164; below zero counts as 0
    empty = margin_aware(best, second, threshold=0.4, exponent=1.25)  # 0.4 ** 1.25 = 0.318
    assert empty.tolist() == [False, True, True, True]


def test_plain_threshold() -> None:
    assert below_threshold(torch.tensor([0.39, 0.4]), 0.4).tolist() == [True, False]


@example(best=0.1, second=0.0, threshold=0.4, exponent=1.25, share=0.999)
@given(
    best=scores,
    second=scores,
    threshold=st.floats(0.05, 0.95),
    exponent=st.sampled_from((None, 1.0, 1.25, 2.0)),
    share=st.floats(0, 0.999),
)
def test_a_class_below_what_is_settled_changes_nothing(
    best: float, second: float, threshold: float, exponent: float | None, share: float
) -> None:
    rule = Background(threshold, exponent)
    first, other = torch.tensor(max(best, second)), torch.tensor(min(best, second))
    before = rule.empty(first, other)
    assert before is not None
    settled = rule.settled_below(first, other)
    score = settled * share
    assert score <= first
    assert rule.empty(first, other.maximum(score)) == before
    score = rule.labels_settled_below(first, other) * share
    higher, runner_up = first.maximum(score), first.minimum(score).maximum(other)
    assert rule.empty(higher, runner_up) == before
    assert before or higher == first
