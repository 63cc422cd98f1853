"""The vocabulary: classes with stable ids, and the queries the network is asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VocabularyClass:
    """One class: ``names`` are its queries, the first one its display name; ``color`` is RGB 0-255.

    ``hypernyms`` gives, per query, the hypernym names written in the vocabulary's file, or None
    where they are to be looked up in WordNet.
    """

    id: int
    names: tuple[str, ...]
    color: tuple[int, int, int]
    pinned: bool = False
    hypernyms: tuple[tuple[str, ...], ...] | None = None

    @property
    def name(self) -> str:
        return self.names[0]


@dataclass(frozen=True)
class Vocabulary:
    """Classes in file order. Ids are stable; they never depend on what is active."""

    name: str
    classes: tuple[VocabularyClass, ...]

    @property
    def queries(self) -> tuple[str, ...]:
        """Every class's names one after the other, in class order."""
        return tuple(name for entry in self.classes for name in entry.names)

    @property
    def query_class(self) -> tuple[int, ...]:
        """For each query the *index* (not the id) of its class."""
        return tuple(index for index, entry in enumerate(self.classes) for _ in entry.names)
