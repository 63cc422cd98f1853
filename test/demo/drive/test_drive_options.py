"""Bounds of a drive's options, its stamps and its seeds."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.commands.demo_drive import add_arguments, parse_size, run
from activesam_ros.demo.drive.options import TEST_SEEDS, TRAIN_SEEDS, VALIDATION_SEEDS, DriveOptions
from activesam_ros.errors import UsageError


def test_seeds_for_training_validation_and_test_are_disjoint() -> None:
    ranges = sorted((TRAIN_SEEDS, VALIDATION_SEEDS, TEST_SEEDS), key=lambda seeds: seeds.start)
    assert all(len(seeds) >= 1000 for seeds in ranges)
    assert ranges[0].stop <= ranges[1].start
    assert ranges[1].stop <= ranges[2].start


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": -1}, "0 to"),
        ({"frames": 0}, "1 to"),
        ({"width": 321}, "even"),
        ({"height": 62}, "64 to 4096"),
        ({"width": 5000}, "64 to 4096"),
        ({"rate_hz": 0.1}, "0.5 to 120"),
        ({"rate_hz": float("nan")}, "0.5 to 120"),
        ({"cameras": 9}, "1 to 8"),
        ({"cameras": 0}, "1 to 8"),
        ({"start_ns": -5}, "0 to"),
        ({"frames": 50_000, "rate_hz": 0.5}, "86,400 s"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_bound(
    changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError, match=named) as caught:
        DriveOptions(**changes)
    assert str(next(iter(changes.values()))) in str(caught.value)


@given(
    rate_hz=st.floats(0.5, 120.0),
    index=st.integers(0, 900_000),
    start_ns=st.integers(0, 2**61),
)
def test_stamps_increase_and_keep_the_rate(rate_hz: float, index: int, start_ns: int) -> None:
    options = DriveOptions(rate_hz=rate_hz, start_ns=start_ns)
    step = options.stamp_ns(index + 1) - options.stamp_ns(index)
    assert step > 0
    assert step == pytest.approx(1e9 / rate_hz, abs=2 + 1e-9 * index * 1e9 / rate_hz)
    assert options.stamp_ns(0) == start_ns


@pytest.mark.parametrize("text", ["640", "640x", "x384", "640*384", "-640x384", "6.4x3", ""])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="640x384"):
        parse_size(text)


def test_command_line_checks_before_it_writes(tmp_path: Any) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    output = tmp_path / "drive.mcap"
    args = parser.parse_args(["--size", "640x385", "--output", str(output)])
    with pytest.raises(UsageError, match="odd"):
        run(args)
    assert list(tmp_path.iterdir()) == []
