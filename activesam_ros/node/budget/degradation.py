"""What may be left out to keep the latency budget, in the order in which it is."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass

from activesam_ros.node.parameters.options import NodeOptions
from activesam_ros.segmentation.result import Segmentation
from activesam_ros.settings import Settings, setting_named


class Step(enum.IntEnum):
    """The numbers of ActiveClasses.msg; each step comes on top of those before."""

    NOTHING = 0
    PREVIEWS = 1
    CLASSES = 2
    RESOLUTION = 3


@dataclass(frozen=True)
class Level:
    """How frames are segmented at one level: settings, and frames from one preview to the next.

    fewer_classes: whether ``settings`` have a lower max_active than without the budget.

    With streaming, every frame previews a slice: the settings say in how many frames all had one.
    """

    step: Step
    settings: Settings
    preview_interval: int
    fewer_classes: bool = False

    def describe(self) -> str:
        """The level in words, for diagnostics and log."""
        if self.step is Step.NOTHING:
            return "nothing is left out"
        words = []
        if self.settings.streaming:
            words.append(f"every class looked at in {self.settings.preview_interval} frames")
        elif self.preview_interval > 1:
            words.append(f"a preview every {self.preview_interval} frames")
        if self.fewer_classes:
            words.append(f"at most {self.settings.max_active} active classes beside pinned ones")
        if self.step >= Step.RESOLUTION:
            words.append(f"resolution {self.settings.resolution}")
        return ", ".join(words)


def levels(
    options: NodeOptions,
    settings: Settings,
    *,
    prunes: bool,
    queries: int,
    resolution: int,
    patch_size: int,
) -> tuple[Level, ...]:
    """The levels from nothing left out to all; a step that would change nothing is skipped.

    prunes: whether the method has a preview. queries: how many the vocabulary has. resolution: the
    side of the square that is decoded with ``settings`` [px].
    """
    found = [Level(Step.NOTHING, settings, 1)]
    if options.max_latency_ms <= 0:
        return tuple(found)
    previews = prunes and queries > settings.max_active
    if settings.streaming:
        slower = settings.preview_interval * options.budget_preview_interval
        longest = int(setting_named("preview_interval").maximum or slower)
        settings = settings.replace({"preview_interval": min(slower, longest)})
    if previews and options.budget_preview_interval > 1:
        found.append(Level(Step.PREVIEWS, settings, options.budget_preview_interval))
    fewer = min(settings.max_active, options.budget_max_active)
    if prunes and fewer < min(queries, settings.max_active):
        settings = settings.replace({"max_active": fewer})
        found.append(
            Level(Step.CLASSES, settings, options.budget_preview_interval, fewer_classes=True)
        )
    wanted = options.budget_resolution or resolution * 2 // 3
    lower = wanted // patch_size * patch_size
    if patch_size <= lower < resolution:
        preview = settings.preview_resolution or resolution * 2 // 3 // patch_size * patch_size
        settings = settings.replace(
            {"resolution": lower, "preview_resolution": min(preview, lower)}
        )
        found.append(dataclasses.replace(found[-1], step=Step.RESOLUTION, settings=settings))
    return tuple(found)


@dataclass
class _Kept:
    """Queries that a preview found, with what, and for how many frames they serve yet."""

    owner: object
    queries: tuple[int, ...]
    left: int


class ActiveSets:
    """The active set of each camera's last preview, to be used again at a longer interval."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def carried(self, camera: str, owner: object, interval: int) -> tuple[int, ...] | None:
        """Queries to decode without a preview, None where one is due.

        owner: the segmenter, as other prompts or settings need a preview of their own.
        """
        kept = self._kept.get(camera)
        if interval <= 1 or kept is None or kept.owner is not owner or kept.left <= 0:
            return None
        return kept.queries

    def note(self, camera: str, owner: object, interval: int, result: Segmentation) -> None:
        """Remember what a frame was segmented with."""
        if any(value is not None for value in result.presence):
            self._kept[camera] = _Kept(owner, result.active_queries, interval - 1)
        elif camera in self._kept:
            self._kept[camera].left -= 1
