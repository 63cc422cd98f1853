"""Which cameras there are: the parameters of each, and what they come to."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass

from activesam_ros.errors import SettingsError
from activesam_ros.node.parameters.rows import Change, Parameter, option, rows_of

TRANSPORTS = ("raw", "compressed")
MAX_CAMERAS = 8
MAX_RATE_HZ = 1000.0
UNNAMED = "image"
"""The camera of a node without named ones; it has the topics ``image`` and ``~/semantic_mask``."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*")


@dataclass(frozen=True)
class CameraOptions:
    """The parameters ``<name>.*`` of a named camera; raises SettingsError for a bad value."""

    name: str
    topic: str = option(
        "",
        "Image topic of this camera; empty takes <name>/image, which may be remapped.",
    )
    transport: str = option(
        "",
        "raw subscribes to the topic, compressed to topic/compressed; empty takes image_transport.",
        choices=("", *TRANSPORTS),
    )
    max_rate_hz: float = option(
        0.0,
        "Most images a second taken from this camera; 0 takes the parameter max_rate_hz.",
        minimum=0.0,
        maximum=MAX_RATE_HZ,
        unit="Hz",
        change=Change.LIVE,
    )

    def __post_init__(self) -> None:
        for row in self.rows:
            field = row.name.removeprefix(f"{self.name}.")
            object.__setattr__(self, field, row.check(getattr(self, field)))

    @property
    def rows(self) -> tuple[Parameter, ...]:
        """The table's rows for this camera."""
        return tuple(
            dataclasses.replace(row, name=f"{self.name}.{row.name}") for row in CAMERA_ROWS
        )


CAMERA_ROWS: tuple[Parameter, ...] = rows_of(CameraOptions)
"""The parameters of a camera without its name in front."""


@dataclass(frozen=True, slots=True)
class CameraInput:
    """What is known of a camera once all parameters are read.

    topic: as given, neither resolved nor with its transport's suffix. prefix: what stands before
    the names of its outputs. max_rate_hz: 0 for no limit.
    """

    name: str
    topic: str
    compressed: bool
    max_rate_hz: float
    prefix: str


def check_camera_names(names: Sequence[str]) -> None:
    """Raise SettingsError unless the names can stand in topics and there are not too many."""
    if len(names) > MAX_CAMERAS:
        raise SettingsError(
            f"cameras has {len(names)} names; one node serves up to {MAX_CAMERAS}, start another."
        )
    for place, name in enumerate(names):
        if not _NAME.fullmatch(name):
            raise SettingsError(
                f"cameras has the name {name!r}, which cannot stand in a topic; use letters, "
                "digits and single underscores, beginning with a letter."
            )
        if name in names[:place]:
            raise SettingsError(f"cameras has the name {name!r} twice; give each its own.")
