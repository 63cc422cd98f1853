"""Vocabularies from names at run time, and ids that stay."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.errors import VocabularyError
from activesam_ros.prompts.vocabulary import (
    Vocabulary,
    VocabularyClass,
    keep_ids,
    vocabulary_from_names,
)
from activesam_ros.sam3.tokenizer import Tokenizer

WORDS = [f"thing {letter}" for letter in "abcdefghijkl"]
REQUESTS = st.lists(st.sampled_from(WORDS), unique=True, min_size=1)


def ids(vocabulary: Vocabulary) -> dict[str, int]:
    return {entry.name: entry.id for entry in vocabulary.classes}


def test_ids_start_behind_the_unlabelled_zero(tokenizer: Tokenizer) -> None:
    vocabulary = vocabulary_from_names(["road", " tree , hedge"], tokenizer=tokenizer)
    assert ids(vocabulary) == {"road": 1, "tree": 2}
    assert vocabulary.queries == ("road", "tree", "hedge")


def test_background_is_zero(tokenizer: Tokenizer) -> None:
    vocabulary = vocabulary_from_names(["road", "Background", "car"], tokenizer=tokenizer)
    assert ids(vocabulary) == {"road": 1, "Background": 0, "car": 2}


def test_the_networks_own_tokenizer_counts_where_none_is_given() -> None:
    assert vocabulary_from_names(["road"]).queries == ("road",)
    with pytest.raises(VocabularyError, match=r"name 2: .* 42 tokens .* more than the 32"):
        vocabulary_from_names(["road", "very " * 39 + "long"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no classes"),
        (["road", ""], "name 2: there is no class name"),
        (["road", "  "], "name 2: there is no class name"),
        (["tree,,hedge"], "name 1: .*empty name next to a comma"),
        (["road", "ROAD"], "name 2: the name 'ROAD' is already in name 1"),
        (["tree, bush", "car, Bush "], "name 2: the name 'Bush' is already in name 1"),
        (["aeroplane", "sky", "Airplane"], "name 3: .*'aeroplane' in name 1 are one prompt"),
        (["a\x00b"], r"U\+0000"),
        (["x" * 2000], "2,000 characters"),
        ([str(number) for number in range(65_536)], "65,536 classes"),
        (["road", "{name: car"], "name 2: this is not YAML"),
        (["{threshold: 0.5}"], "name 1: a class has no 'name'"),
        (["road", "{name: car, threshold: 2}"], "name 2: 'threshold' must be a number from 0 to 1"),
        (["{name: car, id: 4}"], "name 1: a class has the unknown key 'id'; known are name, al"),
        (["{name: road}", "{name: car, aliases: [Road]}"], "name 2: the name 'Road' is already"),
        (["{name: 'tree, hedge'}"], "name 1: the name 'tree, hedge' has a comma"),
        (["{name: car}, bus"], "name 1: this is not YAML"),
        (["{" * 5000], "name 1: .* 5,000 characters"),
        (["{" * 900], "name 1: this YAML is nested too deeply"),
    ],
)
def test_names_that_cannot_be_used_are_refused(
    names: list[str], message: str, tokenizer: Tokenizer
) -> None:
    with pytest.raises(VocabularyError, match=message):
        vocabulary_from_names(names, tokenizer=tokenizer)


def test_names_that_stay_keep_id_color_and_pin(tokenizer: Tokenizer) -> None:
    previous = Vocabulary(
        "old",
        (
            VocabularyClass(7, ("car",), (0, 0, 142), pinned=True, hypernyms=(("vehicle",),)),
            VocabularyClass(2, ("tree", "hedge"), (1, 2, 3), hypernyms=(("plant",), ("fence",))),
            VocabularyClass(1, ("sky",), (4, 5, 6)),
        ),
    )
    new = vocabulary_from_names(["dog", "hedge", "Car, taxi", "cat"], previous, tokenizer)
    dog, hedge, car, cat = new.classes
    assert (car.id, car.color, car.pinned) == (7, (0, 0, 142), True)
    assert car.names == ("Car", "taxi")
    assert car.hypernyms is None, "those of taxi are not known"
    assert (hedge.id, hedge.color, hedge.pinned) == (2, (1, 2, 3), False)
    assert hedge.hypernyms == (("fence",),)
    assert not {dog.id, cat.id} & {7, 2, 1}
    assert dog.id != cat.id


def test_a_name_may_be_a_class_as_in_yaml(tokenizer: Tokenizer) -> None:
    previous = vocabulary_from_names(
        ["car, taxi", "{name: person, pinned: true, threshold: 0.5}", " { name: dog } "],
        tokenizer=tokenizer,
    )
    car, person, dog = previous.classes
    assert (car.pinned, car.threshold) == (False, 0.0)
    assert (person.names, person.pinned, person.threshold) == (("person",), True, 0.5)
    assert (dog.id, dog.names) == (3, ("dog",))
    new = vocabulary_from_names(
        ["{name: person, pinned: false}", "dog", "{name: car, aliases: [taxi], threshold: 0.25}"],
        previous,
        tokenizer,
    )
    # What a text does not say stays as it was.
    assert [(entry.id, entry.pinned, entry.threshold) for entry in new.classes] == [
        (person.id, False, 0.5), (dog.id, False, 0.0), (car.id, False, 0.25),
    ]  # fmt: skip
    last = vocabulary_from_names(["{name: person, threshold: 0}", "car"], new, tokenizer)
    assert [entry.threshold for entry in last.classes] == [0.0, 0.25]


def test_another_spelling_of_the_same_prompt_keeps_the_class(tokenizer: Tokenizer) -> None:
    previous = vocabulary_from_names(["sky", "motorbike"], tokenizer=tokenizer)
    new = vocabulary_from_names(["motorcycle", "sky"], previous, tokenizer)
    assert ids(new) == {"motorcycle": 2, "sky": 1}


def test_a_display_name_comes_before_an_alias(tokenizer: Tokenizer) -> None:
    previous = vocabulary_from_names(["tree, hedge", "bush"], tokenizer=tokenizer)
    new = vocabulary_from_names(["hedge", "tree", "hedgehog, bush"], previous, tokenizer)
    tree, bush = ids(previous)["tree"], ids(previous)["bush"]
    assert ids(new)["tree"] == tree
    assert ids(new)["hedgehog"] == bush
    assert ids(new)["hedge"] not in (tree, bush)


def test_the_ids_stay_small_through_many_changes(tokenizer: Tokenizer) -> None:
    vocabulary = vocabulary_from_names(WORDS, tokenizer=tokenizer)
    for change in range(100):
        names = [f"thing {change} {index}" for index in range(100)]
        vocabulary = vocabulary_from_names(names, vocabulary, tokenizer)
    assert max(ids(vocabulary).values()) <= 255


@given(REQUESTS, REQUESTS)
def test_set_changes_keep_ids_and_colors(
    tokenizer: Tokenizer, before: list[str], after: list[str]
) -> None:
    previous = vocabulary_from_names(before, tokenizer=tokenizer)
    new = vocabulary_from_names(after, previous, tokenizer)
    assert new.queries == tuple(after)
    old = {entry.name: entry for entry in previous.classes}
    for entry in new.classes:
        if entry.name in old:
            assert (entry.id, entry.color) == (old[entry.name].id, old[entry.name].color)
        else:
            assert entry.id not in {known.id for known in previous.classes}
            assert entry.id > 0
    assert len({entry.color for entry in new.classes}) == len(new.classes)
    assert vocabulary_from_names(after, new, tokenizer) == new


def test_a_preset_keeps_its_own_free_ids(tokenizer: Tokenizer) -> None:
    previous = vocabulary_from_names(["car", "dog"], tokenizer=tokenizer)
    preset = Vocabulary(
        "preset",
        (
            VocabularyClass(1, ("road",), previous.classes[0].color),
            VocabularyClass(50, ("car",), (9, 9, 9), pinned=True, threshold=0.25),
            VocabularyClass(60, ("sky",), (8, 8, 8)),
        ),
    )
    merged = keep_ids(preset, previous)
    assert ids(merged) == {"road": 3, "car": 1, "sky": 60}
    road, car, sky = merged.classes
    assert car == dataclasses.replace(preset.classes[1], id=1, color=previous.classes[0].color)
    assert sky.color == (8, 8, 8)
    assert road.color not in (car.color, sky.color)


def test_ids_that_went_away_are_taken_only_when_no_other_is_left() -> None:
    def full(prefix: str, count: int) -> Vocabulary:
        return Vocabulary(
            prefix,
            tuple(
                VocabularyClass(number, (f"{prefix}{number}",), (0, 0, number % 256))
                for number in range(count)
            ),
        )

    previous, wanted = full("a", 40_000), full("b", 40_000)
    merged = keep_ids(wanted, previous)
    found = [entry.id for entry in merged.classes]
    assert len(set(found)) == 40_000
    assert set(range(40_000, 65_535)) <= set(found)
