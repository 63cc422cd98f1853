"""The vocabulary: classes with stable ids, and their names, which are the queries."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from activesam_ros.errors import VocabularyError
from activesam_ros.prompts.canonical import canonical_name, without_punctuation
from activesam_ros.prompts.colors import Color, automatic_colors
from activesam_ros.prompts.entries import (
    ClassEntry,
    Origin,
    check_entries,
    first_repeat,
    first_shared_prompt,
    split_names,
)
from activesam_ros.sam3.tokenizer import Tokenizer
from activesam_ros.settings import MAX_LABEL_ID

BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class VocabularyClass:
    """One class: ``names`` are its queries, the first is its display name; ``color`` is RGB 0-255.

    pinned: whether the class is never pruned. hypernyms: the hypernyms of each name, or None to
    look them up in WordNet. threshold: presence, 0 to 1, below which a decoded name gets no pixel.
    Raises VocabularyError if a value is out of range.
    """

    id: int
    names: tuple[str, ...]
    color: tuple[int, int, int]
    pinned: bool = False
    hypernyms: tuple[tuple[str, ...], ...] | None = None
    threshold: float = 0.0

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
        if not 0 <= self.threshold <= 1:  # NaN too
            raise VocabularyError(
                f"The threshold {self.threshold} of {self.name!r} is out of range; give 0 to 1."
            )
        if self.hypernyms is not None and len(self.hypernyms) != len(self.names):
            raise VocabularyError(
                f"The class {self.name!r} has {len(self.names)} names but hypernyms for "
                f"{len(self.hypernyms)}; give hypernyms for every name."
            )

    @property
    def name(self) -> str:
        return self.names[0]


@dataclass(frozen=True, slots=True)
class Label:
    """What a value of a label map means; ``color`` is RGB 0-255."""

    id: int
    name: str
    color: Color
    pinned: bool


@dataclass(frozen=True)
class Vocabulary:
    """Classes in the order of the file. Ids are stable: they do not depend on the active set.

    Raises VocabularyError if there is no class, if two classes share an id, or if names of two
    classes are one prompt (see canonical_name).
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
        repeat = first_shared_prompt(list(zip(self.query_class, self.queries, strict=True)))
        if repeat:
            name, same = (self.queries[position] for position in repeat)
            raise VocabularyError(
                f"The names {same!r} and {name!r} of the vocabulary {self.name!r} are one "
                "prompt; keep one, or make them aliases of one class."
            )

    @cached_property
    def queries(self) -> tuple[str, ...]:
        """The names of all classes, in the order of the classes."""
        return tuple(name for entry in self.classes for name in entry.names)

    @cached_property
    def query_class(self) -> tuple[int, ...]:
        """For each query, the index (not the id) of its class."""
        return tuple(index for index, entry in enumerate(self.classes) for _ in entry.names)

    @cached_property
    def _index_of_id(self) -> dict[int, int]:
        return {entry.id: index for index, entry in enumerate(self.classes)}

    @cached_property
    def _index_of_name(self) -> dict[str, int]:
        return {
            canonical_name(query): index
            for query, index in zip(self.queries, self.query_class, strict=True)
        }

    @cached_property
    def _index_of_letters(self) -> dict[str, int]:
        """As _index_of_name, without punctuation and spaces; letters of two classes are left out.

        Data sets write lane_marking or trafficlight where others write two words.
        """
        owners: dict[str, set[int]] = {}
        for key, index in self._index_of_name.items():
            owners.setdefault(without_punctuation(key), set()).add(index)
        owners.pop("", None)
        return {letters: min(found) for letters, found in owners.items() if len(found) == 1}

    def class_named(self, name: str) -> VocabularyClass:
        """The class with the name or alias ``name``.

        Names that are one prompt are equal (see canonical_name). Where no name is, spaces and
        punctuation do not count either. Raises VocabularyError naming the closest names.
        """
        key = canonical_name(name)
        index = self._index_of_name.get(key, self._index_of_letters.get(without_punctuation(key)))
        if index is None:
            close = difflib.get_close_matches(key, self._index_of_name)
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "check the name."
            raise VocabularyError(f"The vocabulary {self.name!r} has no class {name!r}; {hint}")
        return self.classes[index]

    @property
    def background(self) -> VocabularyClass | None:
        """The class with the name or alias background, or None."""
        index = self._index_of_name.get(BACKGROUND)
        return None if index is None else self.classes[index]

    def labels(self, background_id: int | None = None) -> tuple[Label, ...]:
        """What the values of a label map mean, in order of id.

        background_id: the label of background pixels, None without any. If it is no class's id, it
        has the name background here, and is black.
        """
        labels = [Label(entry.id, entry.name, entry.color, entry.pinned) for entry in self.classes]
        if background_id is not None and background_id not in self._index_of_id:
            labels.append(Label(background_id, BACKGROUND, (0, 0, 0), pinned=False))
        return tuple(sorted(labels, key=lambda label: label.id))

    @property
    def palette(self) -> dict[int, Color]:
        """The colour of each id."""
        return {entry.id: entry.color for entry in self.classes}

    def pinned_queries(self, names: Iterable[str] = ()) -> tuple[int, ...]:
        """Indices, ascending, of the queries of all pinned classes and of the classes ``names``.

        Raises VocabularyError if one of ``names`` is not a class.
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
    """The vocabulary of a list of names: one class a text, with aliases after commas.

    A text that begins with a brace is a class as in a YAML file, see read_class. Ids start at 1,
    because unlabelled pixels have 0; a class named background has 0. A class that shares a name
    with one of ``previous`` keeps its id and colour, its pin and threshold unless its text states
    them, and its hypernyms if all of its names were there; other classes take ids that ``previous``
    does not use. ``tokenizer`` checks the length of prompts; None makes the full-size network's.

    Raises VocabularyError naming the text, counted from 1, that cannot be used.
    """
    origin = Origin()
    entries = [_entry_of_text(text, place, origin) for place, text in enumerate(names, start=1)]
    numbered: list[ClassEntry] = []
    next_id = 1
    for entry in entries:
        is_background = canonical_name(entry.names[0]) == BACKGROUND
        numbered.append(dataclasses.replace(entry, id=0 if is_background else next_id))
        next_id += not is_background
    vocabulary = vocabulary_of_entries("names", numbered, origin, tokenizer or Tokenizer())
    if previous is None:
        return vocabulary
    kept = keep_ids(vocabulary, previous)
    return dataclasses.replace(
        kept,
        classes=tuple(
            _inherit(entry, written, previous)
            for entry, written in zip(kept.classes, numbered, strict=True)
        ),
    )


def _entry_of_text(text: str, place: int, origin: Origin) -> ClassEntry:
    if text.lstrip().startswith("{"):
        # Here, because the network must run without PyYAML.
        from activesam_ros.prompts.vocabulary_yaml import read_class

        return read_class(text, place, origin)
    return ClassEntry(names=split_names(text, place, origin), line=place)


def vocabulary_of_entries(
    name: str, entries: Sequence[ClassEntry], origin: Origin, tokenizer: Tokenizer
) -> Vocabulary:
    """Check ``entries``, and give a colour to those that have none.

    Raises VocabularyError with the line in ``origin``.
    """
    check_entries(entries, origin, tokenizer)
    automatic = iter(
        automatic_colors(
            [canonical_name(entry.names[0]) for entry in entries if entry.color is None],
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
                pinned=bool(entry.pinned),
                hypernyms=entry.hypernyms,
                threshold=entry.threshold or 0.0,
            )
            for place, entry in enumerate(entries)
        ),
    )


def keep_ids(vocabulary: Vocabulary, previous: Vocabulary) -> Vocabulary:
    """``vocabulary`` with the ids and colours of the classes that it shares with ``previous``.

    A new class keeps its own id unless ``previous`` used it, and takes a free one otherwise, so
    that a consumer with an old mask never reads a new class into it. The ids of removed classes are
    reused only if all others are taken.
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
    """Index of each class that stays -> the class of ``previous`` that it continues.

    An equal display name comes before a name shared with an alias. No class is continued twice.
    """
    kept: dict[int, VocabularyClass] = {}
    claimed: set[int] = set()
    display = {canonical_name(entry.name): entry for entry in previous.classes}
    any_name = {key: previous.classes[index] for key, index in previous._index_of_name.items()}
    for names in (display, any_name):
        for index, entry in enumerate(vocabulary.classes):
            shared = [names[key] for key in map(canonical_name, entry.names) if key in names]
            source = next((old for old in shared if old.id not in claimed), None)
            if index not in kept and source is not None:
                kept[index] = source
                claimed.add(source.id)
    return kept


