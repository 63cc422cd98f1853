"""Values come back as they were; anything else in their place is refused."""

from __future__ import annotations

import contextlib
import enum
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load, save

from activesam_ros.errors import ActiveSamError, PlainDataError
from activesam_ros.plain_data import from_bytes, from_json, to_bytes


class Colour(enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    name: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Everything:
    flag: bool
    count: int
    share: float | None
    where: Path
    colour: Colour
    data: bytes
    labels: NDArray[np.uint8] | NDArray[np.uint16]
    parts: list[Inner]
    times: Mapping[str, float]
    problems: Counter[str]
    names: tuple[str, ...]


def example() -> Everything:
    return Everything(
        True,
        -(1 << 62),
        0.1,
        Path("/a/b"),
        Colour.RED,
        b"\0\xff",
        np.arange(6, dtype=np.uint16).reshape(2, 3),
        [Inner("é\n", (1, 2)), Inner("", (3, 4))],
        {"encode": 1.5, "total": 2.0},
        Counter({"dark": 3}),
        ("a", "b"),
    )


def same(one: Everything, other: Everything) -> bool:
    fields = [name for name in vars(one) if name != "labels"]
    return (
        all(getattr(one, name) == getattr(other, name) for name in fields)
        and one.labels.dtype == other.labels.dtype
        and np.array_equal(one.labels, other.labels)
    )


def test_a_value_comes_back_as_it_was() -> None:
    assert same(from_bytes(to_bytes(example()), Everything), example())
    empty = Everything(
        False, 0, None, Path(), Colour.RED, b"", np.zeros((0, 4), np.uint8), [], {}, Counter(), ()
    )
    assert same(from_bytes(to_bytes(empty), Everything), empty)


def test_numbers_keep_their_last_bit() -> None:
    @dataclass
    class Number:
        value: float

    for value in (0.1, 1e-310, -0.0, 2**-1074, 1.7e308, float("nan"), float("-inf")):
        assert from_bytes(to_bytes(Number(value)), Number).value.hex() == value.hex()
    with pytest.raises(TypeError, match="a object is no plain data"):
        to_bytes(object())


def changed(**values: object) -> bytes:
    """The example's bytes with other JSON values."""
    arrays = load(to_bytes(example()))
    tree = json.loads(arrays["content"].tobytes()) | values
    text = json.dumps(tree).encode()
    return save(arrays | {"content": np.frombuffer(text, np.uint8)})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("flag", 1),
        ("count", True),
        ("count", 1.0),
        ("count", None),
        ("share", "0.1"),
        ("share", 1 << 64),
        ("where", 3),
        ("colour", "green"),
        ("colour", ["red"]),
        ("data", 99),
        ("data", 1),  # the labels, of another dtype
        ("data", True),
        ("labels", "content"),
        ("parts", {"name": "x"}),
        ("parts", [{"name": "x"}]),
        ("parts", [{"name": "x", "size": [1, 2], "more": 1}]),
        ("parts", [{"name": "x", "size": [1]}]),
        ("times", {"encode": 1.5}),
        ("times", [["encode"]]),
        ("times", [["encode", 1.0], ["encode", 2.0]]),
        ("times", [[{"a": []}, 1.0]]),
        ("problems", [["dark", "many"]]),
        ("names", "ab"),
        ("other", 1),
    ],
)
def test_another_value_is_refused(name: str, value: object) -> None:
    with pytest.raises(PlainDataError) as caught:
        from_bytes(changed(**{name: value}), Everything)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "[" * 100_000, "9" * 5000, "{}", "null", '{"name": "a"}', "NaN"]
)
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(PlainDataError):
        from_json(text, Inner)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(PlainDataError):
        from_bytes(data, Everything)


@settings(max_examples=300)
@given(place=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_a_changed_byte_raises_no_other_error(place: int, byte: int) -> None:
    data = bytearray(to_bytes(example()))
    data[place % len(data)] = byte
    with contextlib.suppress(ActiveSamError):
        from_bytes(bytes(data), Everything)
