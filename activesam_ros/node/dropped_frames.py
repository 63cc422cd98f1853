"""Frames that get no mask: the rules, the causes they are counted under, and what the log says.

A late frame ends in one of three ways. While it waits, a newer image of its camera replaces it
(``superseded``, see NewestFrames). With keep_all the memory for waiting images is full
(``no_room``, see AllFrames). When its turn comes, it is older than ``max_image_age_ms``
(``too_old``, see :func:`check_age`). A frame that takes longer than ``max_latency_ms`` still gets
its mask; the frames after it leave something out (budget/). What waits when the node is deactivated
is discarded (``deactivated``). With keep_all, images that the middleware tells to be lost on their
way count too (``lost``).
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rclpy.impl.rcutils_logger import RcutilsLogger

from activesam_ros.errors import ActiveSamError, ScoreError
from activesam_ros.node.budget.out_of_memory import FrameMemoryError, is_out_of_memory
from activesam_ros.node.statistics import FrameStatistics
from activesam_ros.recordings.image_encodings import RejectedImageError

SUPERSEDED = "superseded"
RATE_LIMITED = "rate_limited"
TOO_OLD = "too_old"
NO_ROOM = "no_room"
LOST = "lost"
DEACTIVATED = "deactivated"
OUT_OF_MEMORY = "out_of_memory"
NOT_FINITE = "not_finite"


class TooOldError(ActiveSamError):
    """A frame is older than it may be when its turn comes."""


class NoRoomError(ActiveSamError):
    """With keep_all, the memory for waiting images is full."""


class RateLimiter:
    """Passes frames up to a mean rate.

    In any time span of t seconds at most ``max_rate_hz * t + 2`` frames pass. Jitter costs no
    frames while the source is no faster than the limit.
    """

    def __init__(self, max_rate_hz: float) -> None:
        """``max_rate_hz`` 0 passes every frame."""
        self.max_rate_hz = max_rate_hz
        self._due_s: float | None = None

    def passes(self, now_s: float) -> bool:
        """Whether a frame that arrives at ``now_s`` passes; times must not decrease."""
        if self.max_rate_hz <= 0:
            return True
        period_s = 1 / self.max_rate_hz
        due_s = now_s if self._due_s is None else self._due_s
        # Half a period of tolerance: exactly at the limit, jitter would drop every other frame.
        if now_s < due_s - period_s / 2:
            return False
        self._due_s = max(due_s, now_s - period_s / 2) + period_s
        return True


def check_age(stamp_ns: int, now_ns: int, max_age_ms: float) -> None:
    """Raise TooOldError for a stamp older than ``max_age_ms``. 0 allows any age.

    A stamp in the future counts as age 0.
    """
    age_ms = max(now_ns - stamp_ns, 0) / 1e6
    if 0 < max_age_ms < age_ms:
        raise TooOldError(
            f"the image is {age_ms:.0f} ms old, more than max_image_age_ms={max_age_ms:g}; for a "
            "recording set use_sim_time and publish its clock, or set max_image_age_ms to 0."
        )


def drop_cause(error: Exception) -> str:
    """The name under which a dropped frame is counted; it holds no numbers from the message."""
    if isinstance(error, RejectedImageError):
        return error.cause.value
    if isinstance(error, TooOldError):
        return TOO_OLD
    if isinstance(error, NoRoomError):
        return NO_ROOM
    if isinstance(error, ScoreError):
        return NOT_FINITE
    if isinstance(error, FrameMemoryError) or is_out_of_memory(error):
        return OUT_OF_MEMORY
    return f"failed_{type(error).__name__}"


class FrameReporter:
    """Counts faults of frames by camera and logs the first one for each cause."""

    def __init__(self, logger: RcutilsLogger, statistics: Mapping[str, FrameStatistics]) -> None:
        """``statistics`` by camera."""
        self._logger = logger
        self._statistics = statistics

    def warn(self, text: str) -> None:
        """Log something the operator should know; no frame is lost by it."""
        self._logger.warning(text)

    def superseded(self, camera: str) -> None:
        """Count a frame that a newer one replaced before its turn."""
        self._statistics[camera].count_left_out(SUPERSEDED)

    def discarded(self, camera: str) -> None:
        """Count a frame that still waited when the node was deactivated."""
        self._statistics[camera].count_left_out(DEACTIVATED)

    def no_room(self, camera: str, keep_all_mib: int) -> None:
        """Drop a frame that does not fit into the memory for waiting images."""
        self.drop(
            camera,
            NoRoomError(
                f"the images that wait fill keep_all_mib={keep_all_mib}, so not every image is "
                "segmented; play the recording slower or allow more memory."
            ),
        )

    def drop(self, camera: str, error: Exception) -> None:
        """Count a frame that gets no mask because of ``error``."""
        cause = drop_cause(error)
        if self._statistics[camera].count_dropped(cause, str(error)):
            self._logger.error(
                f"An image of {camera} was dropped ({cause}): {_describe(error)} Further images "
                "dropped for this cause are only counted in the diagnostics."
            )

    @contextmanager
    def output_beside_mask(self, camera: str, output: str) -> Iterator[None]:
        """Count and log a fault while ``output`` is published.

        The frame's mask is out, so the frame counts as segmented whatever happens here.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the frame has its mask, the node goes on
            if self._statistics[camera].count_output_failure(output, str(error)):
                self._logger.error(
                    f"The output {output} of {camera} could not be published, the mask was: "
                    f"{_describe(error)} Further failures of this output are only counted in the "
                    "diagnostics."
                )


def _describe(error: Exception) -> str:
    """The message of an expected error, the traceback of an unexpected one."""
    if isinstance(error, ActiveSamError):
        return str(error)
    return "".join(traceback.format_exception(error)).rstrip()
