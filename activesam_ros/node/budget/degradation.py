"""What the node leaves out to keep the latency budget, in this order."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from activesam_ros.node.parameters.options import NodeOptions
from activesam_ros.segmentation.methods import MethodSteps
from activesam_ros.settings import Settings, setting_named


class Step(enum.IntEnum):
    """The steps, with the numbers of ActiveClasses.msg; each adds to those before."""

    NOTHING = 0
    PREVIEWS = 1
    CLASSES = 2
    RESOLUTION = 3


@dataclass(frozen=True)
class BudgetLevel:
    """How frames are segmented after some steps; ``left_out`` says what each of them leaves out."""

    step: Step
    settings: Settings
    left_out: tuple[str, ...] = ()

    def describe(self) -> str:
        """The level in words, for diagnostics and log."""
        return ", ".join(self.left_out) or "nothing is left out"


def levels(
    options: NodeOptions,
    settings: Settings,
    *,
    steps: MethodSteps,
    queries: int,
    resolution: int,
    preview_resolution: int,
    patch_size: int,
) -> tuple[BudgetLevel, ...]:
    """The levels from nothing left out to all; a step that would change nothing is skipped.

    steps: of the method. queries: size of the vocabulary. resolution, preview_resolution: sides of
    the squares that are decoded and previewed with ``settings`` [px].

    The first step streams, whatever ``settings`` say: each frame previews a slice of the
    vocabulary, and the active set is carried over.
    """
    found = [BudgetLevel(Step.NOTHING, settings)]
    if options.max_latency_ms <= 0:
        return tuple(found)
    left_out: tuple[str, ...] = ()
    if steps.previews and options.budget_preview_interval > 1:
        previews = steps.prunes(settings, queries)
        settings = _previewing_less(settings, options.budget_preview_interval)
        left_out = (f"every query previewed or decoded once in {settings.preview_interval} frames",)
        if previews:
            found.append(BudgetLevel(Step.PREVIEWS, settings, left_out))
    limit = steps.resolved(settings).max_active or queries  # 0 is no limit
    fewer = min(limit, options.budget_max_active)
    limited = settings.replace({"max_active": fewer})
    if steps.prunes(limited, queries) and fewer < min(queries, limit):
        settings = limited
        left_out += (f"at most {fewer} active queries beside pinned ones",)
        found.append(BudgetLevel(Step.CLASSES, settings, left_out))
    wanted = options.budget_resolution or resolution * 2 // 3
    lower = wanted // patch_size * patch_size
    if patch_size <= lower < resolution:
        settings = settings.replace(
            {"resolution": lower, "preview_resolution": min(preview_resolution, lower)}
        )
        left_out = (*found[-1].left_out, f"resolution {lower}")
        found.append(BudgetLevel(Step.RESOLUTION, settings, left_out))
    return tuple(found)


def _previewing_less(settings: Settings, factor: int) -> Settings:
    """Settings whose frames preview a ``factor``-th of what they preview with ``settings``."""
    interval = settings.preview_interval if settings.streaming else 1
    longest = int(setting_named("preview_interval").maximum or 0)
    return settings.replace(
        {"streaming": True, "preview_interval": min(interval * factor, longest)}
    )
