"""The parameters of each named camera, and the inputs that follow from them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass

from activesam_ros.errors import SettingsError
from activesam_ros.setting_table import Change, Setting, setting, settings_of

TRANSPORTS = ("raw", "compressed")
MAX_CAMERAS = 8
MAX_RATE_HZ = 1000.0
UNNAMED = "image"
"""The camera of a node without named cameras; its topics are ``image``, ``~/semantic_mask``, ..."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*")
# What ROS takes as a topic: absolute, relative or private, with substitutions such as {ns}.
_TOPIC = re.compile(r"(~?/)?[A-Za-z_{][\w{}]*(/[A-Za-z_{][\w{}]*)*", re.ASCII)


@dataclass(frozen=True)
class CameraOptions:
    """The parameters ``<name>.*`` of the camera ``name``; raises SettingsError for a bad value."""

    name: str
    topic: str = setting(
        "",
        "Image topic of this camera. If empty, it is <name>/image, which can be remapped.",
        change=Change.UNCONFIGURED,
    )
    transport: str = setting(
        "",
        "raw subscribes to the topic, compressed to topic/compressed; empty takes image_transport.",
        choices=("", *TRANSPORTS),
        change=Change.UNCONFIGURED,
    )
    max_rate_hz: float = setting(
        0.0,
        "Largest number of images per second that are taken from this camera; 0 takes the node's "
        "max_rate_hz.",
        between=(0.0, MAX_RATE_HZ),
        unit="Hz",
    )

    def __post_init__(self) -> None:
        for row in self.rows:
            field = row.name.removeprefix(f"{self.name}.")
            object.__setattr__(self, field, row.check(getattr(self, field)))
        if self.topic and not _TOPIC.fullmatch(self.topic):
            raise SettingsError(
                f"{self.name}.topic={self.topic!r} is no topic; use letters, digits, underscores "
                "and slashes, and begin no part with a digit."
            )

    @property
    def rows(self) -> tuple[Setting, ...]:
        """The rows of this camera, with its name in front."""
        return tuple(
            dataclasses.replace(row, name=f"{self.name}.{row.name}") for row in CAMERA_ROWS
        )


CAMERA_ROWS: tuple[Setting, ...] = settings_of(CameraOptions)
"""The rows of a camera, without its name in front."""


@dataclass(frozen=True, slots=True)
class CameraInput:
    """A camera that the node subscribes to.

    topic: as given; it is neither resolved nor has it the suffix of the transport. prefix: stands
    before the names of the camera's outputs. max_rate_hz: 0 for no limit.
    """

    name: str
    topic: str
    compressed: bool
    max_rate_hz: float
    prefix: str


def check_camera_names(names: Sequence[str]) -> None:
    """Raise SettingsError for a name that cannot be part of a topic, and for too many names."""
    if len(names) > MAX_CAMERAS:
        raise SettingsError(
            f"cameras has {len(names)} names; one node serves up to {MAX_CAMERAS}: start another "
            "node for the others."
        )
    for place, name in enumerate(names):
        if not _NAME.fullmatch(name):
            raise SettingsError(
                f"cameras has the name {name!r}, which cannot be part of a topic; use letters, "
                "digits and single underscores, and begin with a letter."
            )
        if name in names[:place]:
            raise SettingsError(f"cameras has the name {name!r} twice; give each camera its own.")
