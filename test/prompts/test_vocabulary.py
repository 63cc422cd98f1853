"""The vocabulary's classes, queries and lookups."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.errors import VocabularyError
from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass

RED = (255, 0, 0)


def make(*classes: tuple[int, tuple[str, ...], bool]) -> Vocabulary:
    return Vocabulary(
        "test",
        tuple(VocabularyClass(class_id, names, RED, pin) for class_id, names, pin in classes),
    )


@pytest.fixture
def street() -> Vocabulary:
    return make(
        (5, ("road",), False), (2, ("tree", "hedge"), False), (9, ("person", "child"), True)
    )


def test_queries_are_every_name_in_class_order(street: Vocabulary) -> None:
    assert street.queries == ("road", "tree", "hedge", "person", "child")
    assert street.query_class == (0, 1, 1, 2, 2)


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=10),
)
def test_queries_and_query_class_agree(alias_counts: list[int]) -> None:
    vocabulary = make(
        *(
            (index, tuple(f"{index} {alias}" for alias in range(count)), False)
            for index, count in enumerate(alias_counts)
        )
    )
    assert len(vocabulary.queries) == len(vocabulary.query_class) == sum(alias_counts)
    assert list(vocabulary.query_class) == sorted(vocabulary.query_class)
    for query, index in zip(vocabulary.queries, vocabulary.query_class, strict=True):
        assert query in vocabulary.classes[index].names


def test_a_class_is_found_by_name_and_alias(street: Vocabulary) -> None:
    tree = street.classes[1]
    assert street.class_named("tree") is tree
    assert street.class_named(" HEDGE ") is tree


@pytest.mark.parametrize(
    "name", ["trafficlight", "traffic_light", "Traffic Light", "ｔrafficlight"]
)
def test_a_class_is_found_however_its_words_are_joined(name: str) -> None:
    vocabulary = make((1, ("traffic light",), False), (2, ("lane marking",), False))
    assert vocabulary.class_named(name).id == 1
    assert make((1, (name,), False)).class_named("traffic light").id == 1
    assert vocabulary.class_named("lane_marking").id == 2


def test_letters_that_two_classes_share_find_neither() -> None:
    vocabulary = make((1, ("hot dog",), False), (2, ("hotdog",), False))
    assert [vocabulary.class_named(name).id for name in ("hotdog", "hot dog")] == [2, 1]
    with pytest.raises(VocabularyError, match="no class 'hot-dog'"):
        vocabulary.class_named("hot-dog")


def test_an_unknown_class_is_refused_with_those_that_come_close(street: Vocabulary) -> None:
    with pytest.raises(VocabularyError, match="no class 'persn'; did you mean 'person'"):
        street.class_named("persn")


def test_pinned_queries_are_those_of_the_file_and_the_named_ones(street: Vocabulary) -> None:
    assert street.pinned_queries() == (3, 4)
    assert street.pinned_queries(["Hedge"]) == (1, 2, 3, 4)
    with pytest.raises(VocabularyError, match="'boat'"):
        street.pinned_queries(["boat"])


def test_an_empty_vocabulary_is_refused() -> None:
    with pytest.raises(VocabularyError, match="no classes"):
        Vocabulary("empty", ())


def test_an_id_or_name_there_twice_is_refused() -> None:
    with pytest.raises(VocabularyError, match=r"'road' and 'sky' .* same id 1"):
        make((1, ("road",), False), (1, ("sky",), False))
    with pytest.raises(VocabularyError, match=r"'sky' and 'Sky' .* one prompt"):
        make((1, ("sky", "road"), False), (2, ("Sky",), False))
    with pytest.raises(VocabularyError, match=r"'motorbike' and 'motorcycle' .* one prompt"):
        make((1, ("motorbike",), False), (2, ("motorcycle",), False))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"id": -1}, "-1 .* out of range; give 0 to 65534"),
        ({"id": 65535}, "65535 .* out of range"),
        ({"names": ()}, "no name"),
        ({"color": (0, 0, 256)}, "three numbers from 0 to 255"),
        ({"color": (0, 0)}, "three numbers from 0 to 255"),
        ({"hypernyms": ((), ())}, "1 names but hypernyms for 2"),
        ({"threshold": 1.5}, "threshold 1.5 of 'road' is out of range; give 0 to 1"),
        ({"threshold": -0.01}, "threshold -0.01 of 'road' is out of range"),
        ({"threshold": float("nan")}, "threshold nan of 'road' is out of range"),
    ],
)
def test_a_class_with_values_out_of_range_is_refused(
    values: dict[str, object], message: str
) -> None:
    good: dict[str, object] = {"id": 1, "names": ("road",), "color": RED}
    with pytest.raises(VocabularyError, match=message):
        VocabularyClass(**{**good, **values})  # type: ignore[arg-type]
