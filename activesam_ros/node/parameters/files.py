"""Texts generated from the table of parameters: the params file and the documentation's table.

``python -m activesam_ros.node.parameters.files yaml`` prints config/activesam.yaml, ``markdown``
the table in docs/node.md; tests compare them with what is there.
"""

from __future__ import annotations

import json
import sys
import textwrap

from activesam_ros.node.parameters.cameras import CAMERA_ROWS
from activesam_ros.node.parameters.options import PARAMETERS
from activesam_ros.node.parameters.rows import Change, Parameter, ParameterValue

_WIDTH = 98
_INDENT = "    "


def params_file() -> str:
    """The text of config/activesam.yaml: every parameter with its default and what it means."""
    lines = [
        "# Parameters of the node activesam with their defaults; generated from the table in",
        "# activesam_ros/node/parameters/options.py. Copy it and keep the lines you change.",
        "/**:",
        "  ros__parameters:",
    ]
    for row in PARAMETERS:
        comments = textwrap.wrap(row.description, _WIDTH - len(_INDENT) - 2)
        comments += [_allowed(row)] if _allowed(row) else []
        lines += [f"{_INDENT}# {comment}" for comment in comments]
        lines.append(f"{_INDENT}{row.name}: {_yaml(row.default)}")
    lines += [
        f"{_INDENT}# A camera named in cameras, such as front, has these beside:",
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


_CHANGES = {Change.LIVE: "live", Change.UNCONFIGURED: "restart", Change.START: "start"}


def _allowed(row: Parameter) -> str:
    restart = "" if row.change is Change.LIVE else "needs a restart"
    parts = [part for part in (_range(row), restart) if part]
    return f"[{'; '.join(parts)}]" if parts else ""


def _range(row: Parameter) -> str:
    parts = list(row.choices)
    if row.minimum is not None and row.maximum is not None:
        unit = f" {row.unit}" if row.unit else ""
        parts.append(f"{row.minimum:.12g} to {row.maximum:.12g}{unit}")
    return ", ".join(parts)


def _yaml(value: ParameterValue) -> str:
    if isinstance(value, tuple):
        # ROS cannot read an empty list of texts; a blank name counts as none.
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
