"""The lexical table of contextual prompt expansion."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.prompts.canonical import CANONICAL, canonical


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
    assert canonical(name) == expected


@pytest.mark.parametrize("name", ["road", "Road", "tile", "building-other", "neck tie", "東京", ""])
def test_other_names_pass_unchanged(name: str) -> None:
    assert canonical(name) == name


def test_the_table_has_every_entry_under_its_own_key() -> None:
    assert len(CANONICAL) == 28 + 12 + 7
    assert all(key.isalnum() and key == key.lower() for key in CANONICAL)


@given(st.one_of(st.text(), st.sampled_from(sorted(CANONICAL))))
def test_a_canonical_name_is_its_own_canonical_name(name: str) -> None:
    assert canonical(canonical(name)) == canonical(name)
