"""ActiveSAM and what must run beside it, as variations of one frame's way."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from activesam_ros.segmentation.fuse import ScoreMap, fused_score_map, instance_score_map
from activesam_ros.settings import Settings

BASELINE_CONFIDENCE_THRESHOLD = 0.5


class Method(enum.Enum):
    """Names of the methods, as on the command line."""

    ACTIVESAM = "activesam"
    FULL = "full"
    SEGEARTH = "segearth"
    SAM3 = "sam3"


@dataclass(frozen=True)
class Recipe:
    """How a method differs from the others.

    previews: prune the vocabulary; expands: extend prompts by context tokens; one_by_one: decode
    each query alone; score_map: what a decoded query scores; calibrates: margin-aware background
    instead of a plain threshold.
    """

    previews: bool
    expands: bool
    one_by_one: bool
    score_map: ScoreMap
    calibrates: bool


def recipe(method: Method) -> Recipe:
    """The recipe of a method; ``full`` is ActiveSAM without the preview's pruning."""
    if method in (Method.ACTIVESAM, Method.FULL):
        return Recipe(
            previews=method is Method.ACTIVESAM,
            expands=True,
            one_by_one=False,
            score_map=fused_score_map,
            calibrates=True,
        )
    return Recipe(
        previews=False,
        expands=False,
        one_by_one=True,
        score_map=fused_score_map if method is Method.SEGEARTH else instance_score_map,
        calibrates=False,
    )


def default_settings(method: Method) -> Settings:
    """The published settings of a method, which the user's own go over."""
    if method in (Method.SEGEARTH, Method.SAM3):
        return Settings(confidence_threshold=BASELINE_CONFIDENCE_THRESHOLD)
    return Settings()
