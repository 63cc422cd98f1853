"""The prompt table: all that the image side needs to know about the vocabulary."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from activesam_ros.errors import VocabularyError
from activesam_ros.prompts.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class PromptTable:
    """The prompts of K queries: L text tokens, N neighbour tokens and H hypernym tokens each.

    fingerprint: names the weights, words and settings that decide the tensors.
    features: [K, L, d], text features in the order of ``vocabulary.queries``.
    padding: bool [K, L], True = padding.
    context: [K, N + H, d], neighbour tokens, then hypernym tokens; zero where missing.
    context_padding: bool [K, N + H], True = missing.

    Raises VocabularyError if the shapes contradict the vocabulary.
    """

    vocabulary: Vocabulary
    fingerprint: str
    features: Tensor
    padding: Tensor
    context: Tensor
    context_padding: Tensor

    def __post_init__(self) -> None:
        queries = len(self.vocabulary.queries)
        length, width = self.features.shape[-2:]
        extra = self.context.shape[-2]
        for name, shape in (
            ("features", (queries, length, width)),
            ("padding", (queries, length)),
            ("context", (queries, extra, width)),
            ("context_padding", (queries, extra)),
        ):
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise VocabularyError(
                    f"The prompt table's {name} has the shape {found}, but the {queries} queries "
                    f"of the vocabulary {self.vocabulary.name!r} need {shape}."
                )

    def to(self, device: torch.device | str, dtype: torch.dtype) -> PromptTable:
        """A copy on ``device`` with features and context in ``dtype``."""
        return dataclasses.replace(
            self,
            features=self.features.to(device, dtype),
            padding=self.padding.to(device),
            context=self.context.to(device, dtype),
            context_padding=self.context_padding.to(device),
        )
