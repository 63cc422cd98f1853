"""Vocabularies by preset name, from YAML, and from text files.

A text file has one class a line, aliases after commas, and ids from 0.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from activesam_ros.errors import VocabularyError, did_you_mean, os_reason
from activesam_ros.prompts.entries import ClassEntry, Origin, split_names
from activesam_ros.prompts.vocabulary import (
    Vocabulary,
    vocabulary_from_names,
    vocabulary_of_entries,
)
from activesam_ros.prompts.vocabulary_yaml import read_yaml
from activesam_ros.regular_files import check_regular, read_regular
from activesam_ros.resources import config_dir, user_path
from activesam_ros.sam3.tokenizer import Tokenizer

_YAML_SUFFIXES = (".yaml", ".yml")
_FILE_SUFFIXES = (*_YAML_SUFFIXES, ".txt")
# Ten times the largest vocabulary; a weights file given by mistake is far larger.
MAX_FILE_BYTES = 64 * 2**20
_ANY_SIZE = 1 << 63


def load_vocabulary(name_or_path: str, tokenizer: Tokenizer | None = None) -> Vocabulary:
    """The preset or the file ``name_or_path``: YAML by its suffix, else text.

    A name without a folder or suffix is a preset if there is one. ``tokenizer`` checks the length
    of prompts; None makes the full-size network's. Raises VocabularyError with file and line.
    """
    return _read(_find(name_or_path), tokenizer)


def load_offered_vocabulary(
    name_or_path: str, folders: Sequence[str], tokenizer: Tokenizer | None = None
) -> Vocabulary:
    """As :func:`load_vocabulary`, for whoever may not read every file of this computer.

    The file must lie below one of ``folders``, with all links resolved; a relative path begins in
    one of them. Raises VocabularyError, which quotes nothing of a file, and does not tell whether a
    file elsewhere exists.
    """
    if name_or_path in preset_names():
        return _read(_preset_dir() / f"{name_or_path}.yaml", tokenizer)
    path = _below(name_or_path, folders)
    if path is None:
        known = preset_names()
        shown = repr(name_or_path if len(name_or_path) <= 80 else f"{name_or_path[:80]}...")
        offered = ", ".join(folders) or "none, as vocabulary_folders is empty"
        raise VocabularyError(
            f"{shown} is neither a bundled vocabulary ({', '.join(known)}) nor a file below a "
            f"folder of vocabulary_folders ({offered}).{did_you_mean(name_or_path[:80], known)} "
            "Class names are given as names."
        )
    try:
        return _read(path, tokenizer)
    except Exception as error:  # noqa: BLE001 - also what a parser raises
        line = error.line if isinstance(error, VocabularyError) else None
    place = "" if line is None else f": line {line} is wrong"
    raise VocabularyError(
        f"The vocabulary {path} cannot be used{place}; 'activesam vocabulary show' says why."
    )


def _below(name_or_path: str, folders: Sequence[str]) -> Path | None:
    """The file ``name_or_path``, links resolved, if it is below one of ``folders``, else None."""
    try:
        for folder in folders:
            root = Path(os.path.realpath(user_path(folder)))
            path = Path(os.path.realpath(root / user_path(name_or_path)))
            if path.is_relative_to(root) and path.is_file():
                return path
    except (OSError, ValueError):  # not a valid path
        pass
    return None


def _read(path: Path, tokenizer: Tokenizer | None) -> Vocabulary:
    origin = Origin(str(path))
    text = _read_utf8(path, origin)
    if not text.strip():
        raise origin.error(1, "the file is empty; write one class a line")
    if path.suffix.lower() in _YAML_SUFFIXES:
        name, entries = read_yaml(text, origin)
    else:
        name, entries = None, read_text(text, origin)
    return vocabulary_of_entries(name or path.stem, entries, origin, tokenizer or Tokenizer())


def vocabulary_from_classes(classes: str, tokenizer: Tokenizer | None = None) -> Vocabulary:
    """The vocabulary of the class names in one text, with the ids of vocabulary_from_names.

    Commas separate classes: ``road, car, person``. Where there is a semicolon, semicolons separate
    classes and commas their aliases: ``road; car, automobile``. A separator may end the text.
    """
    separator = ";" if ";" in classes else ","
    names = classes.split(separator)
    if len(names) > 1 and not names[-1].strip():
        names.pop()
    return vocabulary_from_names(names, tokenizer=tokenizer)


def chosen_vocabulary(
    name_or_path: str, classes: str, tokenizer: Tokenizer | None = None
) -> Vocabulary:
    """The vocabulary of the names in ``classes``, or of ``name_or_path`` where there are none."""
    if classes.strip():
        return vocabulary_from_classes(classes, tokenizer)
    return load_vocabulary(name_or_path, tokenizer)


def preset_names() -> tuple[str, ...]:
    """Names of the bundled vocabularies, sorted."""
    return tuple(sorted(path.stem for path in _preset_dir().glob("*.yaml")))


def read_text(text: str, origin: Origin) -> tuple[ClassEntry, ...]:
    """The classes of a text file; raises VocabularyError for an empty line or name."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()  # the last newline ends a line, it does not begin one
    return tuple(
        ClassEntry(names=split_names(line, number, origin), line=number, id=number - 1)
        for number, line in enumerate(lines, start=1)
    )


def _preset_dir() -> Path:
    return config_dir() / "vocabularies"


def _find(name_or_path: str) -> Path:
    path = user_path(name_or_path)
    is_bare_name = path.name == name_or_path and path.suffix.lower() not in _FILE_SUFFIXES
    if is_bare_name and name_or_path in preset_names():
        return _preset_dir() / f"{name_or_path}.yaml"
    try:
        if path.is_file():
            return path
        is_there = path.exists()
    except (OSError, ValueError) as error:  # not a valid path
        raise VocabularyError(f"{name_or_path!r} cannot be a vocabulary: {error}.") from None
    if is_there and name_or_path:
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise VocabularyError(f"The vocabulary {name_or_path} is {kind}; give a text or YAML file.")
    known = preset_names()
    hint = did_you_mean(name_or_path, known)
    raise VocabularyError(
        f"There is no vocabulary {name_or_path!r}: no such file, and the presets are "
        f"{', '.join(known)}.{hint} For class names instead of a file, give classes: "
        f"--classes {name_or_path!r} on the command line, the parameter classes of the node."
    )


def _read_utf8(path: Path, origin: Origin) -> str:
    try:
        size = check_regular(path, _ANY_SIZE).st_size
        if size > MAX_FILE_BYTES:
            raise VocabularyError(
                f"{path} has {size:,} bytes, more than the {MAX_FILE_BYTES:,} allowed for a "
                "vocabulary; give a text or YAML file of class names."
            )
        data = read_regular(path, MAX_FILE_BYTES)
    except OSError as error:
        raise VocabularyError(f"{path} cannot be read: {os_reason(error)}.") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The position counts from behind a byte-order mark.
        start = error.start + (len(data) - len(error.object))
        raise origin.error(
            data.count(b"\n", 0, start) + 1,
            f"the byte 0x{data[start]:02X} is not UTF-8; save the file as UTF-8",
        ) from None
