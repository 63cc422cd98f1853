"""A row of the table of parameters, and how rows are written as fields of a dataclass."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from activesam_ros.errors import SettingsError
from activesam_ros.settings import Setting, SettingKind, SettingValue, described_fields

ParameterValue: TypeAlias = SettingValue


class Change(enum.Enum):
    """When a parameter may change."""

    LIVE = "at any time"
    UNCONFIGURED = "while unconfigured; else restart the node"
    START = "at start only; restart the node"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row of the table; ``choices`` restrict a text or stand for a number, ``minimum`` to
    ``maximum`` restrict a number.
    """

    name: str
    kind: SettingKind
    default: ParameterValue
    description: str
    change: Change
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    choices: tuple[str, ...] = ()

    def check(self, value: object) -> ParameterValue:
        """Return ``value`` in the parameter's own type, or raise SettingsError naming the bound."""
        if self.kind in ("int", "float", "names"):
            return Setting(
                name=self.name,
                kind=self.kind,
                default=0,  # not looked at
                minimum=self.minimum,
                maximum=self.maximum,
                unit=self.unit,
                description=self.description,
                live=self.change is Change.LIVE,
                choices=self.choices,
            ).check(value)
        if self.kind == "bool":
            if not isinstance(value, bool):
                raise SettingsError(
                    f"{self.name}={value!r} is not a truth value; give true or false."
                )
            return value
        if not isinstance(value, str):
            raise SettingsError(f"{self.name}={value!r} is not a text.")
        if self.choices and value not in self.choices:
            known = ", ".join(choice or '""' for choice in self.choices)
            raise SettingsError(f"{self.name}={value!r} is unknown; give one of {known}.")
        return value


def option(
    default: Any,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    unit: str = "",
    choices: tuple[str, ...] = (),
    change: Change = Change.UNCONFIGURED,
) -> Any:
    """A field that is a parameter."""
    return field(
        default=default,
        metadata={
            "description": description,
            "minimum": minimum,
            "maximum": maximum,
            "unit": unit,
            "choices": choices,
            "change": change,
        },
    )


def rows_of(options: type[Any]) -> tuple[Parameter, ...]:
    """A row for each field that was made by :func:`option`."""
    return tuple(Parameter(**row) for row in described_fields(options))


def from_setting(setting: Setting) -> Parameter:
    """The row of a setting of the method."""
    return Parameter(
        name=setting.name,
        kind=setting.kind,
        default=setting.default,
        description=setting.description,
        change=Change.LIVE if setting.live else Change.UNCONFIGURED,
        minimum=setting.minimum,
        maximum=setting.maximum,
        unit=setting.unit,
        choices=setting.choices,
    )
