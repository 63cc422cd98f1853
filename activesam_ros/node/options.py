"""The node's own parameters, and the one table of all parameters: these and the method's settings.

ROS descriptors, ``config/activesam.yaml`` and the table in the documentation are all generated
from :data:`PARAMETERS`.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_type_hints

from activesam_ros.errors import SettingsError
from activesam_ros.pipeline import DTYPES
from activesam_ros.segmentation.baselines import Method, default_settings
from activesam_ros.settings import SETTINGS, Setting, Settings

ParameterValue: TypeAlias = bool | int | float | str | tuple[str, ...]
ParameterKind: TypeAlias = Literal["bool", "int", "float", "text", "names"]

TRANSPORTS = ("raw", "compressed")
RELIABILITIES = ("reliable", "best_effort")


class Change(enum.Enum):
    """When a parameter may change."""

    LIVE = "at any time"
    UNCONFIGURED = "while unconfigured; else restart the node"
    START = "at start only; restart the node"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row of the table; ``choices`` restrict a text, ``minimum`` to ``maximum`` a number."""

    name: str
    kind: ParameterKind
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
            raise SettingsError(
                f"{self.name}={value!r} is unknown; give one of {', '.join(self.choices)}."
            )
        return value


def _option(
    default: Any,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    unit: str = "",
    choices: tuple[str, ...] = (),
    change: Change = Change.UNCONFIGURED,
) -> Any:
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


@dataclass(frozen=True)
class NodeOptions:
    """What the node needs to know beyond the method's settings; validated on construction.

    Raises SettingsError when a value has the wrong type or is out of range.
    """

    weights: str = _option(
        "",
        "Path of the network's weights, sam3.pt or a safetensors file; has to be given.",
    )
    config_file: str = _option(
        "",
        "Path of the JSON file with the network's dimensions; empty takes config.json beside the "
        "weights, else the full size.",
    )
    vocabulary: str = _option(
        "driving",
        "Name of a bundled vocabulary, or path of a YAML or text file.",
    )
    method: str = _option(
        Method.ACTIVESAM.value,
        "How frames are segmented: the pruned method, the same without pruning, or a baseline. "
        "The baselines segearth and sam3 were published with confidence_threshold 0.5.",
        choices=tuple(method.value for method in Method),
    )
    device: str = _option(
        "auto",
        "auto, cpu, cuda or cuda:N; auto takes the first GPU where there is one.",
    )
    dtype: str = _option(
        "auto",
        "Precision of the network; auto takes bfloat16 on a GPU and float32 on a CPU.",
        choices=DTYPES,
    )
    cache_dir: str = _option(
        "",
        "Folder of compiled vocabularies; empty takes the user's cache folder.",
    )
    cpu_threads: int = _option(
        0,
        "CPU threads the network may use; 0 takes all cores but one, so that others are served.",
        minimum=0,
        maximum=1024,
        unit="threads",
    )
    warm_up: bool = _option(
        True,
        "Segment a blank image while configuring, so that the first frame is no slower than others "
        "and missing memory shows before the robot moves.",
    )
    image_transport: str = _option(
        "raw",
        "raw subscribes to image, compressed to image/compressed.",
        choices=TRANSPORTS,
    )
    image_reliability: str = _option(
        "auto",
        "Reliability asked of the image's publisher; auto takes what the publisher offers.",
        choices=("auto", *RELIABILITIES),
    )
    output_reliability: str = _option(
        "reliable",
        "Reliability the masks are offered with; reliable serves every subscriber.",
        choices=RELIABILITIES,
    )
    max_image_age_ms: float = _option(
        0.0,
        "Images whose stamp is older than this when their turn comes are dropped and counted; "
        "0 takes any. With recordings set use_sim_time.",
        minimum=0.0,
        maximum=3_600_000.0,
        unit="ms",
        change=Change.LIVE,
    )
    image_timeout_s: float = _option(
        2.0,
        "Diagnostics warn when no image, or no usable one, came for this long.",
        minimum=0.05,
        maximum=3600.0,
        unit="s",
        change=Change.LIVE,
    )
    warn_latency_ms: float = _option(
        1000.0,
        "Diagnostics warn when the 95th percentile of the latency is above this; 0 never does.",
        minimum=0.0,
        maximum=600_000.0,
        unit="ms",
        change=Change.LIVE,
    )
    error_after_s: float = _option(
        10.0,
        "A warning that lasts this long becomes an error.",
        minimum=0.0,
        maximum=3600.0,
        unit="s",
        change=Change.LIVE,
    )
    diagnostics_period_s: float = _option(
        1.0,
        "Time between two diagnostics messages.",
        minimum=0.05,
        maximum=60.0,
        unit="s",
        change=Change.LIVE,
    )
    enabled: bool = _option(
        True,
        "Whether images are received and segmented, the same as the service enable.",
        change=Change.LIVE,
    )
    overlay_opacity: float = _option(
        0.5,
        "How much of the class colours covers the image in the overlay.",
        minimum=0.0,
        maximum=1.0,
        change=Change.LIVE,
    )
    overlay_jpeg_quality: int = _option(
        80,
        "JPEG quality of the compressed overlay.",
        minimum=1,
        maximum=100,
        change=Change.LIVE,
    )
    autostart: bool = _option(
        True,
        "Whether the node configures and activates itself; otherwise a lifecycle manager does.",
        change=Change.START,
    )

    def __post_init__(self) -> None:
        for row in OPTIONS:
            object.__setattr__(self, row.name, row.check(getattr(self, row.name)))


