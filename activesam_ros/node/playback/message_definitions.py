"""Message definitions as recordings carry them, so that viewers need none of the packages."""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

from activesam_ros.errors import RecordingError

_SEPARATOR = "=" * 80
_PRIMITIVES = frozenset(
    {"bool", "byte", "char", "string", "wstring", "float32", "float64"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)


def message_definition(message_type: str) -> str:
    """The ros2msg text of ``package/msg/Name`` followed by those of every type within it.

    Raises RecordingError when an installed package does not bring the definition.
    """
    texts: dict[str, str] = {}
    _collect(message_type, texts)
    first, *others = texts.items()
    return "\n".join(
        [first[1], *(f"{_SEPARATOR}\nMSG: {_short(name)}\n{text}" for name, text in others)]
    )


def _collect(message_type: str, texts: dict[str, str]) -> None:
    if message_type in texts:
        return
    texts[message_type] = text = _installed(message_type)
    package = message_type.partition("/")[0]
    for line in text.splitlines():
        inner = _type_within(line, package)
        if inner is not None:
            _collect(inner, texts)


def _installed(message_type: str) -> str:
    package, _, name = message_type.partition("/msg/")
    try:
        path = Path(get_package_share_directory(package)) / "msg" / f"{name}.msg"
        return path.read_text(encoding="utf-8")
    except (PackageNotFoundError, OSError) as error:
        raise RecordingError(
            f"The definition of {message_type} is not installed, so it cannot be recorded: {error}."
        ) from error


def _type_within(line: str, package: str) -> str | None:
    """The message type of a field, as ``package/msg/Name``; None for a line that has none."""
    words = line.partition("#")[0].split()
    if len(words) < 2:
        return None
    name = words[0].partition("[")[0].partition("<")[0]
    if name in _PRIMITIVES:
        return None
    return name.replace("/", "/msg/") if "/" in name else f"{package}/msg/{name}"


def _short(message_type: str) -> str:
    return message_type.replace("/msg/", "/")
