"""What a user sees of long work, on stderr: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

from tqdm import tqdm

# Work that is done sooner is not mentioned.
FIRST_LINE_S = 2.0
# A log gets no more lines than one in this time.
LINE_INTERVAL_S = 10.0


class Progress:
    """Counts work that is done.

    total: how much there is, None when unknown. unit: what is counted. doing: the work, such as
    "segmenting". initial: what an earlier run has done.
    """

    def __init__(self, total: int | None, unit: str, doing: str, initial: int = 0) -> None:
        self._total, self._unit, self._doing = total, unit, doing
        self._initial = self._done = initial
        self._began_s = self._said_s = time.monotonic()
        self._bar = tqdm(
            total=total, initial=initial, unit=unit, desc=doing, file=sys.stderr, disable=None
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def update(self, count: int = 1) -> None:
        """``count`` more are done; fewer than 0 where lost work is done again."""
        self._done += count
        self._bar.update(count)
        now_s = time.monotonic()
        if self._bar.disable and now_s - self._said_s >= LINE_INTERVAL_S:
            self._said_s = now_s
            of = "" if self._total is None else f" of {self._total}"
            rate_hz = (self._done - self._initial) / (now_s - self._began_s)
            _say(f"{self._doing}: {self._done}{of} ({self._unit}), {rate_hz:.2g} a second")


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Say ``what`` is being done when it takes more than two seconds, and again while it lasts."""
    ended = threading.Event()
    thread = threading.Thread(target=_repeat, args=(what, ended), name=what, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _repeat(what: str, ended: threading.Event) -> None:
    began_s = time.monotonic()
    if ended.wait(FIRST_LINE_S):
        return
    _say(f"{what} ...")
    while not ended.wait(LINE_INTERVAL_S):
        _say(f"{what} ... ({time.monotonic() - began_s:.0f} s)")


def _say(text: str) -> None:
    print(f"activesam: {text}", file=sys.stderr, flush=True)
