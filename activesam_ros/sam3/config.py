"""The dimensions of the image model; the defaults are the full size."""

from __future__ import annotations

import dataclasses
import json
import math
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from activesam_ros.errors import CheckpointError, os_reason
from activesam_ros.regular_files import read_regular

_LARGEST_FILE = 1 << 20
_HUGE = 1e300
# The smallest and the largest value of each dimension; far above any network of this kind.
_RANGES: dict[str, tuple[float, float]] = {
    "resolution": (1, 4032),
    "patch_size": (1, 64),
    "pretrain_resolution": (1, 4032),
    "vision_width": (1, 8192),
    "vision_layers": (1, 128),
    "vision_heads": (1, 128),
    "vision_mlp_ratio": (0.25, 16),
    "global_attention_blocks": (0, 127),
    "window_size": (1, 1024),
    "text_width": (1, 8192),
    "text_heads": (1, 128),
    "text_layers": (1, 128),
    "context_length": (3, 1024),
    "d_model": (1, 4096),
    "ffn_dim": (1, 65_536),
    "attention_heads": (1, 128),
    "encoder_layers": (1, 64),
    "decoder_layers": (1, 64),
    "geometry_layers": (1, 64),
    "num_queries": (1, 4096),
    "mask_upsampling_stages": (1, 8),
}


@dataclass(frozen=True)
class Sam3Config:
    """Dimensions of SAM 3's image model.

    Lengths are in tokens, channels or pixels as the names say. Raises CheckpointError when the
    values contradict each other.
    """

    resolution: int = 1008
    patch_size: int = 14
    pretrain_resolution: int = 336
    vision_width: int = 1024
    vision_layers: int = 32
    vision_heads: int = 16
    vision_mlp_ratio: float = 4.625
    global_attention_blocks: tuple[int, ...] = (7, 15, 23, 31)
    window_size: int = 24
    text_width: int = 1024
    text_heads: int = 16
    text_layers: int = 24
    context_length: int = 32
    d_model: int = 256
    ffn_dim: int = 2048
    attention_heads: int = 8
    encoder_layers: int = 6
    decoder_layers: int = 6
    geometry_layers: int = 3
    num_queries: int = 200
    mask_upsampling_stages: int = 3

    def __post_init__(self) -> None:
        for name, (smallest, largest) in _RANGES.items():
            value = getattr(self, name)
            values = value if isinstance(value, tuple) else (value,)
            if not values or not all(number >= smallest for number in values):  # true for NaN
                least = "positive" if smallest in (0, 1) else f"at least {smallest:g}"
                raise CheckpointError(
                    f"{name}={_shown(value)} in the network's configuration must be {least}."
                )
            if not all(number <= largest for number in values):
                raise CheckpointError(
                    f"{name}={_shown(value)} in the network's configuration must be at most "
                    f"{largest:g}."
                )
        self._check_multiple("resolution", "patch_size")
        self._check_multiple("pretrain_resolution", "patch_size")
        self._check_multiple("vision_width", "vision_heads", 4)
        self._check_multiple("text_width", "text_heads")
        self._check_multiple("d_model", "attention_heads")
        if self.d_model % 8:
            raise CheckpointError(f"d_model={self.d_model} must be a multiple of 8.")
        blocks = self.global_attention_blocks
        if list(blocks) != sorted(set(blocks)):
            raise CheckpointError(
                f"global_attention_blocks={_shown(blocks)} must rise from block to block."
            )
        if blocks[-1] != self.vision_layers - 1:
            raise CheckpointError(
                f"global_attention_blocks={_shown(blocks)} must end with the last of "
                f"vision_layers={self.vision_layers} blocks (counted from 0): features are taken "
                "after it."
            )
        if self.mask_upsampling_stages < 2:
            raise CheckpointError(
                f"mask_upsampling_stages={self.mask_upsampling_stages} must be at least 2: "
                "one for each finer level of the feature pyramid."
            )

    def _check_multiple(self, name: str, of: str, factor: int = 1) -> None:
        bound = getattr(self, of) * factor
        if getattr(self, name) % bound:
            raise CheckpointError(
                f"{name}={getattr(self, name)} must be a multiple of {bound} "
                f"({of}{f' x {factor}' if factor > 1 else ''})."
            )

    @classmethod
    def from_json(cls, path: Path) -> Sam3Config:
        """Read a ``config.json``; raises CheckpointError with the file's name and the reason."""
        try:
            text = read_regular(path, _LARGEST_FILE).decode("utf-8-sig")
            values = json.loads(text, parse_constant=_no_number)
        except FileNotFoundError:
            raise CheckpointError(f"There is no configuration file {path}.") from None
        except OSError as error:
            raise CheckpointError(
                f"The configuration {path} cannot be read: {os_reason(error)}."
            ) from None
        except RecursionError:
            raise CheckpointError(
                f"{path} is not a readable JSON file: it nests too deep."
            ) from None
        except ValueError as error:
            raise CheckpointError(f"{path} is not a readable JSON file: {error}.") from None
        if not isinstance(values, dict):
            raise CheckpointError(f"{path} must hold one JSON object of dimensions.")
        known = {entry.name: entry for entry in dataclasses.fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise CheckpointError(
                    f"{path} has the unknown dimension {_shown(name)}; known are "
                    f"{', '.join(known)}."
                )
            values[name] = _checked(path, name, value, known[name].default)
        try:
            return cls(**values)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None

    def to_json(self) -> str:
        """The text of a ``config.json`` that :meth:`from_json` reads."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _shown(value: object) -> str:
    """The value, shortened; Python refuses to write integers of thousands of digits."""
    try:
        return reprlib.repr(value)
    except ValueError:
        return "a huge number"


def _checked(path: Path, name: str, value: object, default: object) -> object:
    if isinstance(default, tuple):
        if isinstance(value, list) and value and all(type(entry) is int for entry in value):
            return tuple(value)
        raise CheckpointError(f"{path}: {name}={_shown(value)} must be a list of integers.")
    if isinstance(default, float) and isinstance(value, float | int) and type(value) is not bool:
        return float(value) if abs(value) < _HUGE else math.inf
    if isinstance(default, int) and type(value) is int:
        return value
    kind = "an integer" if isinstance(default, int) else "a number"
    raise CheckpointError(f"{path}: {name}={_shown(value)} must be {kind}.")
