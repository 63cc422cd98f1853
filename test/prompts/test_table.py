"""The prompt table's shapes and its copies."""

from __future__ import annotations

import pytest
import torch

from activesam_ros.errors import VocabularyError
from activesam_ros.prompts.table import PromptTable
from activesam_ros.prompts.vocabulary import vocabulary_from_names
from activesam_ros.sam3.tokenizer import Tokenizer


def make(tokenizer: Tokenizer, **shapes: tuple[int, ...]) -> PromptTable:
    sizes = {
        "features": (3, 32, 8),
        "padding": (3, 32),
        "context": (3, 4, 8),
        "context_padding": (3, 4),
        **shapes,
    }
    return PromptTable(
        vocabulary=vocabulary_from_names(["road", "tree, hedge"], tokenizer=tokenizer),
        fingerprint="f",
        features=torch.ones(sizes["features"]),
        padding=torch.zeros(sizes["padding"], dtype=torch.bool),
        context=torch.ones(sizes["context"]),
        context_padding=torch.zeros(sizes["context_padding"], dtype=torch.bool),
    )


def test_a_copy_in_another_precision_leaves_the_padding_boolean(tokenizer: Tokenizer) -> None:
    table = make(tokenizer)
    copy = table.to("cpu", torch.bfloat16)
    assert (copy.features.dtype, copy.context.dtype) == (torch.bfloat16, torch.bfloat16)
    assert (copy.padding.dtype, copy.context_padding.dtype) == (torch.bool, torch.bool)
    assert table.features.dtype == torch.float32
    assert (copy.vocabulary, copy.fingerprint) == (table.vocabulary, "f")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("features", (2, 32, 8)),
        ("padding", (3, 31)),
        ("context", (3, 4, 9)),
        ("context", (2, 4, 8)),
        ("context_padding", (3, 5)),
    ],
)
def test_tensors_that_contradict_the_vocabulary_are_refused(
    tokenizer: Tokenizer, name: str, shape: tuple[int, ...]
) -> None:
    with pytest.raises(VocabularyError, match="3 queries of the vocabulary 'names' need"):
        make(tokenizer, **{name: shape})
