"""The methods: ActiveSAM and those that it is compared with, a row for each.

To add a method, add its name to :class:`Method` and its row to ``METHODS``.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.segmentation.background import Background, background_class
from activesam_ros.segmentation.decode import Weigh
from activesam_ros.segmentation.fuse import fused_weights, instance_weights
from activesam_ros.settings import Settings

# docs/performance.md has what each part of the preset fast costs and gains.
FAST_FUSION_DENSITY = 0.4


class Method(enum.Enum):
    """Names of the methods, as on the command line."""

    ACTIVESAM = "activesam"
    ACTIVESAM2 = "activesam2"
    FULL = "full"
    SEGEARTH = "segearth"
    SAM3 = "sam3"


@dataclass(frozen=True)
class MethodSteps:
    """How a method differs from the others.

    previews: prune the vocabulary. by_presence: the preview admits queries by tau, after a part of
    the decoder, and admitted queries are screened (ActiveSAM 2); else it keeps a share of the
    queries. expands: extend prompts by context tokens. one_by_one: decode
    each query alone. weigh: how much the maps of a query count. calibrates: margin-aware background
    instead of a plain threshold. most_active: what max_active=-1 means. defaults: its published
    settings.
    """

    previews: bool = False
    by_presence: bool = False
    expands: bool = True
    one_by_one: bool = False
    weigh: Weigh = fused_weights
    calibrates: bool = False
    most_active: int = 0
    defaults: Settings = field(default_factory=Settings)

    def prunes(self, settings: Settings, queries: int) -> bool:
        """Whether images are previewed; ActiveSAM decodes small vocabularies whole."""
        if self.by_presence:
            return settings.tau > 0
        return self.previews and queries > self.resolved(settings).max_active

    def resolved(self, settings: Settings) -> Settings:
        """``settings`` with the method's own ``max_active`` where they leave it to the method."""
        if settings.max_active >= 0:
            return settings
        return settings.replace({"max_active": self.most_active})

    def admitted_always(self, vocabulary: Vocabulary, settings: Settings) -> tuple[int, ...]:
        """Ascending indices of the queries that no preview prunes: pinned ones and background's.

        Raises VocabularyError when a pinned name or background_class is not in the vocabulary.
        """
        names = settings.pinned
        named = background_class(vocabulary, settings)
        if self.by_presence and named is not None:
            names += (named.name,)
        return vocabulary.pinned_queries(names)

    def background(self, settings: Settings) -> Background:
        """The rule by which pixels become background."""
        exponent = settings.mabc_exponent if self.calibrates else None
        return Background(settings.background_threshold, exponent)


METHODS: Mapping[Method, MethodSteps] = {
    Method.ACTIVESAM2: MethodSteps(previews=True, by_presence=True),
    Method.ACTIVESAM: MethodSteps(previews=True, calibrates=True, most_active=40),
    # ActiveSAM without the preview's pruning.
    Method.FULL: MethodSteps(calibrates=True),
    Method.SEGEARTH: MethodSteps(
        expands=False, one_by_one=True, defaults=Settings(confidence_threshold=0.5)
    ),
    Method.SAM3: MethodSteps(
        expands=False,
        one_by_one=True,
        weigh=instance_weights,
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
