"""Hypernyms of class names, from the vocabulary or from WordNet.

ActiveSAM, contextual prompt expansion, step 4.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from activesam_ros.errors import MissingDependencyError, OutputError
from activesam_ros.prompts.cache_folder import read_cached, write_cached
from activesam_ros.prompts.canonical import prompt_of
from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass

_LOG = logging.getLogger(__name__)

CACHE_SUFFIX = ".hypernyms.json"
# Part of the name of every file: a new number makes the older ones stale.
_CACHE_FORMAT = 1
_LARGEST_FILE = 1 << 24
# What WordNet's lemmas look like.
_LEMMA = re.compile(r"[\w.'/ -]{1,100}")

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


def cached_wordnet(
    names: Sequence[str],
    count: int,
    folder: Path | None,
    load_lookup: Callable[[], HypernymLookup] = load_wordnet,
) -> HypernymLookup:
    """A lookup of ``names`` with this count, from a file in ``folder`` if they are there.

    Otherwise WordNet is loaded, and what it says of the names is written to the file, so that the
    next start does without WordNet. folder: None to keep nothing. A damaged file is replaced.
    Raises MissingDependencyError as load_wordnet does.
    """
    key = hashlib.sha256(json.dumps([_CACHE_FORMAT, count, *names]).encode()).hexdigest()
    path = None if folder is None else folder / f"{key}{CACHE_SUFFIX}"
    rows = None if path is None else _read_rows(path, names, count)
    if rows is None:
        lookup = load_lookup()
        rows = {name: lookup(name, count) for name in names}
        if path is not None:
            try:
                write_cached(path, json.dumps(rows).encode())
            except (OSError, OutputError) as error:
                _LOG.warning("The hypernyms of the vocabulary cannot be cached: %s", error)
    found = rows
    return lambda name, _: found[name]


def _read_rows(path: Path, names: Sequence[str], count: int) -> dict[str, tuple[str, ...]] | None:
    """The rows of ``names``; None if the file is missing or is not what cached_wordnet writes."""
    try:
        data = read_cached(path, _LARGEST_FILE)
        rows = None if data is None else json.loads(data)
    except (OutputError, ValueError, RecursionError):
        return None
    if not isinstance(rows, dict) or list(rows) != list(dict.fromkeys(names)):
        return None
    for row in rows.values():
        if not isinstance(row, list) or len(row) > count:
            return None
        if not all(isinstance(text, str) and _LEMMA.fullmatch(text) for text in row):
            return None
    return {name: tuple(row) for name, row in rows.items()}


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
    cache_dir: Path | None = None,
) -> tuple[tuple[str, ...], ...]:
    """At most ``count`` hypernyms of every query, in the order of ``vocabulary.queries``.

    WordNet is loaded only if a class has no hypernyms of its own, and only once for a vocabulary if
    they can be kept in ``cache_dir``. Without WordNet such classes have none, and one warning is
    logged.
    """
    if count == 0:
        return ((),) * len(vocabulary.queries)
    lookup: HypernymLookup = _none
    names = [
        name for entry in vocabulary.classes if entry.hypernyms is None for name in entry.names
    ]
    if names:
        try:
            lookup = cached_wordnet(names, count, cache_dir, load_lookup)
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
