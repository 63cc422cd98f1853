"""Make the table of training prompts; only this needs the packages of the tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from activesam_ros.demo.world.classes import VOCABULARY_NAME
from activesam_ros.prompts.canonical import prompt_of
from activesam_ros.prompts.hypernyms import HypernymLookup, load_wordnet, query_hypernyms
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.sam3.tokenizer import Tokenizer
from training.names import ABSENT_VOCABULARIES, AMBIGUOUS, SYNONYMS
from training.prompts import ABSENT, HYPERNYMS, TrainingPrompts


def training_prompts(
    context_length: int, load_lookup: Callable[[], HypernymLookup] = load_wordnet
) -> TrainingPrompts:
    """Tokenise every name, as written and in its canonical form, and its hypernyms.

    Raises MissingDependencyError if a package of the tokenizer is missing.
    """
    tokenizer = Tokenizer(context_length)
    lookup = load_lookup()
    rows: dict[str, tuple[int, bool, tuple[str, ...]]] = {}

    def add(name: str, class_id: int, bundled: bool, hypernyms: Sequence[str]) -> None:
        words = tuple(map(prompt_of, hypernyms[:HYPERNYMS]))
        for written in dict.fromkeys((prompt_of(name), name)):
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
