"""Vocabularies in YAML.

    name: my_robot                 # optional, default: the name of the file
    classes:
      - {id: 1, name: road, color: [128, 64, 128], hypernyms: [way]}
      - {id: 2, name: tree, aliases: [hedge], pinned: true, threshold: 0.3,
         hypernyms: {tree: [woody plant], hedge: [fence]}}

A class needs only its ``name``. Its ``id`` defaults to its place in the list, from 0; ``color`` (or
``colour``), RGB 0-255, to a colour derived from the name; ``hypernyms`` to those of WordNet;
``threshold``, the presence below which the class gets no pixel, to 0.
"""

from __future__ import annotations

import contextlib
import dataclasses

import yaml

from activesam_ros.errors import VocabularyError
from activesam_ros.prompts.colors import Color
from activesam_ros.prompts.entries import ClassEntry, Origin
from activesam_ros.settings import MAX_LABEL_ID

# Longer texts than this are no class; YAML takes long to read them.
MAX_CLASS_CHARACTERS = 4000
_TAG = "tag:yaml.org,2002:"
_CLASS_KEYS = ("id", "name", "aliases", "color", "colour", "pinned", "threshold", "hypernyms")
# What a class among names can have; its id, colour and hypernyms follow from the other classes.
_NAMED_CLASS_KEYS = ("name", "aliases", "pinned", "threshold")


def read_yaml(text: str, origin: Origin) -> tuple[str | None, tuple[ClassEntry, ...]]:
    """The name of the vocabulary, if given, and its classes; raises VocabularyError."""
    reader = _Reader(origin)
    top = reader.mapping(_compose(text, origin), "the file", ("name", "classes"))
    if "classes" not in top:
        raise origin.error(1, "the key 'classes' is missing; it holds the list of classes")
    name = reader.text(top["name"], "'name'") if "name" in top else None
    nodes = reader.sequence(top["classes"], "'classes'")
    if not nodes:
        raise reader.error(top["classes"], "'classes' is empty; write at least one")
    return name, tuple(_class(reader, node, _CLASS_KEYS, id) for id, node in enumerate(nodes))


def read_class(text: str, line: int, origin: Origin) -> ClassEntry:
    """The class of a text such as ``{name: car, aliases: [taxi], threshold: 0.4}``.

    line: of the text in ``origin``. Raises VocabularyError, also for keys other than these and
    ``pinned``.
    """
    if len(text) > MAX_CLASS_CHARACTERS:
        raise origin.error(
            line,
            f"the class {text[:40]!r}... has {len(text):,} characters, more than the "
            f"{MAX_CLASS_CHARACTERS:,} allowed; shorten it",
        )
    in_one_line = " ".join(text.splitlines())  # so that errors name ``line``
    node = _compose(in_one_line, origin, line)
    return dataclasses.replace(_class(_Reader(origin, line), node, _NAMED_CLASS_KEYS), line=line)


def _compose(text: str, origin: Origin, first_line: int = 1) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context
        line = first_line + (mark.line if mark else 0)
        raise origin.error(line, f"this is not YAML: {problem}") from None
    except yaml.reader.ReaderError as error:
        raise origin.error(
            first_line + text.count("\n", 0, error.position),
            f"the character U+{ord(text[error.position]):04X} is not allowed in YAML; remove it",
        ) from None
    except RecursionError:
        raise origin.error(
            first_line, "this YAML is nested too deeply to be a vocabulary"
        ) from None


def _class(
    reader: _Reader, node: yaml.Node | None, known: tuple[str, ...], id: int | None = None
) -> ClassEntry:
    """The class of ``node``, which has keys of ``known``; ``id`` if it states none."""
    keys = reader.mapping(node, "a class", known)
    if "name" not in keys:
        raise reader.error(node, "a class has no 'name'; give it one")
    if "color" in keys and "colour" in keys:
        raise reader.error(keys["colour"], "'color' and 'colour' are the same key; keep one")
    color = keys.get("color", keys.get("colour"))
    names = (
        reader.text(keys["name"], "'name'"),
        *(reader.texts(keys["aliases"], "'aliases'") if "aliases" in keys else ()),
    )
    return ClassEntry(
        names=names,
        line=reader.line(node),
        id=reader.integer(keys["id"], "'id'", MAX_LABEL_ID) if "id" in keys else id,
        color=_color(reader, color) if color is not None else None,
        pinned=reader.boolean(keys["pinned"], "'pinned'") if "pinned" in keys else None,
        hypernyms=_hypernyms(reader, keys["hypernyms"], names) if "hypernyms" in keys else None,
        threshold=reader.fraction(keys["threshold"], "'threshold'")
        if "threshold" in keys
        else None,
    )


