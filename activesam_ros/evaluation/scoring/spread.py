"""Whether methods differ by more than their frames do: a paired bootstrap over frames.

Every method is measured on the same frames. Frames are drawn with replacement, the same for each
method, and the difference between two methods is computed anew. Neighbouring frames of a recording
are alike, so blocks of consecutive frames are drawn instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activesam_ros.evaluation.scoring.frame_figures import FrameFigures

RESAMPLES = 1000
LEVEL = 0.95
MIN_BLOCKS = 8
"""With fewer blocks an interval says little, so none is given."""
MAX_BLOCKS = 1000
_SEED = 0

Drawn = NDArray[np.float64]  # [resamples, blocks], how often each block was drawn
Frames = Sequence[FrameFigures]


@dataclass(frozen=True)
class _Draw:
    """Which block each frame belongs to, int [frames], and how often each block was drawn."""

    block: NDArray[np.int64]
    drawn: Drawn

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """``values`` [frames, ...] added up over each resample, [resamples, ...]."""
        blocks = np.zeros((self.drawn.shape[1], *values.shape[1:]))
        np.add.at(blocks, self.block, values)
        sums: NDArray[np.float64] = np.tensordot(self.drawn, blocks, axes=1)
        return sums


def spread(frames: Mapping[str, Frames], methods: Mapping[str, Mapping[str, Any]]) -> Any:
    """The entry ``spread`` of results.json.

    frames: the figures of every frame, by method. methods: their entries in results.json. For each
    metric, the best method and the difference of every other method from it, with the interval in
    which LEVEL of the resampled differences lie. None with one method or fewer than MIN_BLOCKS
    blocks.
    """
    first = next(iter(frames.values()))
    size = _block_size(first)
    blocks = math.ceil(len(first) / size)
    if len(frames) < 2 or blocks < MIN_BLOCKS:
        return None
    random = np.random.default_rng(_SEED)
    draw = _Draw(
        np.arange(len(first)) // size,
        random.multinomial(blocks, [1 / blocks] * blocks, RESAMPLES).astype(float),
    )
    differences = {}
    for metric, resampled in _METRICS.items():
        values = {name: _value(entry, metric) for name, entry in methods.items()}
        known = {name: value for name, value in values.items() if value is not None}
        if len(known) > 1:
            differences[metric] = _differences(
                metric, known, {name: resampled(frames[name], draw) for name in known}
            )
    return {
        "way": "paired bootstrap over frames",
        "resamples": RESAMPLES,
        "level": LEVEL,
        "blocks": blocks,
        "frames_per_block": size,
        "differences": differences,
    }


def _block_size(frames: Frames) -> int:
    """1 for images that do not follow each other in time, else the cube root of their number."""
    in_time = frames and frames[0].stamp_ns is not None
    return max(round(len(frames) ** (1 / 3)) if in_time else 1, math.ceil(len(frames) / MAX_BLOCKS))


def _differences(
    metric: str, values: Mapping[str, float], resampled: Mapping[str, NDArray[np.float64]]
) -> dict[str, Any]:
    pick = max if metric in _HIGHER_IS_BETTER else min
    best = pick(values, key=lambda name: values[name])
    others: dict[str, Any] = {}
    for name in values:
        changes = resampled[name] - resampled[best]
        changes = changes[~np.isnan(changes)]
        if name == best or not changes.size:
            continue
        low, high = np.quantile(changes, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        others[name] = {
            "difference": values[name] - values[best],
            "low": float(low),
            "high": float(high),
        }
    return {"best": best, "others": others}


def _value(entry: Mapping[str, Any], metric: str) -> float | None:
    value: Any = entry
    for key in metric.split("."):
        value = value[key]
    return None if value is None else float(value)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    result = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def _iou_of_labelled(frames: Frames, draw: _Draw) -> NDArray[np.float64]:
    """The mean IoU of the classes that are labelled in a resample, [resamples]."""
    labelled, predicted, correct = _pixels(frames, draw)  # [resamples, classes] each
    iou = _ratio(correct, labelled + predicted - correct)
    return _ratio(np.where(labelled > 0, iou, 0.0).sum(axis=1), (labelled > 0).sum(axis=1) * 1.0)


def _pixel_accuracy(frames: Frames, draw: _Draw) -> NDArray[np.float64]:
    labelled, _, correct = _pixels(frames, draw)
    return _ratio(correct.sum(axis=1), labelled.sum(axis=1))


def _pixels(frames: Frames, draw: _Draw) -> NDArray[np.float64]:
    """Labelled, predicted and correct pixels, [3, resamples, classes that occur]."""
    tables = [frame.pixels for frame in frames]
    occurring = np.unique(np.concatenate([table[0] for table in tables if table is not None]))
    counts = np.zeros((len(frames), len(occurring), 3))
    for place, table in enumerate(tables):
        if table is not None:
            counts[place, np.searchsorted(occurring, table[0])] = table[1:].T
    return np.moveaxis(draw.sums(counts), 2, 0)


def _flicker(frames: Frames, draw: _Draw) -> NDArray[np.float64]:
    known = [(frame.flicker or 0.0, float(frame.flicker is not None)) for frame in frames]
    sums = draw.sums(np.array(known))
    return _ratio(sums[:, 0], sums[:, 1])


def _frames_per_second(frames: Frames, draw: _Draw) -> NDArray[np.float64]:
    sums = draw.sums(np.array([(1e3, frame.latency_ms) for frame in frames]))
    return _ratio(sums[:, 0], sums[:, 1])


def _latency(quantile: float) -> Callable[[Frames, _Draw], Drawn]:
    def resampled(frames: Frames, draw: _Draw) -> NDArray[np.float64]:
        latencies_ms = np.array([frame.latency_ms for frame in frames])
        order = np.argsort(latencies_ms)
        found = np.empty(len(draw.drawn))
        for place, drawn in enumerate(draw.drawn):
            until = np.cumsum(drawn[draw.block[order]])
            found[place] = latencies_ms[order[np.searchsorted(until, quantile * until[-1])]]
        return found

    return resampled


_HIGHER_IS_BETTER = ("miou_of_labelled_classes", "pixel_accuracy", "frames_per_second")
_METRICS: Mapping[str, Callable[[Frames, _Draw], Drawn]] = {
    "miou_of_labelled_classes": _iou_of_labelled,
    "pixel_accuracy": _pixel_accuracy,
    "temporal_flicker": _flicker,
    "frames_per_second": _frames_per_second,
    "latency_ms.p50": _latency(0.5),
    "latency_ms.p95": _latency(0.95),
}
