"""The report's bars: their positions, heights and widths."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.evaluation.report.axes import MAX_COLUMNS, Scale
from activesam_ros.evaluation.report.bar_charts import (
    HISTOGRAM_BINS,
    SHOWN_ACTIVE_CLASSES,
    activity_paths,
    activity_strips,
    class_bars,
    frame_edges,
    histogram_path,
    labelled_nowhere,
)
from activesam_ros.evaluation.scoring.frame_figures import FrameFigures

BAR = re.compile(r"M([\d.]+) 0H([\d.]+)V100H\1z")


def covered(path: str, x: float) -> bool:
    return any(float(left) < x < float(right) for left, right in BAR.findall(path))


@given(st.lists(st.sets(st.integers(0, 3)).map(lambda found: tuple(sorted(found))), min_size=1))
def test_a_class_has_bars_over_exactly_the_frames_it_is_active_in(
    active: list[tuple[int, ...]],
) -> None:
    edges = [100 * place / len(active) for place in range(len(active) + 1)]
    paths = activity_paths(active, edges)
    assert set(paths) == set().union(*active)
    for index, path in paths.items():
        assert BAR.sub("", path) == ""
        for frame, classes in enumerate(active):
            middle = (edges[frame] + edges[frame + 1]) / 2
            assert covered(path, middle) == (index in classes)


def test_frames_that_share_a_column_show_every_class_active_in_one_of_them() -> None:
    frames = 4 * MAX_COLUMNS
    active = [(7,) if frame == 5 else () for frame in range(frames)]
    edges = [100 * place / frames for place in range(frames + 1)]
    (bar,) = BAR.findall(activity_paths(active, edges)[7])
    assert [float(x) for x in bar] == [
        pytest.approx(100 / MAX_COLUMNS, abs=0.01),
        pytest.approx(200 / MAX_COLUMNS, abs=0.01),
    ]


def figures(place: int, active: tuple[int, ...], admitted: tuple[int, ...]) -> FrameFigures:
    return FrameFigures(place, "", None, 1.0, {}, active, None, None, None, None, admitted=admitted)


def test_classes_that_are_screened_out_are_shown_before_those_that_are_always_active() -> None:
    always = tuple(range(SHOWN_ACTIVE_CLASSES + 5))
    at_times, never = len(always), len(always) + 1
    group = [
        figures(0, (*always, at_times), (*always, at_times, never)),
        figures(1, always, (*always, at_times, never)),
    ]
    (strip,) = activity_strips({"activesam2": group}, len(always) + 2)
    assert strip.screens
    assert len(strip.rows) == SHOWN_ACTIVE_CLASSES
    assert strip.left_out == 7
    first, *_, before_last, last = strip.rows
    assert (first.index, first.share, first.screened_out) == (0, "100.0", "")
    assert (before_last.index, before_last.share) == (at_times, "50.0")
    assert before_last.active == "M0.00 0H50.00V100H0.00z"
    assert before_last.screened_out == "M50.00 0H100.00V100H50.00z"
    assert (last.index, last.share, last.active) == (never, "0.0", "")
    assert last.screened_out == "M0.00 0H100.00V100H0.00z"


def test_a_frame_lasts_until_the_next_and_the_last_as_long_as_usual() -> None:
    assert frame_edges([0.0, 1.0, 2.0, 5.0]) == pytest.approx([0, 100 / 6, 200 / 6, 500 / 6, 100])
    assert frame_edges([3.0]) == [0.0, 100.0]
    assert frame_edges([1.0, 0.0]) == [0.0, 50.0, 100.0]  # times that jump back


def test_the_tallest_bin_fills_the_box_and_the_others_are_in_proportion() -> None:
    path = histogram_path([0.0, 0.0, 0.0, 0.0, 9.99, 10.0], Scale(0.0, 10.0, False))
    width = 100 / HISTOGRAM_BINS
    assert path == (
        f"M0.15 100v-100.00h{width - 0.3:.2f}V100z"
        f"M{100 - width + 0.15:.2f} 100v-50.00h{width - 0.3:.2f}V100z"
    )


def test_the_width_of_a_class_bar_is_its_iou() -> None:
    matrix = {"classes": ["road", "sky", "never"], "counts": [[1, 1, 0, 0]] + [[0, 0, 0, 0]] * 3}
    iou = {"road": 0.5, "sky": 0.0, "never": None}
    content = {
        "methods": {"full": {"confusion_matrix": matrix, "per_class_iou": iou}},
        "recording": {"label_pixels": 8, "uncounted_labels": {"dragon": 6}},
    }
    colors = {"road": (255, 0, 16), "sky": (0, 0, 0), "never": (1, 1, 1)}
    road, dragon = class_bars(content, colors)
    assert (road.name, road.color, road.share) == ("road", "#ff0010", "25.0")
    assert (road.iou, road.widths) == (("50.0",), (50.0,))
    # Neither has an IoU of 0: sky is labelled nowhere, and dragon is no class of the vocabulary.
    assert labelled_nowhere(content) == {"full": ("sky",)}
    assert dragon.share == "75.0"
    assert (dragon.name, dragon.iou, dragon.widths) == ("dragon", ("does not count",), (None,))