def _color(reader: _Reader, node: yaml.Node) -> Color:
    levels = reader.sequence(node, "'color'")
    if len(levels) != 3:
        raise reader.error(node, f"'color' has {len(levels)} numbers; write [red, green, blue]")
    red, green, blue = (reader.integer(level, "a colour's number", 255) for level in levels)
    return red, green, blue


def _hypernyms(
    reader: _Reader, node: yaml.Node, names: tuple[str, ...]
) -> tuple[tuple[str, ...], ...]:
    if isinstance(node, yaml.MappingNode):
        rows = reader.mapping(node, "'hypernyms'", names)
        return tuple(
            reader.texts(rows[name], f"the hypernyms of {name!r}") if name in rows else ()
            for name in names
        )
    if len(names) > 1:
        raise reader.error(
            node, "'hypernyms' of a class with aliases is a mapping from each name to its list"
        )
    return (reader.texts(node, "'hypernyms'"),)


class _Reader:
    """Reads values from YAML nodes; raises VocabularyError with the line for a wrong type."""

    def __init__(self, origin: Origin, first_line: int = 1) -> None:
        """first_line: the line of ``origin`` in which the YAML begins."""
        self._origin = origin
        self._first_line = first_line

    def line(self, node: yaml.Node | None) -> int:
        return self._first_line + (node.start_mark.line if node else 0)

    def error(self, node: yaml.Node | None, reason: str) -> VocabularyError:
        return self._origin.error(self.line(node), reason)

    def mapping(
        self, node: yaml.Node | None, what: str, known: tuple[str, ...]
    ) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self.error(
                node, f"{what} must be a mapping of {', '.join(known)}, not {_describe(node)}"
            )
        entries: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            key = self.text(key_node, f"a key of {what}")
            if key not in known:
                raise self.error(
                    key_node, f"{what} has the unknown key {key!r}; known are {', '.join(known)}"
                )
            if key in entries:
                raise self.error(key_node, f"{what} has the key {key!r} twice; keep one")
            entries[key] = value
        return entries

    def sequence(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode):
            raise self.error(node, f"{what} must be a list, not {_describe(node)}")
        return list(node.value)

    def text(self, node: yaml.Node, what: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag != _TAG + "str":
            hint = "; put it in quotes" if isinstance(node, yaml.ScalarNode) else ""
            raise self.error(node, f"{what} must be text, not {_describe(node)}{hint}")
        text: str = node.value.strip()
        if not text:
            raise self.error(node, f"{what} is empty; write it or remove the key")
        return text

    def texts(self, node: yaml.Node, what: str) -> tuple[str, ...]:
        return tuple(self.text(item, f"each of {what}") for item in self.sequence(node, what))

    def integer(self, node: yaml.Node, what: str, maximum: int) -> int:
        if isinstance(node, yaml.ScalarNode) and node.tag == _TAG + "int":
            try:
                value = int(node.value)
            except ValueError:
                value = -1
            if 0 <= value <= maximum:
                return value
        raise self.error(
            node, f"{what} must be an integer from 0 to {maximum}, not {_describe(node)}"
        )

    def fraction(self, node: yaml.Node, what: str) -> float:
        if isinstance(node, yaml.ScalarNode) and node.tag in (_TAG + "int", _TAG + "float"):
            with contextlib.suppress(ValueError):  # YAML's .inf and 1:30
                value = float(node.value)
                if 0 <= value <= 1:
                    return value
        raise self.error(node, f"{what} must be a number from 0 to 1, not {_describe(node)}")

    def boolean(self, node: yaml.Node, what: str) -> bool:
        if isinstance(node, yaml.ScalarNode) and node.tag == _TAG + "bool":
            return node.value.lower() in ("true", "yes", "on")
        raise self.error(node, f"{what} must be true or false, not {_describe(node)}")


def _describe(node: yaml.Node | None) -> str:
    if node is None:
        return "nothing"
    if isinstance(node, yaml.ScalarNode):
        value = node.value if len(node.value) <= 40 else node.value[:40] + "..."
        return "nothing" if node.tag == _TAG + "null" else repr(value)
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
