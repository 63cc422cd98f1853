"""A class as a user wrote it, and the rules that every class has to keep."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from activesam_ros.errors import VocabularyError
from activesam_ros.prompts.canonical import canonical_name, prompt_of
from activesam_ros.prompts.colors import Color
from activesam_ros.sam3.tokenizer import Tokenizer
from activesam_ros.settings import MAX_LABEL_ID

MAX_CLASSES = MAX_LABEL_ID + 1
# A longer name never fits the text encoder, and counting its tokens could take minutes.
MAX_NAME_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class Origin:
    """Where classes come from: a file, or a list of names if ``file`` is None."""

    file: str | None = None

    def place(self, line: int) -> str:
        """How an error names a line of the file or an entry of the list, counted from 1."""
        return f"{'name' if self.file is None else 'line'} {line}"

    def error(self, line: int, reason: str) -> VocabularyError:
        """The VocabularyError for ``reason`` at ``line``."""
        place = self.place(line) if self.file is None else f"{self.file}:{line}"
        return VocabularyError(f"{place}: {reason}", line)


@dataclass(frozen=True, slots=True)
class ClassEntry:
    """One class as written: ``names`` are its display name and its aliases.

    line: where it is written, from 1. The others: see VocabularyClass; None if they are not given.
    """

    names: tuple[str, ...]
    line: int
    id: int | None = None
    color: Color | None = None
    pinned: bool | None = None
    hypernyms: tuple[tuple[str, ...], ...] | None = None
    threshold: float | None = None


def split_names(text: str, line: int, origin: Origin) -> tuple[str, ...]:
    """The comma-separated names of one class; raises VocabularyError if one is empty."""
    names = tuple(part.strip() for part in text.split(","))
    if names == ("",):
        raise origin.error(line, "there is no class name; remove the line or write one")
    if "" in names:
        raise origin.error(
            line, f"{text.strip()!r} has an empty name next to a comma; remove the comma"
        )
    return names


def check_entries(entries: Sequence[ClassEntry], origin: Origin, tokenizer: Tokenizer) -> None:
    """Raise VocabularyError with the line of the first entry that breaks a rule."""
    if not entries:
        raise origin.error(1, "there are no classes; write at least one")
    if len(entries) > MAX_CLASSES:
        raise origin.error(
            entries[MAX_CLASSES].line,
            f"{len(entries):,} classes are more than the {MAX_CLASSES:,} ids of a label map; "
            "remove some",
        )
    for entry in entries:
        for name in (*entry.names, *(name for row in entry.hypernyms or () for name in row)):
            problem = name_problem(name) or length_problem(name, tokenizer)
            if problem:
                raise origin.error(entry.line, problem)
    _check_repeats(entries, origin)


def name_problem(name: str) -> str | None:
    """Why ``name`` cannot be a query, or None."""
    if not name or name != name.strip():
        return f"the name {name!r} is empty or has spaces around it"
    if "," in name:
        return f"the name {name!r} has a comma, which separates aliases; list the parts as aliases"
    strange = next((character for character in name if not character.isprintable()), None)
    if strange is not None:
        return (
            f"the name {name[:40]!r} has the unprintable character U+{ord(strange):04X}; remove it"
        )
    if len(name) > MAX_NAME_CHARACTERS:
        return (
            f"the name {name[:40]!r}... has {len(name):,} characters, more than the "
            f"{MAX_NAME_CHARACTERS:,} allowed; shorten it"
        )
    return None


def length_problem(name: str, tokenizer: Tokenizer) -> str | None:
    """Why the prompt of ``name`` is too long for the text encoder, or None."""
    prompt = prompt_of(name)
    length = tokenizer.length(prompt)
    if length <= tokenizer.context_length:
        return None
    return (
        f"the prompt {prompt!r} has {length} tokens with start and end, more than the "
        f"{tokenizer.context_length} the text encoder reads; shorten it"
    )


def first_repeat(values: Iterable[Hashable]) -> tuple[int, int] | None:
    """Indices (later, earlier) of the first value that occurs a second time, or None."""
    seen: dict[Hashable, int] = {}
    for position, value in enumerate(values):
        if value in seen:
            return position, seen[value]
        seen[value] = position
    return None


def first_shared_prompt(queries: Sequence[tuple[int, str]]) -> tuple[int, int] | None:
    """Indices (later, earlier) of the first two names that contradict each other, or None.

    queries: each name with a number of its class. Names of two classes contradict each other if
    they are one prompt. Names of one class may be one prompt, but not the same word.
    """
    seen: dict[str, int] = {}
    spelled: set[str] = set()
    for position, (owner, name) in enumerate(queries):
        earlier = seen.setdefault(canonical_name(name), position)
        spelling = _spelling(name)
        if earlier != position and (queries[earlier][0] != owner or spelling in spelled):
            return position, earlier
        spelled.add(spelling)
    return None


def _spelling(name: str) -> str:
    return " ".join(name.split()).lower()


def _check_repeats(entries: Sequence[ClassEntry], origin: Origin) -> None:
    queries = [(owner, name) for owner, entry in enumerate(entries) for name in entry.names]
    repeat = first_shared_prompt(queries)
    if repeat:
        (later, name), (earlier, same) = (
            (entries[owner], name) for owner, name in (queries[position] for position in repeat)
        )
        place = origin.place(earlier.line)
        if _spelling(name) == _spelling(same):
            raise origin.error(later.line, f"the name {name!r} is already in {place}; keep one")
        raise origin.error(
            later.line,
            f"the name {name!r} and {same!r} in {place} are one prompt, "
            f"{canonical_name(name)!r}, so that one of them would get no pixel; "
            "keep one, or make them aliases of one class",
        )
    with_id = [entry for entry in entries if entry.id is not None]
    repeat = first_repeat(entry.id for entry in with_id)
    if repeat:
        later, earlier = (with_id[position] for position in repeat)
        raise origin.error(
            later.line,
            f"the id {later.id} of {later.names[0]!r} is already that of {earlier.names[0]!r} in "
            f"{origin.place(earlier.line)}; ids must differ",
        )
