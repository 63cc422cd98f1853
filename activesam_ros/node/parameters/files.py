"""The files that are generated from the table of parameters.

``python -m activesam_ros.node.parameters.files yaml`` prints config/activesam.yaml, and
``markdown`` prints the table of docs/node.md. Tests compare both with the files.
"""

from __future__ import annotations

import json
import sys
import textwrap

from activesam_ros.node.parameters.cameras import CAMERA_ROWS
from activesam_ros.node.parameters.options import PARAMETERS
from activesam_ros.setting_table import Change, Setting, SettingValue

_WIDTH = 98
_INDENT = "    "


def params_file() -> str:
    """The text of config/activesam.yaml: every parameter with its default and its description."""
    lines = [
        "# The parameters of the node activesam and their defaults. To change some, copy this file",
        "# and keep their lines. Generated from activesam_ros/settings.py and",
        "# activesam_ros/node/parameters/options.py.",
        "/**:",
        "  ros__parameters:",
    ]
    for row in PARAMETERS:
        comments = textwrap.wrap(row.description, _WIDTH - len(_INDENT) - 2)
        comments += [_allowed(row)] if _allowed(row) else []
        lines += [f"{_INDENT}# {comment}" for comment in comments]
        lines.append(f"{_INDENT}{row.name}: {_yaml(row.default)}")
    lines += [
        f"{_INDENT}# A camera that cameras names, such as front, also has these:",
        f"{_INDENT}# front:",
        *(f"{_INDENT}#   {row.name}: {_yaml(row.default)}" for row in CAMERA_ROWS),
    ]
    return "\n".join(lines) + "\n"


def parameter_table() -> str:
    """The parameters as a Markdown table."""
    lines = ["| parameter | default | allowed | changes | |", "|---|---|---|---|---|"]
    lines += [
        f"| `{row.name}` | `{_yaml(row.default)}` | {_range(row)} | {_CHANGES[row.change]} | "
        f"{row.description} |"
        for row in (*PARAMETERS, *CAMERA_ROWS)
    ]
    return "\n".join(lines) + "\n"


_CHANGES = {Change.LIVE: "live", Change.UNCONFIGURED: "unconfigured", Change.START: "start"}
_NOTES = {
    Change.LIVE: "",
    Change.UNCONFIGURED: "set while unconfigured",
    Change.START: "set at the start",
}


def _allowed(row: Setting) -> str:
    parts = [part for part in (_range(row), _NOTES[row.change]) if part]
    return f"[{'; '.join(parts)}]" if parts else ""


def _range(row: Setting) -> str:
    return ", ".join([*row.choices, *([row.bounds] if row.bounds else [])])


def _yaml(value: SettingValue) -> str:
    if isinstance(value, tuple):
        # [] has no type in ROS, so not every tool reads it; blank names do not count.
        return json.dumps(list(value) or [""])
    return json.dumps(value)


def main(arguments: list[str]) -> int:
    """Print one of the texts."""
    texts = {"yaml": params_file, "markdown": parameter_table}
    if len(arguments) != 1 or arguments[0] not in texts:
        print(f"give one of {', '.join(texts)}", file=sys.stderr)
        return 2
    print(texts[arguments[0]](), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
