"""Vocabularies by preset name, from text files and from YAML."""

from __future__ import annotations

import difflib
from pathlib import Path

from activesam_ros.errors import VocabularyError
from activesam_ros.prompts.entries import Origin
from activesam_ros.prompts.vocabulary import Vocabulary, vocabulary_of_entries
from activesam_ros.prompts.vocabulary_text import read_text
from activesam_ros.prompts.vocabulary_yaml import read_yaml
from activesam_ros.resources import config_dir
from activesam_ros.sam3.tokenizer import Tokenizer

_YAML_SUFFIXES = (".yaml", ".yml")
_FILE_SUFFIXES = (*_YAML_SUFFIXES, ".txt")
# The largest vocabulary of sensible prompts is a tenth of this; a weights file is far above.
MAX_FILE_BYTES = 64 * 2**20


def load_vocabulary(name_or_path: str, tokenizer: Tokenizer | None = None) -> Vocabulary:
    """The preset ``name_or_path``, or the vocabulary in that file: YAML by its suffix, else text.

    A name without a folder or suffix is a preset where there is one. ``tokens`` counts the prompts'
    tokens, the network's tokenizer if None. Raises VocabularyError with file and line.
    """
    path = _find(name_or_path)
    origin = Origin(str(path))
    text = _read_utf8(path, origin)
    if not text.strip():
        raise origin.error(1, "the file is empty; write one class a line")
    if path.suffix.lower() in _YAML_SUFFIXES:
        name, entries = read_yaml(text, origin)
    else:
        name, entries = None, read_text(text, origin)
    return vocabulary_of_entries(name or path.stem, entries, origin, tokenizer or Tokenizer())


def preset_names() -> tuple[str, ...]:
    """The names of the bundled vocabularies, sorted."""
    return tuple(sorted(path.stem for path in _preset_dir().glob("*.yaml")))


def _preset_dir() -> Path:
    return config_dir() / "vocabularies"


def _find(name_or_path: str) -> Path:
    path = Path(name_or_path)
    is_bare_name = path.name == name_or_path and path.suffix.lower() not in _FILE_SUFFIXES
    if is_bare_name and name_or_path in preset_names():
        return _preset_dir() / f"{name_or_path}.yaml"
    try:
        if path.is_file():
            return path
        is_there = path.exists()
    except (OSError, ValueError) as error:  # a name that no file system takes
        raise VocabularyError(f"{name_or_path!r} cannot be a vocabulary: {error}.") from None
    if is_there and name_or_path:
        kind = "a folder" if path.is_dir() else "no regular file"
        raise VocabularyError(f"The vocabulary {name_or_path} is {kind}; give a text or YAML file.")
    known = preset_names()
    close = difflib.get_close_matches(name_or_path, known)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise VocabularyError(
        f"There is no vocabulary {name_or_path!r}: no such file, and the presets are "
        f"{', '.join(known)}.{hint}"
    )


def _read_utf8(path: Path, origin: Origin) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise VocabularyError(
                f"{path} has {size:,} bytes, more than the {MAX_FILE_BYTES:,} of the largest "
                "vocabulary; give a text or YAML file of class names."
            )
        data = path.read_bytes()
    except OSError as error:
        raise VocabularyError(f"{path} cannot be read: {error.strerror or error}.") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # With a byte-order mark the position counts from behind it.
        start = error.start + (len(data) - len(error.object))
        raise origin.error(
            data.count(b"\n", 0, start) + 1,
            f"the byte 0x{data[start]:02X} is not UTF-8; save the file as UTF-8",
        ) from None
