"""The lexical table of contextual prompt expansion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.prompts.canonical import CANONICAL, canonical_name, prompt_of
from activesam_ros.sam3.tokenizer import Tokenizer

LONG = Tokenizer(context_length=64)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("trafficlight", "traffic light"),
        ("Traffic-Light", "traffic light"),
        ("traffic light", "traffic light"),
        ("wall-wood", "wooden wall"),
        ("wall-panel", "wall panel"),
        ("floor-tile", "tile floor"),
        ("tie", "necktie"),
        ("Mouse", "computer mouse"),
        ("aeroplane", "airplane"),
        ("conveyerbelt", "conveyor belt"),
        ("televisionreceiver", "television receiver"),
    ],
)
def test_names_in_the_table_are_replaced(name: str, expected: str) -> None:
    assert prompt_of(name) == expected


@pytest.mark.parametrize("name", ["road", "Road", "tile", "building-other", "neck tie", "東京", ""])
def test_other_names_pass_unchanged(name: str) -> None:
    assert prompt_of(name) == name


def test_the_table_has_every_entry_under_its_own_key() -> None:
    assert len(CANONICAL) == 28 + 12 + 7
    assert all(key.isalnum() and key == key.lower() for key in CANONICAL)


@given(st.one_of(st.text(), st.sampled_from(sorted(CANONICAL))))
def test_a_canonical_name_is_its_own_canonical_name(name: str) -> None:
    assert prompt_of(prompt_of(name)) == prompt_of(name)


@pytest.mark.parametrize(
    "name", ["mouse \N{MOUSE FACE}", "\N{MOUSE FACE}", "tié", "remote 東京", "мonitor"]
)
def test_pictographs_and_other_letters_stay_in_the_prompt(name: str) -> None:
    assert prompt_of(name) == name
    assert canonical_name(name) == name


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("motorbike", "motorcycle"),
        ("Traffic-Light", "trafficlight"),
        ("ｃａｒ", "car"),
        ("ｔｉｅ", "necktie"),
        ("R&amp;D", "R&D"),
        ("bus  stop", "Bus Stop"),
        ("don’t", "don't"),
        ("tie!", "tie"),
        ("a-b", "a - b"),
        ("lane 12", "lane 1 2"),
    ],
)
def test_names_that_are_one_prompt_have_one_canonical_name(
    tokenizer: Tokenizer, first: str, second: str
) -> None:
    assert np.array_equal(*tokenizer.encode([prompt_of(first), prompt_of(second)]))
    assert canonical_name(first) == canonical_name(second)


@given(st.lists(st.one_of(st.text("aB1 -'&;ｔié", max_size=8), st.text(max_size=8)), max_size=8))
def test_canonical_names_are_equal_exactly_where_the_tokens_are(
    names: list[str],
) -> None:
    tokens = [tuple(LONG.encode([prompt_of(name)])[0]) for name in names]
    assert len(set(tokens)) == len(set(map(canonical_name, names)))
