"""Counts, rates and latencies of the frames of one camera, and why frames were dropped."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from activesam_ros.node.stamp_gaps import StampGaps

RATE_WINDOW_S = 10.0
LATENCY_WINDOW_FRAMES = 256


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Median and 95th percentile of the newest values [ms]."""

    p50: float
    p95: float


@dataclass(frozen=True)
class StatisticsSnapshot:
    """The statistics at one moment.

    drops: number of dropped frames by cause. problems: the last message of each cause for which
    frames could not be used. latency_ms: by stage; "latency" is from receiving an image to
    publishing its mask. since_received_s, since_segmented_s: time since the last frame, None if
    there was none. last_drop: the cause for which the last frame could not be used, None if a frame
    was segmented after it. output_failures: how often each output beside the mask could not be
    published. output_problems: the last message about each of them. never_received: about how many
    images between those received are missing (see StampGaps).
    """

    received: int
    segmented: int
    drops: Mapping[str, int]
    problems: Mapping[str, str]
    rate_in_hz: float
    rate_out_hz: float
    latency_ms: Mapping[str, Percentiles]
    active_classes: int
    running_s: float
    since_received_s: float | None
    since_segmented_s: float | None
    last_drop: str | None
    output_failures: Mapping[str, int] = field(default_factory=dict)
    output_problems: Mapping[str, str] = field(default_factory=dict)
    never_received: int = 0

    @property
    def dropped(self) -> int:
        """Number of frames that were received and will not be segmented."""
        return sum(self.drops.values())


class FrameStatistics:
    """The counters of one camera; any thread may use them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._received = 0
        self._segmented = 0
        self._drops: Counter[str] = Counter()
        self._output_failures: Counter[str] = Counter()
        self._active_classes = 0
        self._gaps = StampGaps()
        self.restart()

    def restart(self) -> None:
        """Begin to expect images: reset times, rates and problems, and keep the counts."""
        with self._lock:
            self._started = self._clock()
            self._gaps.restart()
            self._problems: dict[str, str] = {}
            self._output_problems: dict[str, str] = {}
            self._received_times: deque[float] = deque()
            self._segmented_times: deque[float] = deque()
            self._latencies: dict[str, deque[float]] = {}
            self._last_received: float | None = None
            self._last_segmented: float | None = None
            self._last_drop: str | None = None

    def count_received(self, stamp_ns: int = 0) -> None:
        """Count a frame that arrived with this stamp."""
        with self._lock:
            self._gaps.add(stamp_ns)
            self._last_received = self._clock()
            self._received += 1
            self._received_times.append(self._last_received)
            _forget_old(self._received_times, self._last_received)

    def count_left_out(self, cause: str) -> None:
        """Count a usable frame that is not segmented."""
        with self._lock:
            self._drops[cause] += 1

    def count_dropped(self, cause: str, message: str, frames: int = 1) -> bool:
        """Count frames that cannot be segmented; True if they are the first ones of that cause."""
        with self._lock:
            first = cause not in self._problems
            self._drops[cause] += frames
            self._problems[cause] = message
            self._last_drop = cause
            return first

    def count_output_failure(self, output: str, message: str) -> bool:
        """Count a failure of an output beside the mask; True if it is the first of this output."""
        with self._lock:
            first = output not in self._output_problems
            self._output_failures[output] += 1
            self._output_problems[output] = message
            return first

    def count_segmented(self, timings_ms: Mapping[str, float], active_classes: int) -> None:
        """Count a frame whose mask is published; ``timings_ms`` holds "latency" and the stages."""
        with self._lock:
            now = self._clock()
            self._last_segmented = now
            self._last_drop = None
            self._segmented += 1
            self._active_classes = active_classes
            self._segmented_times.append(now)
            _forget_old(self._segmented_times, now)
            for stage, value in timings_ms.items():
                values = self._latencies.setdefault(stage, deque(maxlen=LATENCY_WINDOW_FRAMES))
                values.append(value)

    def snapshot(self) -> StatisticsSnapshot:
        """The statistics now."""
        with self._lock:
            now = self._clock()
            running = now - self._started
            for times in (self._received_times, self._segmented_times):
                _forget_old(times, now)
            return StatisticsSnapshot(
                received=self._received,
                segmented=self._segmented,
                drops=dict(self._drops),
                problems=dict(self._problems),
                rate_in_hz=_rate(self._received_times, running),
                rate_out_hz=_rate(self._segmented_times, running),
                latency_ms={
                    stage: percentiles(values) for stage, values in self._latencies.items()
                },
                active_classes=self._active_classes,
                running_s=running,
                since_received_s=_since(self._last_received, now),
                since_segmented_s=_since(self._last_segmented, now),
                last_drop=self._last_drop,
                never_received=self._gaps.missing,
                output_failures=dict(self._output_failures),
                output_problems=dict(self._output_problems),
            )


def percentiles(values: Sequence[float] | deque[float]) -> Percentiles:
    """Median and 95th percentile by nearest rank; ``values`` must not be empty."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return Percentiles(p50=ordered[round(0.5 * last)], p95=ordered[round(0.95 * last)])


def _forget_old(times: deque[float], now: float) -> None:
    while times and times[0] < now - RATE_WINDOW_S:
        times.popleft()


def _rate(times: deque[float], running_s: float) -> float:
    """Events per second in the window, or since the start if that is shorter."""
    window = min(running_s, RATE_WINDOW_S)
    return len(times) / window if window > 0 else 0.0


def _since(moment: float | None, now: float) -> float | None:
    return None if moment is None else max(now - moment, 0.0)
