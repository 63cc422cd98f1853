"""The methods: ActiveSAM and those that it is compared with, a row for each.

To add a method, add its name to :class:`Method` and its row to ``METHODS``.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from activesam_ros.segmentation.background import Background
from activesam_ros.segmentation.decode import Weigh
from activesam_ros.segmentation.fuse import fused_weights, instance_weights
from activesam_ros.settings import Settings

# docs/performance.md has what each part of the preset fast costs and gains.
FAST_FUSION_DENSITY = 0.4


class Method(enum.Enum):
    """Names of the methods, as on the command line."""

    ACTIVESAM = "activesam"
    FULL = "full"
    SEGEARTH = "segearth"
    SAM3 = "sam3"


@dataclass(frozen=True)
class MethodSteps:
    """How a method differs from the others.

    previews: prune the vocabulary. expands: extend prompts by context tokens. one_by_one: decode
    each query alone. weigh: how much the maps of a query count. calibrates: margin-aware background
    instead of a plain threshold. defaults: its published settings.
    """

    previews: bool
    expands: bool
    one_by_one: bool
    weigh: Weigh
    calibrates: bool
    defaults: Settings = field(default_factory=Settings)

    def background(self, settings: Settings) -> Background:
        """The rule by which pixels become background."""
        exponent = settings.mabc_exponent if self.calibrates else None
        return Background(settings.background_threshold, exponent)


METHODS: Mapping[Method, MethodSteps] = {
    Method.ACTIVESAM: MethodSteps(
        previews=True, expands=True, one_by_one=False, weigh=fused_weights, calibrates=True
    ),
    # ActiveSAM without the preview's pruning.
    Method.FULL: MethodSteps(
        previews=False, expands=True, one_by_one=False, weigh=fused_weights, calibrates=True
    ),
    Method.SEGEARTH: MethodSteps(
        previews=False,
        expands=False,
        one_by_one=True,
        weigh=fused_weights,
        calibrates=False,
        defaults=Settings(confidence_threshold=0.5),
    ),
    Method.SAM3: MethodSteps(
        previews=False,
        expands=False,
        one_by_one=True,
        weigh=instance_weights,
        calibrates=False,
        defaults=Settings(confidence_threshold=0.5),
    ),
}


def default_settings(method: Method) -> Settings:
    """The published settings of a method, which the user's own override."""
    return METHODS[method].defaults


def preset_settings(settings: Settings) -> Settings:
    """``settings`` with what their preset changes; its eight-bit layers are the network's part."""
    if settings.preset == "exact":
        return settings
    density = min(settings.fusion_density, FAST_FUSION_DENSITY)
    return settings.replace({"fusion_density": density})
