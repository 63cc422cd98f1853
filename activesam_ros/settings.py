"""Every number of the method: one table from which ROS parameters, flags and YAML are generated.

A field of :class:`Settings` is a setting; its :class:`Setting` entry in :data:`SETTINGS` carries
the default, the range, the unit, the description and whether it may change while a node runs.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_type_hints

from activesam_ros.errors import SettingsError

SettingValue: TypeAlias = bool | int | float | str | tuple[str, ...]
SettingKind: TypeAlias = Literal["bool", "int", "float", "text", "names"]

_LOG = logging.getLogger(__name__)

OLD_NAMES: Mapping[str, str] = {"preview_source": "preview_encoding"}
"""Settings that were renamed: the old name keeps working and logs a line."""
_OLD_CHOICES: Mapping[tuple[str, str], str] = {("preview_encoding", "own"): "separate"}

AUTO = "auto"
NEVER = "never"

MAX_LABEL_ID = 65534


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table of settings.

    ``choices`` are all that a text may be, or what may stand for a number; ``minimum`` to
    ``maximum`` bound a number. ``live`` settings may change between two frames; the others shape
    the prompts or the network's buffers and need a restart.
    """

    name: str
    kind: SettingKind
    default: SettingValue
    minimum: float | None
    maximum: float | None
    unit: str
    description: str
    live: bool
    choices: tuple[str, ...] = ()

    def parse(self, text: str) -> SettingValue:
        """Read the value from ``text`` as written on a command line; raises SettingsError."""
        text = text.strip()
        if self.kind == "names":
            return self.check(tuple(part.strip() for part in text.split(",") if part.strip()))
        if self.kind == "text":
            return self.check(text)
        if self.kind == "bool":
            return self.check({"true": True, "false": False}.get(text.lower(), text))
        if text in self.choices:
            return text
        try:
            return self.check(int(text) if self.kind == "int" else float(text))
        except ValueError:
            raise SettingsError(
                f"{self.name}={text!r} is not {_article(self.kind)}; give {self._range()}."
            ) from None

    def check(self, value: object) -> SettingValue:
        """Return ``value`` in the setting's own type, or raise SettingsError naming the bound."""
        if self.kind == "names":
            return self._check_names(value)
        if self.kind == "bool":
            if not isinstance(value, bool):
                raise SettingsError(
                    f"{self.name}={value!r} is not a truth value; give true or false."
                )
            return value
        if self.kind == "text":
            return self._check_text(value)
        if isinstance(value, str) and value in self.choices:
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise SettingsError(
                f"{self.name}={value!r} is not {_article(self.kind)}; give {self._range()}."
            )
        if self.kind == "int" and (not math.isfinite(value) or int(value) != value):
            raise SettingsError(f"{self.name}={value!r} is not an integer; give {self._range()}.")
        if (
            not math.isfinite(value)
            or (self.minimum is not None and value < self.minimum)
            or (self.maximum is not None and value > self.maximum)
        ):
            raise SettingsError(f"{self.name}={value!r} is out of range; give {self._range()}.")
        return int(value) if self.kind == "int" else float(value)

    def _check_names(self, value: object) -> tuple[str, ...]:
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise SettingsError(f"{self.name}={value!r} is not a list of class names.")
        names = tuple(value)
        if not all(isinstance(name, str) for name in names):
            raise SettingsError(f"{self.name}={value!r} is not a list of class names.")
        return tuple(name for name in names if name.strip())

    def _check_text(self, value: object) -> str:
        if isinstance(value, str) and (self.name, value) in _OLD_CHOICES:
            old, value = value, _OLD_CHOICES[self.name, value]
            _LOG.warning("%s=%s is deprecated; give %s=%s.", self.name, old, self.name, value)
        if not isinstance(value, str) or value not in self.choices:
            raise SettingsError(
                f"{self.name}={value!r} is unknown; give one of {', '.join(self.choices)}."
            )
        return value

    def _range(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        others = "".join(f" or {choice}" for choice in self.choices)
        return f"{_article(self.kind)} from {self.minimum:g} to {self.maximum:g}{unit}{others}"


def _article(kind: SettingKind) -> str:
    return "an integer" if kind == "int" else "a number"


def _setting(
    default: Any,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    unit: str = "",
    live: bool = True,
    choices: tuple[str, ...] = (),
) -> Any:
    return field(
        default=default,
        metadata={
            "description": description,
            "minimum": minimum,
            "maximum": maximum,
            "unit": unit,
            "live": live,
            "choices": choices,
        },
    )


@dataclass(frozen=True)
class Settings:
    """The numbers of the method (methods.md sections 2 and 4), validated on construction.

    Raises SettingsError when a value has the wrong type or is out of range.
    """

    resolution: int = _setting(
        0,
        "Side of the square the image is resized to for decoding; 0 takes the network's own.",
        minimum=0,
        maximum=4032,
        unit="px",
        live=False,
    )
    preview_resolution: int = _setting(
        0,
        "Side of the square the preview sees; 0 takes two thirds of the resolution.",
        minimum=0,
        maximum=4032,
        unit="px",
        live=False,
    )
    bucket_size: int | str = _setting(
        AUTO,
        "Queries that go through the class-conditioned part at once; fewer need less memory. auto "
        "takes 32 on a CPU, on a GPU up to 32 by its free memory.",
        minimum=1,
        maximum=1024,
        unit="queries",
        choices=(AUTO,),
    )
    preset: str = _setting(
        "exact",
        "exact computes what the published method does; fast approximates it: linear layers of the "
        "image and fusion encoders in eight bits and a fusion_density of at most 0.4.",
        choices=("exact", "fast"),
        live=False,
    )
    compile: str = _setting(
        NEVER,
        "Whether the network is compiled, which makes the start longer and frames shorter, and on "
        "a GPU recorded as CUDA graphs; auto does so on a GPU.",
        choices=(AUTO, "always", NEVER),
        live=False,
    )
    confidence_threshold: float = _setting(
        0.3,
        "Objects with a higher probability contribute their mask.",
        minimum=0.0,
        maximum=1.0,
    )
    quantile_alpha: float = _setting(
        0.2,
        "Share of the vocabulary the preview keeps: scores at or above the (1 - alpha) quantile.",
        minimum=0.0,
        maximum=1.0,
    )
    max_active: int = _setting(
        40,
        "Most queries decoded in a frame, pinned ones beside them; "
        "a vocabulary of no more queries than this is not previewed.",
        minimum=1,
        maximum=65535,
        unit="queries",
    )
    neighbor_tokens: int = _setting(
        2,
        "Nearest other queries whose pooled embeddings extend a prompt.",
        minimum=0,
        maximum=16,
        unit="tokens",
        live=False,
    )
    hypernym_tokens: int = _setting(
        2,
        "WordNet hypernyms whose pooled embeddings extend a prompt.",
        minimum=0,
        maximum=16,
        unit="tokens",
        live=False,
    )
    background_threshold: float = _setting(
        0.0,
        "Score below which a pixel becomes background_id; 0 switches the calibration off.",
        minimum=0.0,
        maximum=1.0,
    )
    background_id: int = _setting(
        0,
        "Label written to background pixels; a class of the vocabulary or an id of its own.",
        minimum=0,
        maximum=MAX_LABEL_ID,
    )
    mabc_exponent: float = _setting(
        1.25,
        "Exponent of the background threshold in margin-aware background calibration.",
        minimum=0.1,
        maximum=10.0,
    )
    pinned: tuple[str, ...] = _setting(
        (),
        "Class names that are always decoded, beside those the vocabulary pins.",
    )
    encoder_attention_density: float = _setting(
        1.0,
        "Share of the keys that a query of the image encoder attends to beside its own block; "
        "1 attends densely.",
        minimum=0.1,
        maximum=1.0,
    )
    encoder_mlp_density: float = _setting(
        1.0,
        "Share of the tokens that go through the MLP in the image encoder's window blocks; "
        "the others pass it by.",
        minimum=0.1,
        maximum=1.0,
    )
    encoder_sparse_from_block: int = _setting(
        -1,
        "First block of the image encoder that may be sparse; -1 takes the one after the first "
        "block with global attention, 8 in SAM 3.",
        minimum=-1,
        maximum=1023,
    )
    stripe_order: str = _setting(
        "content",
        "How sparse parts rank tokens: by what each image shows, or evenly spread.",
        choices=("content", "static"),
    )
    fusion_density: float = _setting(
        1.0,
        "Share of the keys that an image token attends to in the fusion encoder beside its own "
        "block; 1 attends densely.",
        minimum=0.1,
        maximum=1.0,
    )
    fusion_mlp_density: float = _setting(
        1.0,
        "Share of the image tokens that go through the MLP in the fusion encoder's layers but the "
        "last; the others pass it by.",
        minimum=0.1,
        maximum=1.0,
    )
    preview_encoding: str = _setting(
        "separate",
        "separate encodes the image once more at preview_resolution for the preview; shared "
        "previews with the encoding made for decoding, which takes more time for each query.",
        choices=("separate", "shared"),
    )
    streaming: bool = _setting(
        False,
        "Keep the active set alive from frame to frame and preview a slice of the vocabulary for "
        "each, for video; off previews all of it for every image.",
    )
    preview_interval: int = _setting(
        8,
        "With streaming every class is looked at at least once in so many frames; 1 previews all "
        "that is not active for every frame.",
        minimum=1,
        maximum=1000,
        unit="frames",
    )
    enter_threshold: float = _setting(
        0.3,
        "With streaming a class becomes active when its presence in the preview is at least this.",
        minimum=0.0,
        maximum=1.0,
    )
    leave_threshold: float = _setting(
        0.1,
        "With streaming an active class has evidence while the filtered presence of its own decode "
        "is at least this, or its own decode at least enter_threshold.",
        minimum=0.0,
        maximum=1.0,
    )
    hold_frames: int = _setting(
        5,
        "With streaming a class leaves after so many frames in a row without evidence.",
        minimum=1,
        maximum=1000,
        unit="frames",
    )
    presence_gain: float = _setting(
        0.5,
        "With streaming the share of a frame in the filtered presence; 1 does not filter.",
        minimum=0.01,
        maximum=1.0,
    )
    scene_change_threshold: float = _setting(
        0.2,
        "With streaming a frame whose thumbnail differs more than this from the one before is "
        "previewed in full; 0 does not compare.",
        minimum=0.0,
        maximum=1.0,
    )
    max_gap_s: float = _setting(
        2.0,
        "With streaming a frame is previewed in full when its stamp is more than this after the "
        "one before, or earlier.",
        minimum=0.01,
        maximum=3600.0,
        unit="s",
    )

    def __post_init__(self) -> None:
        for setting in SETTINGS:
            value = setting.check(getattr(self, setting.name))
            object.__setattr__(self, setting.name, value)

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> Settings:
        """Settings with ``values`` over the defaults; raises SettingsError on an unknown name."""
        return cls().replace(values)

    def assign(self, assignments: Iterable[str]) -> Settings:
        """A copy with ``NAME=VALUE`` texts, as on a command line, in place; a later one wins.

        Raises SettingsError on an unknown name, a missing ``=`` or an unreadable value.
        """
        values: dict[str, object] = {}
        for assignment in assignments:
            name, equals, text = assignment.partition("=")
            if not equals:
                raise SettingsError(f"--set {assignment!r} has no '='; write --set NAME=VALUE.")
            (current,) = current_names({name.strip(): text})
            values[current] = setting_named(current).parse(text)
        return self.replace(values)

    def replace(self, values: Mapping[str, object]) -> Settings:
        """A copy with ``values`` in place; all are validated before any is taken."""
        values = current_names(values)
        for name in values:
            setting_named(name)
        return dataclasses.replace(self, **values)  # type: ignore[arg-type]


def current_names(values: Mapping[str, object]) -> dict[str, object]:
    """``values`` with the current name in place of an old one, for which a line is logged.

    Raises SettingsError when both names of a setting are given.
    """
    current = dict(values)
    for old, name in OLD_NAMES.items():
        if old not in current:
            continue
        if name in current:
            raise SettingsError(f"{old} is the old name of {name}; give {name} alone.")
        _LOG.warning("The setting %s is now named %s; the old name is deprecated.", old, name)
        current[name] = current.pop(old)
    return current


def setting_named(name: str) -> Setting:
    """The table's row for ``name``; raises SettingsError listing the known names."""
    for setting in SETTINGS:
        if setting.name == name:
            return setting
    known = ", ".join(setting.name for setting in SETTINGS)
    raise SettingsError(f"There is no setting {name!r}; the settings are {known}.")


_KINDS: Mapping[Any, SettingKind] = {
    bool: "bool",
    int: "int",
    int | str: "int",
    float: "float",
    str: "text",
    tuple[str, ...]: "names",
}


def described_fields(owner: type[Any]) -> Iterator[dict[str, Any]]:
    """Of each field of a dataclass that has metadata: that, and its name, kind and default."""
    hints = get_type_hints(owner)
    for entry in dataclasses.fields(owner):
        if entry.metadata:
            kind = _KINDS[hints[entry.name]]
            yield {"name": entry.name, "kind": kind, "default": entry.default, **entry.metadata}


SETTINGS: tuple[Setting, ...] = tuple(Setting(**row) for row in described_fields(Settings))
