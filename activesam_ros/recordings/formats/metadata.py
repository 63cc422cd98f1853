"""Read rosbag2's metadata.yaml, as plain data within bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from activesam_ros.errors import RecordingError, printable
from activesam_ros.regular_files import read_regular

_MAX_BYTES = 8 << 20
_MAX_DEPTH = 32
# A topic of a large recording has about 20 values.
_MAX_VALUES = 1_000_000


@dataclass(frozen=True, slots=True)
class Metadata:
    """files: names without folders. qos: YAML by topic. counts: messages by topic."""

    files: tuple[str, ...]
    qos: Mapping[str, str]
    counts: Mapping[str, int]


class _PlainLoader(yaml.SafeLoader):
    """Loads YAML whose values, with those that aliases repeat, are at most _MAX_VALUES."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._values = 0
        self._values_of: dict[int, int] = {}  # by id of a finished node

    def compose_node(self, parent: Any, index: Any) -> Any:
        before = self._values
        is_alias = self.check_event(yaml.AliasEvent)
        if self._depth >= _MAX_DEPTH:
            raise RecordingError(f"it is nested more than {_MAX_DEPTH} times")
        self._depth += 1
        try:
            node = super().compose_node(parent, index)
        finally:
            self._depth -= 1
        if not is_alias:
            self._values += 1
            self._values_of[id(node)] = self._values - before
        elif id(node) in self._values_of:
            self._values += self._values_of[id(node)]
        else:
            raise RecordingError("it has an alias that contains itself")
        if self._values > _MAX_VALUES:
            raise RecordingError(f"it has more than {_MAX_VALUES} values, with those of aliases")
        return node


def read_metadata(path: Path) -> Metadata:
    """The content of metadata.yaml; raises RecordingError, or what a parser raises."""
    text = read_regular(path, _MAX_BYTES).decode("utf-8")
    content = _mapping(yaml.load(text, _PlainLoader), "the file")  # a safe loader
    content = _mapping(content.get("rosbag2_bagfile_information"), "rosbag2_bagfile_information")
    names = _list(content.get("relative_file_paths"), "relative_file_paths")
    if not names or not all(isinstance(name, str) for name in names):
        raise RecordingError("relative_file_paths is not a list of files")
    qos: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for item in _list(content.get("topics_with_message_count"), "topics_with_message_count"):
        entry = _mapping(item, "an entry of topics_with_message_count")
        topic = _mapping(entry.get("topic_metadata"), "topic_metadata")
        name = topic.get("name")
        if not isinstance(name, str):
            raise RecordingError("a topic has no name that is text")
        # Old versions store a text of YAML, new ones a list.
        profiles = topic.get("offered_qos_profiles") or ""
        qos[printable(name)] = profiles if isinstance(profiles, str) else yaml.safe_dump(profiles)
        number = entry.get("message_count")
        if isinstance(number, int):
            counts[printable(name)] += number
    # Old versions of rosbag2 include the folder, whose name may have changed since.
    return Metadata(tuple(PurePosixPath(name).name for name in names), qos, counts)


def _mapping(value: Any, what: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise RecordingError(f"{what} is not a mapping")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise RecordingError(f"{what} is not a list")
    return value or []
