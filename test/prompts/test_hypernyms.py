"""Hypernyms: those a vocabulary brings, and WordNet's."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from activesam_ros.errors import MissingDependencyError
from activesam_ros.prompts.hypernyms import (
    HypernymLookup,
    direct_hypernym_offsets,
    load_wordnet,
    query_hypernyms,
    with_hypernyms,
)
from activesam_ros.prompts.vocabulary import (
    Vocabulary,
    VocabularyClass,
    vocabulary_from_names,
)

BLACK = (0, 0, 0)
MIXED = Vocabulary(
    "mixed",
    (
        VocabularyClass(1, ("road",), BLACK, hypernyms=(("way", "path", "thing"),)),
        VocabularyClass(2, ("tree", "hedge"), BLACK),
        VocabularyClass(3, ("blob",), BLACK, hypernyms=((),)),
    ),
)


def lookup(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name} {place}" for place in range(count))


def no_wordnet() -> HypernymLookup:
    raise MissingDependencyError("no WordNet here; get it there.")


def never() -> HypernymLookup:
    raise AssertionError("WordNet is not needed")


def test_written_hypernyms_come_before_those_looked_up() -> None:
    assert query_hypernyms(MIXED, 2, lambda: lookup) == (
        ("way", "path"),
        ("tree 0", "tree 1"),
        ("hedge 0", "hedge 1"),
        (),
    )


def test_wordnet_is_loaded_only_where_it_is_needed() -> None:
    assert query_hypernyms(MIXED, 0, never) == ((),) * 4
    written = with_hypernyms(MIXED, 2, lambda: lookup)
    assert query_hypernyms(written, 2, never) == query_hypernyms(MIXED, 2, lambda: lookup)


def test_without_wordnet_there_is_one_warning_that_says_how_to_get_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        found = query_hypernyms(MIXED, 2, no_wordnet)
    assert found == (("way", "path"), (), (), ())
    assert len(caplog.records) == 1
    assert "'mixed' go without hypernyms" in caplog.text
    assert "get it there" in caplog.text


def test_with_hypernyms_fills_only_what_is_missing() -> None:
    road, tree, blob = with_hypernyms(MIXED, 1, lambda: lookup).classes
    assert road == MIXED.classes[0]
    assert tree.hypernyms == (("tree 0",), ("hedge 0",))
    assert blob == MIXED.classes[2]


def fake_nltk(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def ensure_loaded() -> None:
        raise error

    corpus = ModuleType("nltk.corpus")
    corpus.wordnet = SimpleNamespace(ensure_loaded=ensure_loaded)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nltk", ModuleType("nltk"))
    monkeypatch.setitem(sys.modules, "nltk.corpus", corpus)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (LookupError("Resource wordnet not found"), "nltk finds no WordNet"),
        (FileNotFoundError("lexnames"), r"cannot be read \(lexnames\)"),
    ],
)
def test_missing_and_damaged_data_say_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    fake_nltk(monkeypatch, error)
    with pytest.raises(MissingDependencyError, match=message + r".*nltk\.downloader wordnet"):
        load_wordnet()


def test_missing_nltk_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nltk", None)
    monkeypatch.setitem(sys.modules, "nltk.corpus", None)
    with pytest.raises(MissingDependencyError, match=r"nltk is not installed; .*pip install nltk"):
        load_wordnet()


def test_offsets_come_in_the_order_of_the_file() -> None:
    # An instance hypernym, a part and a verb beside two direct hypernyms, the higher one first.
    line = (
        "00000042 03 n 0b a 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0 j 0 k 0 005 "
        "@i 00000007 n 0000 @ 00000900 n 0000 %p 00000009 n 0000 + 00000005 v 0101 "
        "@ 00000100 n 0000 | a gloss with an @ 00000001 n 0000"
    )
    assert direct_hypernym_offsets(line) == (900, 100)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("person", ("organism", "causal agent")),
        ("car", ("motor vehicle",)),
        ("Traffic-Light", ("light",)),
        ("trafficlight", ("light",)),
        ("tie", ("neckwear",)),
        ("stairs", ("stairway",)),
        ("tank", ("military vehicle", "armored vehicle")),
        ("sconce", ("shelter",)),
        ("traffic sign", ()),
        ("", ()),
    ],
)
def test_wordnet_gives_the_first_hypernyms_of_the_first_noun_sense(
    wordnet: HypernymLookup, name: str, expected: tuple[str, ...]
) -> None:
    assert wordnet(name, 2) == expected
    assert wordnet(name, 1) == expected[:1]


def test_a_vocabulary_loads_wordnet_once(tmp_path: Path) -> None:
    loads: list[str] = []

    def load() -> HypernymLookup:
        loads.append("")
        return lambda name, count: (f"kind of {name}", f"sort of {name}")[:count]

    def rows(vocabulary: Vocabulary, count: int = 2) -> tuple[tuple[str, ...], ...]:
        return query_hypernyms(vocabulary, count, load, tmp_path)

    cars, pets = vocabulary_from_names(["car", "bus"]), vocabulary_from_names(["cat"])
    first = rows(cars)
    assert first == (("kind of car", "sort of car"), ("kind of bus", "sort of bus"))
    assert rows(cars) == first
    assert len(loads) == 1, "the second time comes from the file"
    assert rows(pets) == (("kind of cat", "sort of cat"),)
    assert rows(cars, 1) == (("kind of car",), ("kind of bus",))
    assert len(loads) == 3, "other names and another count are looked up"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"car": [1]}', b'{"car": "bus"}', b"\xff", b'{"bus": ["x"]}']
)
def test_a_damaged_file_of_hypernyms_is_replaced(tmp_path: Path, content: bytes) -> None:
    cars = vocabulary_from_names(["car"])

    def load() -> HypernymLookup:
        return lambda name, count: ("vehicle",)

    assert query_hypernyms(cars, 2, load, tmp_path) == (("vehicle",),)
    (path,) = tmp_path.iterdir()
    good = path.read_bytes()
    path.write_bytes(content)
    assert query_hypernyms(cars, 2, load, tmp_path) == (("vehicle",),)
    assert path.read_bytes() == good
