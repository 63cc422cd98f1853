"""The vocabulary: classes with stable ids, and the queries the network is asked."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from activesam_ros.errors import VocabularyError
from activesam_ros.prompts.colors import Color, automatic_colors
from activesam_ros.prompts.entries import (
    ClassEntry,
    Origin,
    check_entries,
    first_repeat,
    name_key,
    split_names,
)
from activesam_ros.sam3.tokenizer import Tokenizer
from activesam_ros.settings import MAX_LABEL_ID

BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class VocabularyClass:
    """One class: ``names`` are its queries, the first one its display name; ``color`` is RGB 0-255.

    ``hypernyms`` gives, per query, the hypernym names written in the vocabulary's file, or None
    where they are to be looked up in WordNet. Raises VocabularyError when a value is out of range.
    """

    id: int
    names: tuple[str, ...]
    color: tuple[int, int, int]
    pinned: bool = False
    hypernyms: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        if not self.names:
            raise VocabularyError(f"The class with id {self.id} has no name; give it one.")
        if not 0 <= self.id <= MAX_LABEL_ID:
            raise VocabularyError(
                f"The id {self.id} of {self.name!r} is out of range; give 0 to {MAX_LABEL_ID}."
            )
        if len(self.color) != 3 or not all(0 <= level <= 255 for level in self.color):
            raise VocabularyError(
                f"The colour {self.color} of {self.name!r} must be three numbers from 0 to 255."
            )
        if self.hypernyms is not None and len(self.hypernyms) != len(self.names):
            raise VocabularyError(
                f"The class {self.name!r} has {len(self.names)} names and hypernyms for "
                f"{len(self.hypernyms)}; give them for each name."
            )

    @property
    def name(self) -> str:
        return self.names[0]


@dataclass(frozen=True)
class Vocabulary:
    """Classes in file order. Ids are stable; they never depend on what is active.

    Raises VocabularyError when there is no class, or an id or a name (but for case and blanks) is
    there twice.
    """

    name: str
    classes: tuple[VocabularyClass, ...]

    def __post_init__(self) -> None:
        if not self.classes:
            raise VocabularyError(f"The vocabulary {self.name!r} has no classes; give it one.")
        repeat = first_repeat(entry.id for entry in self.classes)
        if repeat:
            later, earlier = (self.classes[position] for position in repeat)
            raise VocabularyError(
                f"The classes {earlier.name!r} and {later.name!r} of the vocabulary {self.name!r} "
                f"have the same id {later.id}; ids must differ."
            )
        repeat = first_repeat(name_key(query) for query in self.queries)
        if repeat:
            raise VocabularyError(
                f"The vocabulary {self.name!r} has the name {self.queries[repeat[0]]!r} twice; "
                "names and aliases must differ."
            )

    @cached_property
    def queries(self) -> tuple[str, ...]:
        """Every class's names one after the other, in class order."""
        return tuple(name for entry in self.classes for name in entry.names)

    @cached_property
    def query_class(self) -> tuple[int, ...]:
        """For each query the *index* (not the id) of its class."""
        return tuple(index for index, entry in enumerate(self.classes) for _ in entry.names)

    @cached_property
    def _index_of_id(self) -> dict[int, int]:
        return {entry.id: index for index, entry in enumerate(self.classes)}

    @cached_property
    def _index_of_name(self) -> dict[str, int]:
        return {
            name_key(query): index
            for query, index in zip(self.queries, self.query_class, strict=True)
        }

    def class_with_id(self, class_id: int) -> VocabularyClass:
        """The class whose id is ``class_id``; raises VocabularyError where there is none."""
        index = self._index_of_id.get(class_id)
        if index is None:
            raise VocabularyError(f"The vocabulary {self.name!r} has no class with id {class_id}.")
        return self.classes[index]

    def class_named(self, name: str) -> VocabularyClass:
        """The class with the name or alias ``name``, whatever its case.

        Raises VocabularyError naming those that come close.
        """
        index = self._index_of_name.get(name_key(name))
        if index is None:
            close = difflib.get_close_matches(name_key(name), self._index_of_name)
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "check its name."
            raise VocabularyError(f"The vocabulary {self.name!r} has no class {name!r}; {hint}")
        return self.classes[index]

    @property
    def palette(self) -> dict[int, Color]:
        """Colour of each id."""
        return {entry.id: entry.color for entry in self.classes}

    def pinned_queries(self, names: Iterable[str] = ()) -> tuple[int, ...]:
        """Ascending indices of the queries of every pinned class and of the classes ``names``.

        Raises VocabularyError when one of ``names`` is not a class.
        """
        pinned = {entry.id for entry in self.classes if entry.pinned}
        pinned.update(self.class_named(name).id for name in names)
        return tuple(
            query
            for query, index in enumerate(self.query_class)
            if self.classes[index].id in pinned
        )


