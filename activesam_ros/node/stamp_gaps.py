"""How many images of a camera never arrived, by the gaps between the stamps of those that did.

The middleware's queue holds one image, and what it replaces there is told to nobody. So the number
is an estimate: the camera's period is not known, and a camera may leave out images itself.
"""

from __future__ import annotations

from collections import deque

# Differences of stamps from which the period is estimated, and how many that takes at least.
_REMEMBERED, _LEAST = 32, 8
# The period: this share of the differences is smaller, so that up to three in four may be gaps.
_SHARE = 0.2
# A longer gap is a camera that was silent; the diagnostics say so where that matters.
_LONGEST_GAP_NS = 2_000_000_000


class StampGaps:
    """Counts the images that are missing between those received; not for several threads."""

    def __init__(self) -> None:
        self.missing = 0
        """About how many images never arrived."""
        self._differences_ns: deque[int] = deque(maxlen=_REMEMBERED)
        self._last_ns = 0

    def restart(self) -> None:
        """Forget the last stamp, not the count: what comes next does not continue it."""
        self._last_ns = 0

    def add(self, stamp_ns: int) -> None:
        """A received image. A stamp of zero, or one that does not rise, begins anew."""
        difference_ns = stamp_ns - self._last_ns
        begins = not 0 < self._last_ns < stamp_ns or difference_ns > _LONGEST_GAP_NS
        self._last_ns = stamp_ns
        if begins:
            return
        self._differences_ns.append(difference_ns)
        if len(self._differences_ns) >= _LEAST:
            ordered = sorted(self._differences_ns)
            period_ns = ordered[int(_SHARE * len(ordered))]
            self.missing += max(round(difference_ns / period_ns) - 1, 0)
