"""Results of calibration: plain data, whatever the journal holds."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.calibration.estimator import SignatureSums
from activesam_ros.calibration.worker import CalibrationResult, result_format
from activesam_ros.errors import PlainDataError

CLASSES = 9
FORMAT = result_format(CLASSES)


@st.composite
def results(draw: st.DrawFn) -> CalibrationResult:
    sums = SignatureSums.zeros(sorted(draw(st.sets(st.integers(0, CLASSES - 1)))))
    numbers = np.random.default_rng(draw(st.integers(0, 99)))
    for array in sums.counts:
        array[:] = numbers.integers(0, 2**60, array.shape)
    problems = Counter(draw(st.dictionaries(st.text(), st.integers(1, 9), max_size=3)))
    notes = tuple(draw(st.lists(st.text(), max_size=2)))
    return CalibrationResult(sums, draw(st.integers(0, 99)), problems, draw(st.booleans()), notes)


@given(results())
def test_a_result_survives_the_journal(result: CalibrationResult) -> None:
    found = FORMAT.decode(FORMAT.encode(result))
    for name in ("classes", "sums", "sizes", "images_won"):
        assert (getattr(found.sums, name) == getattr(result.sums, name)).all()
    assert (found.images, found.problems, found.ended, found.notes) == (
        *(result.images, result.problems, result.ended, result.notes),
    )


def changed(**values: object) -> bytes:
    """The bytes of a result of three classes, with other values."""
    sums = SignatureSums.zeros([1, 4, 7])
    kept = {name: values.pop(name) for name in list(values) if hasattr(sums, name)}
    result = CalibrationResult(dataclasses.replace(sums, **kept), 5)  # type: ignore[arg-type]
    return FORMAT.encode(dataclasses.replace(result, **values))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [
        {"classes": np.array([1, 4, 4])},
        {"classes": np.array([1, 7, 4])},
        {"classes": np.array([-1, 4, 7])},
        {"classes": np.array([1, 4, CLASSES])},
        {"classes": np.array([[1, 4, 7]])},
        {"classes": np.array([1, 4])},
        {"sums": np.zeros((3, 3, 2), np.int64)},
        {"sizes": np.full((3, 3), -1)},
        {"sizes": np.zeros((3, 3))},
        {"images_won": np.zeros(2, np.int64)},
        {"images": -1},
        {"problems": Counter({"torn": -2})},
    ],
)
def test_a_result_that_cannot_be_true_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(PlainDataError):
        FORMAT.decode(changed(**values))


@given(results(), st.data())
def test_a_damaged_result_is_refused_or_one_of_the_vocabulary(
    result: CalibrationResult, data: st.DataObject
) -> None:
    made = bytearray(FORMAT.encode(result))
    for place in data.draw(st.lists(st.integers(0, len(made) - 1), min_size=1, max_size=4)):
        made[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(made)))
    for damaged in (bytes(made), bytes(made[:cut])):
        try:
            found = FORMAT.decode(damaged)
        except PlainDataError:
            continue
        assert set(found.sums.classes.tolist()) <= set(range(CLASSES))
