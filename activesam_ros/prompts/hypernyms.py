"""Hypernyms of class names, from the vocabulary or from WordNet.

ActiveSAM, contextual prompt expansion, step 4.
"""

from __future__ import annotations

import dataclasses
import logging
import zipfile
from collections.abc import Callable

from activesam_ros.errors import MissingDependencyError
from activesam_ros.prompts.canonical import prompt_of
from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass

_LOG = logging.getLogger(__name__)

#: A class name and a count M -> at most M hypernyms.
HypernymLookup = Callable[[str, int], tuple[str, ...]]

HOW_TO_GET_WORDNET = (
    "`make setup` installs it where it can; elsewhere run "
    "`pip install nltk && python3 -m nltk.downloader wordnet` once"
)


def load_wordnet() -> HypernymLookup:
    """A lookup in WordNet, by nltk. Reading it takes seconds, so load it once for many names.

    Nothing is downloaded. Raises MissingDependencyError if nltk or its data is missing or damaged.
    """
    try:
        from nltk.corpus import wordnet

        wordnet.ensure_loaded()
    except ImportError:
        raise MissingDependencyError(f"nltk is not installed; {HOW_TO_GET_WORDNET}.") from None
    except LookupError:
        raise MissingDependencyError(f"nltk finds no WordNet; {HOW_TO_GET_WORDNET}.") from None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise MissingDependencyError(
            f"nltk's WordNet cannot be read ({error}); {HOW_TO_GET_WORDNET}."
        ) from None

    def lookup(name: str, count: int) -> tuple[str, ...]:
        entry = prompt_of(name).strip().lower().replace(" ", "_").replace("-", "_")
        synsets = wordnet.synsets(entry, pos=wordnet.NOUN)
        if not synsets:
            return ()
        with wordnet.open("data.noun") as lines:
            lines.seek(synsets[0].offset())
            offsets = direct_hypernym_offsets(lines.readline())
        lemmas = (
            wordnet.synset_from_pos_and_offset(wordnet.NOUN, offset).lemmas()[0].name()
            for offset in offsets[:count]
        )
        # Two hypernyms may share their first lemma, as those of "sconce" do: it counts once.
        return tuple(dict.fromkeys(lemma.replace("_", " ") for lemma in lemmas))

    return lookup


def direct_hypernym_offsets(line: str) -> tuple[int, ...]:
    """Offsets of a synset's direct hypernyms, in WordNet's order, from its line in ``data.noun``.

    nltk's own list has another order in every process. A line is ``offset file type word_count
    (word sense)... pointer_count (symbol offset part_of_speech ends)... | gloss``, with the word
    count in hexadecimal.
    """
    fields = line.partition("|")[0].split()
    first = 4 + 2 * int(fields[3], 16)
    pointers = [fields[at : at + 4] for at in range(first + 1, len(fields), 4)]
    return tuple(int(offset) for symbol, offset, _, _ in pointers if symbol == "@")


def query_hypernyms(
    vocabulary: Vocabulary,
    count: int,
    load_lookup: Callable[[], HypernymLookup] = load_wordnet,
) -> tuple[tuple[str, ...], ...]:
    """At most ``count`` hypernyms of every query, in the order of ``vocabulary.queries``.

    WordNet is loaded only if a class has no hypernyms of its own. Without WordNet such classes have
    none, and one warning is logged.
    """
    if count == 0:
        return ((),) * len(vocabulary.queries)
    lookup: HypernymLookup = _none
    if any(entry.hypernyms is None for entry in vocabulary.classes):
        try:
            lookup = load_lookup()
        except MissingDependencyError as error:
            _LOG.warning(
                "The prompts of the vocabulary %r go without hypernyms, which costs accuracy: %s",
                vocabulary.name,
                error,
            )
    return tuple(row for entry in vocabulary.classes for row in _class_rows(entry, count, lookup))


def with_hypernyms(
    vocabulary: Vocabulary,
    count: int = 2,
    load_lookup: Callable[[], HypernymLookup] = load_wordnet,
) -> Vocabulary:
    """``vocabulary`` with the hypernyms of WordNet in every class that has none of its own.

    A file of the result can be used without WordNet. Raises MissingDependencyError without it.
    """
    lookup = load_lookup()
    return dataclasses.replace(
        vocabulary,
        classes=tuple(
            entry
            if entry.hypernyms is not None
            else dataclasses.replace(entry, hypernyms=_class_rows(entry, count, lookup))
            for entry in vocabulary.classes
        ),
    )


def _class_rows(
    entry: VocabularyClass, count: int, lookup: HypernymLookup
) -> tuple[tuple[str, ...], ...]:
    if entry.hypernyms is not None:
        return tuple(row[:count] for row in entry.hypernyms)
    return tuple(lookup(name, count)[:count] for name in entry.names)


def _none(_name: str, _count: int) -> tuple[str, ...]:
    return ()
