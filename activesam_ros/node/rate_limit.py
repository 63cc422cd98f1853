"""At most so many images a second from a camera."""

from __future__ import annotations


class RateLimiter:
    """Lets through what keeps a mean rate.

    In any time span of t seconds at most ``max_rate_hz * t + 2`` are let through; a source that is
    no faster than the limit loses nothing to its jitter.
    """

    def __init__(self, max_rate_hz: float) -> None:
        """``max_rate_hz`` 0 lets everything through."""
        self.max_rate_hz = max_rate_hz
        self._due_s: float | None = None

    def passes(self, now_s: float) -> bool:
        """Whether what comes at ``now_s``, a time that never decreases, is let through."""
        if self.max_rate_hz <= 0:
            return True
        period_s = 1 / self.max_rate_hz
        due_s = now_s if self._due_s is None else self._due_s
        # Half a period of patience: at exactly the limit, jitter would drop every other image.
        if now_s < due_s - period_s / 2:
            return False
        self._due_s = max(due_s, now_s - period_s / 2) + period_s
        return True
