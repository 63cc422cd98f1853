"""What is left out for the latency budget, in which order, and which active sets are used again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from activesam_ros.node.budget.degradation import ActiveSets, Level, Step, levels
from activesam_ros.node.parameters.options import NodeOptions
from activesam_ros.segmentation.result import Segmentation
from activesam_ros.settings import Settings


def levels_of(
    *,
    settings: Settings | None = None,
    prunes: bool = True,
    queries: int = 100,
    max_latency_ms: float = 50.0,
    **options: Any,
) -> tuple[Level, ...]:
    return levels(
        NodeOptions(max_latency_ms=max_latency_ms, **options),
        settings or Settings(),
        prunes=prunes,
        queries=queries,
        resolution=1008,
        patch_size=14,
    )


def test_each_step_comes_on_top_of_those_before() -> None:
    nothing, previews, classes, resolution = levels_of()
    assert [level.step for level in (nothing, previews, classes, resolution)] == list(Step)
    assert (nothing.settings, nothing.preview_interval) == (Settings(), 1)
    assert (previews.settings, previews.preview_interval) == (Settings(), 8)
    assert classes.settings == Settings(max_active=10)
    assert classes.preview_interval == 8
    assert resolution.settings == Settings(max_active=10, resolution=672, preview_resolution=672)
    assert nothing.describe() == "nothing is left out"
    assert resolution.describe() == (
        "a preview every 8 frames, at most 10 active classes beside pinned ones, resolution 672"
    )


@pytest.mark.parametrize(
    ("fields", "steps"),
    [
        ({"max_latency_ms": 0.0}, [0]),
        ({"prunes": False}, [0, 3]),
        ({"queries": 40}, [0, 2, 3]),  # not previewed by itself
        ({"queries": 9}, [0, 3]),
        ({"budget_preview_interval": 1}, [0, 2, 3]),
        ({"budget_max_active": 40}, [0, 1, 3]),
        ({"budget_resolution": 1008}, [0, 1, 2]),
        ({"budget_resolution": 500}, [0, 1, 2, 3]),
    ],
)
def test_a_step_that_changes_nothing_is_skipped(fields: dict[str, Any], steps: list[int]) -> None:
    found = levels_of(**fields)
    assert [level.step for level in found] == steps
    assert all(level.settings.resolution % 14 == 0 for level in found)
    assert all(level.settings.preview_resolution <= 1008 for level in found)
    words = {0: "nothing", 1: "a preview every", 2: "active classes", 3: "resolution"}
    assert all(words[level.step] in level.describe() for level in found)


def result(presence: tuple[float | None, ...], active: tuple[int, ...]) -> Segmentation:
    return Segmentation(np.zeros((1, 1), np.uint8), presence, active, (), {})


PREVIEWED = result((0.9, 0.1), (0,))
CARRIED = result((None, None), (0,))


def test_an_active_set_serves_until_the_next_preview() -> None:
    sets, owner = ActiveSets(), object()
    assert sets.carried("front", owner, 3) is None
    sets.note("front", owner, 3, PREVIEWED)
    assert sets.carried("left", owner, 3) is None, "another camera sees something else"
    for _ in range(2):
        assert sets.carried("front", owner, 3) == (0,)
        sets.note("front", owner, 3, CARRIED)
    assert sets.carried("front", owner, 3) is None


def test_other_prompts_or_settings_need_a_preview_of_their_own() -> None:
    sets, owner = ActiveSets(), object()
    sets.note("front", owner, 3, PREVIEWED)
    assert sets.carried("front", object(), 3) is None
    assert sets.carried("front", owner, 1) is None