def _recolored(classes: list[VocabularyClass], kept: set[int]) -> tuple[VocabularyClass, ...]:
    """Give an automatic colour to each new class whose colour belongs to a class that stays."""
    kept_colors: set[Color] = {classes[index].color for index in kept}
    clashing = [
        index
        for index, entry in enumerate(classes)
        if index not in kept and entry.color in kept_colors
    ]
    automatic = automatic_colors(
        [canonical_name(classes[index].name) for index in clashing],
        taken=[entry.color for entry in classes],
    )
    colors = dict(zip(clashing, automatic, strict=True))
    return tuple(
        dataclasses.replace(entry, color=colors.get(index, entry.color))
        for index, entry in enumerate(classes)
    )


def _inherit(entry: VocabularyClass, written: ClassEntry, previous: Vocabulary) -> VocabularyClass:
    """``entry`` with what the class of ``previous`` that it continues has and ``written`` lacks."""
    index = previous._index_of_id.get(entry.id)
    if index is None:
        return entry
    old = previous.classes[index]
    if not set(map(canonical_name, entry.names)) & set(map(canonical_name, old.names)):
        return entry
    known = dict(zip(map(canonical_name, old.names), old.hypernyms or (), strict=False))
    keys = [canonical_name(name) for name in entry.names]
    hypernyms = tuple(known[key] for key in keys) if all(key in known for key in keys) else None
    return dataclasses.replace(
        entry,
        pinned=old.pinned if written.pinned is None else entry.pinned,
        hypernyms=hypernyms,
        threshold=old.threshold if written.threshold is None else entry.threshold,
    )
