"""A row of the table of settings: what a value may be, how it is read, and when it may change.

:func:`setting` makes a field of a frozen dataclass such a row; :func:`settings_of` lists them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_type_hints

from activesam_ros.errors import SettingsError

SettingValue: TypeAlias = bool | int | float | str | tuple[str, ...]
SettingKind: TypeAlias = Literal["bool", "int", "float", "text", "names"]

_LOG = logging.getLogger(__name__)

OLD_NAMES: Mapping[str, str] = {"preview_source": "preview_encoding"}
"""Old and current names of renamed settings; an old name works and logs a deprecation."""
_OLD_CHOICES: Mapping[tuple[str, str], str] = {("preview_encoding", "own"): "separate"}


class Change(enum.Enum):
    """When a setting may change in a running node."""

    LIVE = "at any time"
    UNCONFIGURED = "while the node is unconfigured; otherwise restart the node"
    START = "at the start only; restart the node"


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table.

    A number lies between ``minimum`` and ``maximum`` or is one of ``choices``. A text is one of
    ``choices``, or any text if there are none.
    """

    name: str
    kind: SettingKind
    default: SettingValue
    description: str
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    choices: tuple[str, ...] = ()
    change: Change = Change.LIVE

    @property
    def bounds(self) -> str:
        """Minimum, maximum and unit as a text, such as "1 to 1024 queries"; empty without them."""
        if self.minimum is None or self.maximum is None:
            return ""
        return f"{self.minimum:.12g} to {self.maximum:.12g} {self.unit}".rstrip()

    def parse(self, text: str) -> SettingValue:
        """The value that ``text`` stands for on a command line; raises SettingsError."""
        text = text.strip()
        value: object = text
        if self.kind == "names":
            value = [part.strip() for part in text.split(",")]
        elif self.kind == "bool":
            value = {"true": True, "false": False}.get(text.lower(), text)
        elif self.kind != "text":
            with contextlib.suppress(ValueError):  # check refuses any other text
                value = int(text) if self.kind == "int" else float(text)
        return self.check(value)

    def check(self, value: object) -> SettingValue:
        """``value`` in the setting's type; raises SettingsError with the values that are allowed.

        An integer passes for a float, and a float without a fraction for an integer.
        """
        if self.kind == "names":
            return self._check_names(value)
        if self.kind == "text":
            return self._check_text(value)
        if self.kind == "bool":
            if not isinstance(value, bool):
                raise self._refusal(value, "is not a truth value; give true or false")
            return value
        return self._check_number(value)

    def _check_names(self, value: object) -> tuple[str, ...]:
        """The names that are not blank."""
        if isinstance(value, Iterable) and not isinstance(value, str):
            names = tuple(value)
            if all(isinstance(name, str) for name in names):
                return tuple(name for name in names if name.strip())
        raise self._refusal(value, "is not a list of names")

    def _check_text(self, value: object) -> str:
        if isinstance(value, str) and (self.name, value) in _OLD_CHOICES:
            old, value = value, _OLD_CHOICES[self.name, value]
            _LOG.warning("%s=%s is deprecated; give %s=%s.", self.name, old, self.name, value)
        if self.choices and value not in self.choices:
            known = ", ".join(choice or '""' for choice in self.choices)
            raise self._refusal(value, f"is unknown; give one of {known}")
        if not isinstance(value, str):
            raise self._refusal(value, "is not a text")
        return value

    def _check_number(self, value: object) -> SettingValue:
        if isinstance(value, str) and value in self.choices:
            return value
        kind = "an integer" if self.kind == "int" else "a number"
        allowed = " or ".join([f"give {kind} from {self.bounds}", *self.choices])
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._refusal(value, f"is not {kind}; {allowed}")
        if self.kind == "int" and isinstance(value, float) and not value.is_integer():
            raise self._refusal(value, f"is not {kind}; {allowed}")
        low = -math.inf if self.minimum is None else self.minimum
        high = math.inf if self.maximum is None else self.maximum
        if not low <= value <= high:  # NaN too
            raise self._refusal(value, f"is out of range; {allowed}")
        return int(value) if self.kind == "int" else float(value)

    def _refusal(self, value: object, reason: str) -> SettingsError:
        return SettingsError(f"{self.name}={value!r} {reason}.")


def setting(
    default: Any,
    description: str,
    *,
    between: tuple[float | None, float | None] = (None, None),
    unit: str = "",
    choices: tuple[str, ...] = (),
    change: Change = Change.LIVE,
) -> Any:
    """A dataclass field that is a setting; its name and annotation complete the row.

    between: minimum and maximum of a number.
    """
    row = Setting("", "text", default, description, *between, unit, choices, change)
    return field(default=default, metadata={"setting": row})


_KINDS: Mapping[Any, SettingKind] = {
    bool: "bool",
    int: "int",
    int | str: "int",
    float: "float",
    str: "text",
    tuple[str, ...]: "names",
}


def settings_of(owner: type[Any]) -> tuple[Setting, ...]:
    """A row for each field of the dataclass ``owner`` that :func:`setting` made."""
    hints = get_type_hints(owner)
    return tuple(
        dataclasses.replace(
            entry.metadata["setting"], name=entry.name, kind=_KINDS[hints[entry.name]]
        )
        for entry in dataclasses.fields(owner)
        if "setting" in entry.metadata
    )


def check_fields(owner: object, rows: Iterable[Setting]) -> None:
    """Check the fields of the frozen dataclass ``owner`` and give them their rows' types.

    Raises SettingsError for a bad value.
    """
    for row in rows:
        object.__setattr__(owner, row.name, row.check(getattr(owner, row.name)))


def split_assignment(assignment: str) -> tuple[str, str]:
    """Name and value of a NAME=VALUE text; raises SettingsError without a ``=``."""
    name, equals, text = assignment.partition("=")
    if not equals:
        raise SettingsError(f"--set {assignment!r} has no '='; write --set NAME=VALUE.")
    return name.strip(), text
