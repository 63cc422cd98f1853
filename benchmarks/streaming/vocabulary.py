"""Vocabularies of any size that contain the classes of Cityscapes."""

from __future__ import annotations

import dataclasses

from activesam_ros.prompts.canonical import canonical_name
from activesam_ros.prompts.hypernyms import load_wordnet
from activesam_ros.prompts.vocabulary import Vocabulary, vocabulary_from_names
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from training.measure import wide_vocabulary
from training.names import AMBIGUOUS, SYNONYMS

MORE_SOURCES = ("coco_stuff", "context59", "coco_object", "ade20k")


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
