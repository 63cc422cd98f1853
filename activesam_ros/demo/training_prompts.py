"""The prompts of the training, in token ids: a table that needs no tokenizer to be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from activesam_ros.demo.classes import VOCABULARY_NAME
from activesam_ros.demo.training_names import ABSENT_VOCABULARIES, AMBIGUOUS, SYNONYMS
from activesam_ros.errors import UsageError
from activesam_ros.prompts.canonical import canonical
from activesam_ros.prompts.hypernyms import HypernymLookup, load_wordnet, query_hypernyms
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.sam3.tokenizer import Tokenizer

ABSENT = -1
HYPERNYMS = 2


@dataclass(frozen=True, eq=False)
class TrainingPrompts:
    """Every name the network is asked for in training.

    tokens: int64 [N, L]; class_ids: int64 [N], the Cityscapes train id or ABSENT; bundled: bool
    [N], the name stands in the Cityscapes vocabulary; hypernyms: int64 [N, 2, L], all 0 where
    missing.
    """

    names: tuple[str, ...]
    tokens: NDArray[np.int64]
    class_ids: NDArray[np.int64]
    bundled: NDArray[np.bool_]
    hypernyms: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    def save(self, path: Path) -> None:
        """Write an ``.npz`` file."""
        np.savez_compressed(
            path,
            names=np.array(self.names),
            tokens=self.tokens,
            class_ids=self.class_ids,
            bundled=self.bundled,
            hypernyms=self.hypernyms,
        )

    @classmethod
    def load(cls, path: Path) -> TrainingPrompts:
        """Read what :meth:`save` wrote; raises UsageError for another file."""
        try:
            with np.load(path) as file:
                return cls(
                    names=tuple(file["names"].tolist()),
                    tokens=file["tokens"],
                    class_ids=file["class_ids"],
                    bundled=file["bundled"],
                    hypernyms=file["hypernyms"],
                )
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(
                f"{path} is no table of training prompts ({error}); delete it to make a new one."
            ) from None


def training_prompts(
    context_length: int, load_lookup: Callable[[], HypernymLookup] = load_wordnet
) -> TrainingPrompts:
    """Tokenise every name: as written and in canonical words, with hypernyms.

    Raises MissingDependencyError where the tokenizer's packages are missing.
    """
    tokenizer = Tokenizer(context_length)
    lookup = load_lookup()
    rows: dict[str, tuple[int, bool, tuple[str, ...]]] = {}

    def add(name: str, class_id: int, bundled: bool, hypernyms: Sequence[str]) -> None:
        words = tuple(map(canonical, hypernyms[:HYPERNYMS]))
        for written in dict.fromkeys((canonical(name), name)):
            rows.setdefault(written.lower(), (class_id, bundled, words))

    for name, class_id, hypernyms in _names(load_vocabulary(VOCABULARY_NAME)):
        add(name, class_id, True, hypernyms)
    for identity, synonyms in SYNONYMS.items():
        for name in synonyms:
            add(name, int(identity), False, lookup(name, HYPERNYMS))
    for vocabulary in ABSENT_VOCABULARIES:
        for name, _, hypernyms in _names(load_vocabulary(vocabulary)):
            if name.lower() not in AMBIGUOUS:
                add(name, ABSENT, False, hypernyms)
    parents = [
        words[at] if at < len(words) else "" for _, _, words in rows.values() for at in (0, 1)
    ]
    parent_tokens = tokenizer.encode(parents)
    parent_tokens[[not parent for parent in parents]] = 0
    return TrainingPrompts(
        names=tuple(rows),
        tokens=tokenizer.encode(tuple(rows)),
        class_ids=np.array([class_id for class_id, _, _ in rows.values()]),
        bundled=np.array([bundled for _, bundled, _ in rows.values()]),
        hypernyms=parent_tokens.reshape(len(rows), HYPERNYMS, context_length),
    )


def _names(vocabulary: Vocabulary) -> list[tuple[str, int, tuple[str, ...]]]:
    """Every query with its class id and hypernyms."""
    ids = [vocabulary.classes[index].id for index in vocabulary.query_class]
    hypernyms = query_hypernyms(vocabulary, HYPERNYMS)
    return list(zip(vocabulary.queries, ids, hypernyms, strict=True))