def _options() -> tuple[Parameter, ...]:
    kinds: dict[Any, ParameterKind] = {bool: "bool", int: "int", float: "float", str: "text"}
    hints = get_type_hints(NodeOptions)
    return tuple(
        Parameter(
            name=entry.name,
            kind=kinds[hints[entry.name]],
            default=getattr(NodeOptions, entry.name),
            **entry.metadata,
        )
        for entry in dataclasses.fields(NodeOptions)
    )


def _from_setting(setting: Setting) -> Parameter:
    return Parameter(
        name=setting.name,
        kind=setting.kind,
        default=setting.default,
        description=setting.description,
        change=Change.LIVE if setting.live else Change.UNCONFIGURED,
        minimum=setting.minimum,
        maximum=setting.maximum,
        unit=setting.unit,
    )


OPTIONS: tuple[Parameter, ...] = _options()
PARAMETERS: tuple[Parameter, ...] = (*OPTIONS, *map(_from_setting, SETTINGS))


def parameter_named(name: str) -> Parameter | None:
    """The table's row for ``name``, None for a parameter of somebody else."""
    return next((row for row in PARAMETERS if row.name == name), None)


@dataclass(frozen=True)
class NodeParameters:
    """Every parameter's value: the node's options and the method's settings."""

    options: NodeOptions = field(default_factory=NodeOptions)
    settings: Settings = field(default_factory=Settings)

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> NodeParameters:
        """All parameters with ``values`` over the defaults of the method among them.

        Raises SettingsError on an unknown name or a bad value.
        """
        method = Method(str(_METHOD.check(values.get("method", _METHOD.default))))
        return cls(settings=default_settings(method)).replace(values)

    def replace(self, values: Mapping[str, object]) -> NodeParameters:
        """A copy with ``values`` in place; all are validated before any is taken."""
        own = {row.name for row in OPTIONS}
        options = {name: value for name, value in values.items() if name in own}
        settings = {name: value for name, value in values.items() if name not in own}
        return NodeParameters(
            options=dataclasses.replace(self.options, **options),  # type: ignore[arg-type]
            settings=self.settings.replace(settings),
        )


_METHOD = next(row for row in OPTIONS if row.name == "method")
