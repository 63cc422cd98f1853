"""Line charts of the report: latency, and number of active classes, over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from activesam_ros.evaluation.report.axes import MAX_COLUMNS, Scale, Tick
from activesam_ros.evaluation.scoring.frame_figures import FrameFigures, elapsed_s


@dataclass(frozen=True, slots=True)
class LineChart:
    """paths, upper: SVG paths by method, all in one box; upper: of the methods that have it."""

    paths: Mapping[str, str]
    upper: Mapping[str, str]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def line_chart(
    frames: Mapping[str, Sequence[FrameFigures]],
    value_of: Callable[[FrameFigures], float],
    unit: str = "",
    upper_of: Callable[[FrameFigures], float | None] = lambda entry: None,
) -> LineChart:
    """``value_of`` every frame over time. frames: of each method, in order.

    upper_of: a second value, of the methods where every frame has one.
    """
    values = {name: [value_of(entry) for entry in group] for name, group in frames.items()}
    upper = {}
    for name, group in frames.items():
        known = [value for value in map(upper_of, group) if value is not None]
        if len(known) == len(group):
            upper[name] = known
    xs, x_scale, x_ticks = time_axis(next(iter(frames.values())))
    y_scale = Scale.of(
        [value for group in (*values.values(), *upper.values()) for value in group], from_zero=True
    )

    def paths(of: Mapping[str, Sequence[float]]) -> dict[str, str]:
        return {name: _line_path(xs, group, x_scale, y_scale) for name, group in of.items()}

    return LineChart(paths(values), paths(upper), x_ticks, y_scale.ticks(unit))


def time_axis(figures: Sequence[FrameFigures]) -> tuple[list[float], Scale, tuple[Tick, ...]]:
    """The x of every frame, and the axis: seconds, or indices of images without times."""
    seconds = elapsed_s(figures)
    xs = [float(place) for place in range(len(figures))] if seconds is None else seconds
    scale = Scale(xs[0], max(xs) if max(xs) > xs[0] else xs[0] + 1.0, False)
    return xs, scale, scale.ticks("images" if seconds is None else "s")


def _line_path(xs: Sequence[float], ys: Sequence[float], x_scale: Scale, y_scale: Scale) -> str:
    """A line through the points; of many points, the highest in each of MAX_COLUMNS columns."""
    points = [(x_scale(x) * 100, 100 - y_scale(y) * 100) for x, y in zip(xs, ys, strict=True)]
    highest: dict[int, tuple[float, float]] = {}
    for x, y in points:
        column = int(x / 100 * MAX_COLUMNS)
        if column not in highest or y < highest[column][1]:
            highest[column] = (x, y)
    kept = points if len(points) <= MAX_COLUMNS else [highest[c] for c in sorted(highest)]
    if len(kept) == 1:
        kept = [(0.0, kept[0][1]), (100.0, kept[0][1])]
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in kept)
