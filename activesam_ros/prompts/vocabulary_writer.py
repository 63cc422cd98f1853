"""A vocabulary as readable YAML: one line a class where it fits, else a block."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

import yaml

from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass

_LINE_WIDTH = 120
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9]*([ _/.'-]+[A-Za-z0-9]+)*")

#: A key with its YAML text, or with the lines of a mapping.
_Value = tuple[str, str | list[str]]


def vocabulary_to_yaml(vocabulary: Vocabulary, comment: str = "") -> str:
    """The text of a YAML file that loads as ``vocabulary``; ``comment`` stands at its top."""
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines += [f"name: {_text(vocabulary.name)}", "classes:"]
    for entry in vocabulary.classes:
        values = list(_values(entry))
        flow = f"  - {_flow(values)}"
        lines += [flow] if len(flow) <= _LINE_WIDTH else _block(values)
    return "\n".join(lines) + "\n"


def _values(entry: VocabularyClass) -> Iterator[_Value]:
    yield "id", str(entry.id)
    yield "name", _text(entry.name)
    if len(entry.names) > 1:
        yield "aliases", _texts(entry.names[1:])
    yield "color", f"[{', '.join(map(str, entry.color))}]"
    if entry.pinned:
        yield "pinned", "true"
    if entry.threshold:
        yield "threshold", yaml.safe_dump(entry.threshold).split()[0]
    if entry.hypernyms is not None:
        rows = list(zip(entry.names, entry.hypernyms, strict=True))
        yield (
            "hypernyms",
            _texts(rows[0][1])
            if len(rows) == 1
            else [f"{_text(name)}: {_texts(row)}" for name, row in rows],
        )


def _flow(values: Sequence[_Value]) -> str:
    pairs = (
        f"{key}: {value if isinstance(value, str) else '{' + ', '.join(value) + '}'}"
        for key, value in values
    )
    return f"{{{', '.join(pairs)}}}"


def _block(values: Sequence[_Value]) -> list[str]:
    lines: list[str] = []
    for key, value in values:
        if isinstance(value, str):
            lines.append(f"    {key}: {value}")
        else:
            lines += [f"    {key}:", *(f"      {line}" for line in value)]
    return [f"  - {lines[0].lstrip()}", *lines[1:]]


def _texts(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(_text, texts))}]"


def _text(text: str) -> str:
    """A YAML scalar: plain if YAML reads it as the same text, else quoted."""
    if _PLAIN.fullmatch(text):
        node = yaml.compose(text, yaml.SafeLoader)
        if node is not None and node.tag == "tag:yaml.org,2002:str":
            return text
    return json.dumps(text, ensure_ascii=False)
