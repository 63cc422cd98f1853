"""Vocabularies in text files: one class a line, aliases after commas, ids from 0."""

from __future__ import annotations

from activesam_ros.prompts.entries import ClassEntry, Origin, split_names


def read_text(text: str, origin: Origin) -> tuple[ClassEntry, ...]:
    """The classes of a text file; blanks around names do not count.

    Raises VocabularyError on an empty line or name.
    """
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()  # the file's last newline ends a line, it does not begin one
    return tuple(
        ClassEntry(names=split_names(line, number, origin), line=number, id=number - 1)
        for number, line in enumerate(lines, start=1)
    )
