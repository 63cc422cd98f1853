"""What is left out for the latency budget, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from activesam_ros.node.budget.degradation import BudgetLevel, Step, levels
from activesam_ros.node.parameters.options import NodeOptions
from activesam_ros.segmentation.methods import METHODS, Method
from activesam_ros.settings import Settings


def levels_of(
    *,
    settings: Settings | None = None,
    method: Method = Method.ACTIVESAM,
    queries: int = 100,
    max_latency_ms: float = 50.0,
    **options: Any,
) -> tuple[BudgetLevel, ...]:
    return levels(
        NodeOptions(max_latency_ms=max_latency_ms, **options),
        settings or Settings(),
        steps=METHODS[method],
        queries=queries,
        resolution=1008,
        preview_resolution=672,
        patch_size=14,
    )


def test_each_step_comes_on_top_of_those_before() -> None:
    nothing, previews, classes, resolution = levels_of()
    assert [level.step for level in (nothing, previews, classes, resolution)] == list(Step)
    assert nothing.settings == Settings()
    assert previews.settings == Settings(streaming=True, preview_interval=8)
    assert classes.settings == previews.settings.replace({"max_active": 10})
    assert resolution.settings == classes.settings.replace(
        {"resolution": 672, "preview_resolution": 672}
    )
    assert nothing.describe() == "nothing is left out"
    assert resolution.describe() == (
        "every query previewed or decoded once in 8 frames, at most 10 active queries beside "
        "pinned ones, resolution 672"
    )


@pytest.mark.parametrize(("interval", "longer"), [(1, 4), (5, 20), (900, 1000)])
def test_a_stream_previews_a_fraction_of_what_it_did(interval: int, longer: int) -> None:
    settings = Settings(streaming=True, preview_interval=interval)
    _, previews, *_ = levels_of(settings=settings, budget_preview_interval=4)
    assert previews.settings == settings.replace({"preview_interval": longer})
    assert previews.describe() == f"every query previewed or decoded once in {longer} frames"


@pytest.mark.parametrize(
    ("fields", "steps"),
    [
        ({"max_latency_ms": 0.0}, [0]),
        ({"method": Method.FULL}, [0, 3]),
        ({"queries": 40}, [0, 2, 3]),  # not previewed by itself
        ({"queries": 9}, [0, 3]),
        ({"method": Method.ACTIVESAM2}, [0, 1, 2, 3]),
        ({"method": Method.ACTIVESAM2, "queries": 40}, [0, 1, 2, 3]),
        ({"method": Method.ACTIVESAM2, "queries": 9}, [0, 1, 3]),
        ({"method": Method.ACTIVESAM2, "settings": Settings(tau=0.0)}, [0, 3]),  # prunes nothing
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
    words = {0: "nothing", 1: "every query previewed", 2: "active queries", 3: "resolution"}
    assert all(words[level.step] in level.describe() for level in found)