def vocabulary_from_names(
    names: Sequence[str],
    previous: Vocabulary | None = None,
    tokenizer: Tokenizer | None = None,
) -> Vocabulary:
    """The vocabulary of a request at run time: one class per text, aliases after commas.

    Ids start at 1, for 0 is what unlabelled pixels carry; a class named background has 0. A class
    with a name of ``previous`` keeps that class's id, colour and pin, and its hypernyms where it
    keeps all its names; new classes take ids that ``previous`` does not use. ``tokens`` counts the
    prompts' tokens, the network's tokenizer if None.

    Raises VocabularyError naming the text (from 1) that cannot be used.
    """
    origin = Origin()
    classes = [split_names(text, place, origin) for place, text in enumerate(names, start=1)]
    numbered: list[ClassEntry] = []
    next_id = 1
    for place, entry_names in enumerate(classes, start=1):
        is_background = name_key(entry_names[0]) == BACKGROUND
        numbered.append(
            ClassEntry(names=entry_names, line=place, id=0 if is_background else next_id)
        )
        next_id += not is_background
    vocabulary = vocabulary_of_entries("names", numbered, origin, tokenizer or Tokenizer())
    if previous is None:
        return vocabulary
    kept = keep_ids(vocabulary, previous)
    return dataclasses.replace(
        kept, classes=tuple(_inherit(entry, previous) for entry in kept.classes)
    )


def vocabulary_of_entries(
    name: str, entries: Sequence[ClassEntry], origin: Origin, tokenizer: Tokenizer | None
) -> Vocabulary:
    """Check ``entries`` (which carry ids) and give those without a colour one of their own.

    Raises VocabularyError with the line in ``origin``.
    """
    check_entries(entries, origin, tokenizer)
    automatic = iter(
        automatic_colors(
            [name_key(entry.names[0]) for entry in entries if entry.color is None],
            taken=[entry.color for entry in entries if entry.color is not None],
        )
    )
    return Vocabulary(
        name=name,
        classes=tuple(
            VocabularyClass(
                id=entry.id if entry.id is not None else place,
                names=entry.names,
                color=entry.color or next(automatic),
                pinned=entry.pinned,
                hypernyms=entry.hypernyms,
            )
            for place, entry in enumerate(entries)
        ),
    )


def keep_ids(vocabulary: Vocabulary, previous: Vocabulary) -> Vocabulary:
    """``vocabulary`` with the id and colour of ``previous`` where a class's name stays.

    Classes that are new keep their own id if ``previous`` did not use it, and take a free one
    otherwise: a consumer that still holds an old mask never reads a new class into it. Only when
    every other id is in use are those of classes that went away taken.
    """
    kept = _kept_classes(vocabulary, previous)
    used = {entry.id for entry in kept.values()}
    old = set(previous._index_of_id)
    new_ids: dict[int, int] = {}
    for index, entry in enumerate(vocabulary.classes):
        if index not in kept and entry.id not in old:
            new_ids[index] = entry.id
            used.add(entry.id)
    free = (
        candidate
        for reserve in (False, True)
        for candidate in (*range(1, MAX_LABEL_ID + 1), 0)
        if candidate not in used and ((candidate in old or candidate == 0) is reserve)
    )
    for index in range(len(vocabulary.classes)):
        if index not in kept and index not in new_ids:
            new_ids[index] = next(free)
    classes = [
        dataclasses.replace(
            entry,
            id=kept[index].id if index in kept else new_ids[index],
            color=kept[index].color if index in kept else entry.color,
        )
        for index, entry in enumerate(vocabulary.classes)
    ]
    return dataclasses.replace(vocabulary, classes=_recolored(classes, set(kept)))


def _kept_classes(vocabulary: Vocabulary, previous: Vocabulary) -> dict[int, VocabularyClass]:
    """For the index of each class that stays, the class of ``previous`` it goes on from.

    The same display name comes before a name shared with an alias; no class is gone on from twice.
    """
    kept: dict[int, VocabularyClass] = {}
    claimed: set[int] = set()
    display = {name_key(entry.name): entry for entry in previous.classes}
    any_name = {key: previous.classes[index] for key, index in previous._index_of_name.items()}
    for names in (display, any_name):
        for index, entry in enumerate(vocabulary.classes):
            shared = [names[key] for key in map(name_key, entry.names) if key in names]
            source = next((old for old in shared if old.id not in claimed), None)
            if index not in kept and source is not None:
                kept[index] = source
                claimed.add(source.id)
    return kept


def _recolored(classes: list[VocabularyClass], kept: set[int]) -> tuple[VocabularyClass, ...]:
    """A new class whose colour one that stayed already has gets an automatic colour."""
    kept_colors: set[Color] = {classes[index].color for index in kept}
    clashing = [
        index
        for index, entry in enumerate(classes)
        if index not in kept and entry.color in kept_colors
    ]
    automatic = automatic_colors(
        [name_key(classes[index].name) for index in clashing],
        taken=[entry.color for entry in classes],
    )
    colors = dict(zip(clashing, automatic, strict=True))
    return tuple(
        dataclasses.replace(entry, color=colors.get(index, entry.color))
        for index, entry in enumerate(classes)
    )


def _inherit(entry: VocabularyClass, previous: Vocabulary) -> VocabularyClass:
    """The pin of the class in ``previous`` that ``entry`` goes on from, and known hypernyms."""
    index = previous._index_of_id.get(entry.id)
    if index is None:
        return entry
    old = previous.classes[index]
    if not set(map(name_key, entry.names)) & set(map(name_key, old.names)):
        return entry
    known = dict(zip(map(name_key, old.names), old.hypernyms or (), strict=False))
    keys = [name_key(name) for name in entry.names]
    hypernyms = tuple(known[key] for key in keys) if all(key in known for key in keys) else None
    return dataclasses.replace(entry, pinned=old.pinned, hypernyms=hypernyms)
