"""Results of calibration: plain data, whatever the journal holds."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.calibration.estimator import SignatureSums
from activesam_ros.calibration.worker import CalibrationResult, result_format

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
    for name in ("classes", "sums", "sizes", "images"):
        assert (getattr(found.sums, name) == getattr(result.sums, name)).all()
    assert (found.images, found.problems, found.ended, found.notes) == (
        *(result.images, result.problems, result.ended, result.notes),
    )


@given(results(), st.data())
def test_a_damaged_result_is_a_value_error_or_a_result(
    result: CalibrationResult, data: st.DataObject
) -> None:
    made = bytearray(FORMAT.encode(result))
    for place in data.draw(st.lists(st.integers(0, len(made) - 1), min_size=1, max_size=4)):
        made[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(made)))
    for damaged in (bytes(made), bytes(made[:cut])):
        try:
            found = FORMAT.decode(damaged)
        except ValueError:
            continue
        assert set(found.sums.classes.tolist()) <= set(range(CLASSES))


@pytest.mark.parametrize("classes", [[3, 3], [4, 2], [-1], [CLASSES], [1e400], None, ["a"]])
def test_classes_of_another_vocabulary_are_refused(classes: object) -> None:
    head = {"classes": classes, "images": 1, "problems": {}, "ended": True, "notes": []}
    with pytest.raises(ValueError, match=r"."):
        FORMAT.decode(json.dumps(head).encode() + b"\n" + bytes(8 * (3 * (4 + 2) + 2)))
