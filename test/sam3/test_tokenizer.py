"""Token ids equal the reference's; what does not fit is refused."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from activesam_ros.errors import VocabularyError
from activesam_ros.sam3.tokenizer import Tokenizer

TOKENIZER = Tokenizer()
START, END = 49406, 49407


def test_ids_equal_the_reference(stages: Mapping[str, NDArray[np.generic]]) -> None:
    names = [str(name) for name in stages["prompts"]]
    assert np.array_equal(TOKENIZER.encode(names), stages["text.token_ids"])


# Computed with the tokenizer of the sam3 package, version 0.1.4.
@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("don't", [847, 713]),
        ("  Traffic \t LIGHT ", [3399, 1395]),
        ("tree, hedge", [2677, 267, 20294]),
        ("fish &amp; chips", [2759, 261, 8855]),
        ("“car”", [257, 1615, 257]),
        ("2 cars", [273, 3346]),
    ],
)
def test_cleaning_and_merging(text: str, ids: list[int]) -> None:
    assert TOKENIZER.encode([text])[0, : len(ids) + 2].tolist() == [START, *ids, END]


@given(st.text(max_size=20))
def test_any_text_is_framed_and_padded(text: str) -> None:
    length = TOKENIZER.length(text)
    if length > 32:
        with pytest.raises(VocabularyError, match=f"takes {length} tokens, more than the 32"):
            TOKENIZER.encode([text])
        return
    row = TOKENIZER.encode([text])[0]
    assert row[0] == START
    assert row[length - 1] == END
    assert not row[length:].any()
    assert (row[:length] > 0).all() or "!" in text  # the id of "!" is 0


def test_long_prompt_names_itself() -> None:
    with pytest.raises(VocabularyError, match="shorten it"):
        TOKENIZER.encode(["very " * 31])
    assert TOKENIZER.encode(["very " * 30]).shape == (1, 32)
