"""Parameter files that hold nothing for the node they are given to.

ROS reads such a file without a word: the name at its top is mistyped, or lacks the namespace.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from activesam_ros.regular_files import read_regular

_PARAMETERS = "ros__parameters"
_LARGEST_FILE = 1 << 22


def files_without_parameters(arguments: Sequence[str], node: str) -> tuple[str, ...]:
    """A sentence for each ``--params-file`` among ``arguments`` with nothing for ``node``.

    node: the full name. Files that cannot be read are not judged: ROS refuses them.
    """
    sentences = []
    for option, value in pairwise(arguments):
        if option != "--params-file":
            continue
        try:
            content = yaml.safe_load(read_regular(Path(value), _LARGEST_FILE))
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            continue
        names = list(_names(content)) if isinstance(content, Mapping) else []
        if not any(_means(name.split("/"), node.strip("/").split("/")) for name in names):
            found = f"only for {', '.join(names)}" if names else "for no node"
            sentences.append(
                f"The parameter file {value} has parameters {found}, so none is used; "
                f"begin it with {node}: or with /**:."
            )
    return tuple(sentences)


def _names(content: Mapping[Any, Any]) -> Iterator[str]:
    """The nodes of a file, without a leading slash; namespaces may be nested."""
    for key, value in content.items():
        name = str(key).strip("/")
        if isinstance(value, Mapping):
            if _PARAMETERS in value:
                yield name
            yield from (f"{name}/{inner}" for inner in _names(value) if key != _PARAMETERS)


def _means(pattern: Sequence[str], node: Sequence[str]) -> bool:
    """Whether ``*`` for one part and ``**`` for any number of parts make ``pattern`` the node."""
    if not pattern or not node:
        return not node and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _means(pattern[1:], node) or _means(pattern, node[1:])
    return pattern[0] in ("*", node[0]) and _means(pattern[1:], node[1:])
