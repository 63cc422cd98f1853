"""What the node leaves out to keep the latency budget, in this order."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from activesam_ros.node.parameters.options import NodeOptions
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
    prunes: bool,
    queries: int,
    resolution: int,
    patch_size: int,
) -> tuple[BudgetLevel, ...]:
    """The levels from nothing left out to all; a step that would change nothing is skipped.

    prunes: whether the method has a preview. queries: size of the vocabulary. resolution: side of
    the square that is decoded with ``settings`` [px].

    The first step streams, whatever ``settings`` say: each frame previews a slice of the
    vocabulary, and the active set is carried over.
    """
    found = [BudgetLevel(Step.NOTHING, settings)]
    if options.max_latency_ms <= 0:
        return tuple(found)
    left_out: tuple[str, ...] = ()
    if prunes and options.budget_preview_interval > 1:
        previews = queries > settings.max_active
        settings = _previewing_less(settings, options.budget_preview_interval)
        left_out = (f"every query previewed or decoded once in {settings.preview_interval} frames",)
        if previews:
            found.append(BudgetLevel(Step.PREVIEWS, settings, left_out))
    fewer = min(settings.max_active, options.budget_max_active)
    if prunes and fewer < min(queries, settings.max_active):
        settings = settings.replace({"max_active": fewer})
        left_out += (f"at most {fewer} active queries beside pinned ones",)
        found.append(BudgetLevel(Step.CLASSES, settings, left_out))
    wanted = options.budget_resolution or resolution * 2 // 3
    lower = wanted // patch_size * patch_size
    if patch_size <= lower < resolution:
        preview = settings.preview_resolution or resolution * 2 // 3 // patch_size * patch_size
        settings = settings.replace(
            {"resolution": lower, "preview_resolution": min(preview, lower)}
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
