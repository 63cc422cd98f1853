"""The options of a demo drive, and the seeds for training, validation and tests."""

from __future__ import annotations

import math
from dataclasses import dataclass

from activesam_ros.errors import UsageError

TRAIN_SEEDS = range(100_000)
VALIDATION_SEEDS = range(100_000, 110_000)
TEST_SEEDS = range(110_000, 120_000)

SIDE_RANGE_PX = (64, 4096)
RATE_RANGE_HZ = (0.5, 120.0)
MAX_SEED = 2**63 - 1
MAX_FRAMES = 1_000_000
MAX_CAMERAS = 8
MAX_START_NS = 2**62
MAX_DURATION_S = 24 * 3600
# 2025-10-09 08:53:20 UTC: a fixed date, so that the same seed gives the same recording.
DEFAULT_START_NS = 1_760_000_000_000_000_000


@dataclass(frozen=True, slots=True)
class DriveOptions:
    """One drive. The world depends only on ``seed``; size, rate and cameras do not change it.

    start_ns: stamp of the first frame in nanoseconds since 1970. Raises UsageError that names the
    bound if a value is out of range.
    """

    seed: int = 0
    frames: int = 200
    width: int = 640
    height: int = 384
    rate_hz: float = 10.0
    cameras: int = 1
    start_ns: int = DEFAULT_START_NS

    def __post_init__(self) -> None:
        _check_range("seed", self.seed, 0, MAX_SEED)
        _check_range("number of frames", self.frames, 1, MAX_FRAMES)
        _check_range("number of cameras", self.cameras, 1, MAX_CAMERAS)
        _check_range("start stamp in nanoseconds", self.start_ns, 0, MAX_START_NS)
        for side, pixels in (("width", self.width), ("height", self.height)):
            _check_range(f"{side} in pixels", pixels, *SIDE_RANGE_PX)
            if pixels % 2:
                raise UsageError(f"The {side} {pixels} is odd; give an even number of pixels.")
        low, high = RATE_RANGE_HZ
        if not (math.isfinite(self.rate_hz) and low <= self.rate_hz <= high):
            raise UsageError(
                f"The rate {self.rate_hz} Hz is out of range; give {low:g} to {high:g} Hz."
            )

        if self.frames / self.rate_hz > MAX_DURATION_S:
            raise UsageError(
                f"{self.frames} frames at {self.rate_hz:g} Hz last more than {MAX_DURATION_S:,} s; "
                "give fewer frames or a higher rate."
            )

    def stamp_ns(self, index: int) -> int:
        """Stamp of frame ``index`` in nanoseconds since 1970."""
        return self.start_ns + round(index * 1e9 / self.rate_hz)


def _check_range(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UsageError(f"The {what} {value} is out of range; give {low} to {high}.")
