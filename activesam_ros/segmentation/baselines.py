"""The methods, ActiveSAM and those it is compared with, as variations of a frame's way."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from activesam_ros.segmentation.background import Background
from activesam_ros.segmentation.decode import Weigh
from activesam_ros.segmentation.fuse import fused_weights, instance_weights
from activesam_ros.settings import Settings

BASELINE_CONFIDENCE_THRESHOLD = 0.5
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
    instead of a plain threshold.
    """

    previews: bool
    expands: bool
    one_by_one: bool
    weigh: Weigh
    calibrates: bool

    def background(self, settings: Settings) -> Background:
        """The rule by which pixels become background."""
        exponent = settings.mabc_exponent if self.calibrates else None
        return Background(settings.background_threshold, exponent)


def steps_of(method: Method) -> MethodSteps:
    """The steps of a method; ``full`` is ActiveSAM without the preview's pruning."""
    if method in (Method.ACTIVESAM, Method.FULL):
        return MethodSteps(
            previews=method is Method.ACTIVESAM,
            expands=True,
            one_by_one=False,
            weigh=fused_weights,
            calibrates=True,
        )
    return MethodSteps(
        previews=False,
        expands=False,
        one_by_one=True,
        weigh=fused_weights if method is Method.SEGEARTH else instance_weights,
        calibrates=False,
    )


def default_settings(method: Method) -> Settings:
    """The published settings of a method, which the user's own override."""
    if method in (Method.SEGEARTH, Method.SAM3):
        return Settings(confidence_threshold=BASELINE_CONFIDENCE_THRESHOLD)
    return Settings()


def preset_settings(settings: Settings) -> Settings:
    """``settings`` with what their preset changes; its eight-bit layers are the network's part."""
    if settings.preset == "exact":
        return settings
    density = min(settings.fusion_density, FAST_FUSION_DENSITY)
    return settings.replace({"fusion_density": density})
