"""Vocabularies of any size that contain the classes of Cityscapes."""

from __future__ import annotations

import dataclasses

from activesam_ros.demo.world.classes import CLASS_COUNT, VOCABULARY_NAME
from activesam_ros.errors import UsageError
from activesam_ros.prompts.canonical import canonical_name
from activesam_ros.prompts.hypernyms import load_wordnet
from activesam_ros.prompts.vocabulary import Vocabulary, vocabulary_from_names
from activesam_ros.prompts.vocabulary_files import load_vocabulary, preset_names
from training.measure import wide_vocabulary
from training.names import AMBIGUOUS, SYNONYMS

MORE_SOURCES = ("coco_stuff", "context59", "coco_object", "ade20k")


def vocabulary_named(text: str) -> Vocabulary:
    """The vocabulary for a number of names, or a bundled one with Cityscapes' ids.

    Raises UsageError for another text, and for a vocabulary that does not begin with the classes of
    Cityscapes.
    """
    if text.isdecimal() and int(text) > 0:
        return vocabulary_of(int(text))
    if text not in preset_names():
        raise UsageError(
            f"--names {text!r} is neither a number of names, such as 150, nor a bundled vocabulary."
        )
    vocabulary = load_vocabulary(text)
    first = [entry.names[0].replace(" ", "") for entry in vocabulary.classes[:CLASS_COUNT]]
    if first != [entry.names[0] for entry in load_vocabulary(VOCABULARY_NAME).classes]:
        raise UsageError(f"--names {text}: its first classes are not those of {VOCABULARY_NAME}.")
    renumbered = (
        dataclasses.replace(entry, id=index) for index, entry in enumerate(vocabulary.classes)
    )
    return Vocabulary(vocabulary.name, tuple(renumbered))


def vocabulary_of(count: int) -> Vocabulary:
    """``count`` classes: those of Cityscapes under their ids, and others.

    The first 150 are those of `python -m training.measure --question wide`. More come from the
    other bundled vocabularies, then from WordNet's names of things.
    """
    base = wide_vocabulary()
    if count <= len(base.classes):
        return Vocabulary(f"names{count}", base.classes[:count])
    known = (*base.queries, *AMBIGUOUS, *(name for names in SYNONYMS.values() for name in names))
    taken = set(map(canonical_name, known))
    names = [entry.names[0] for source in MORE_SOURCES for entry in load_vocabulary(source).classes]
    others: list[str] = []
    for name in (*names, *things()):
        if canonical_name(name) not in taken and len(base.classes) + len(others) < count:
            others.append(name)
            taken.add(canonical_name(name))
    numbered = [
        dataclasses.replace(entry, id=index)
        for index, entry in enumerate(vocabulary_from_names(others).classes, len(base.classes))
    ]
    return Vocabulary(f"names{count}", (*base.classes, *numbered))


def things() -> list[str]:
    """WordNet's single words for artifacts and animals, spread over the alphabet."""
    load_wordnet()
    from nltk.corpus import wordnet

    names = {
        synset.lemmas()[0].name()
        for root in ("artifact.n.01", "animal.n.01")
        for synset in wordnet.synset(root).closure(lambda synset: synset.hyponyms())
    }
    words = sorted(name for name in names if name.isalpha() and name.islower())
    return [word for start in range(10) for word in words[start::10]]
