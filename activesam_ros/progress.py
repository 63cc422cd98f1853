"""What a user sees of long work, on stderr: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm

from activesam_ros.console import tell
from activesam_ros.errors import printable

# Work that is done sooner is not mentioned.
FIRST_LINE_S = 2.0
# Then a line comes once in this time.
LINE_INTERVAL_S = 10.0
FALLBACK_COLUMNS = 80


class Progress:
    """Counts work that is done; a context manager.

    total: how much there is, None when unknown. unit: what is counted. doing: the work, such as
    "segmenting". initial: what an earlier run has done.
    """

    def __init__(self, total: int | None, unit: str, doing: str, initial: int = 0) -> None:
        self._total, self._unit, self._doing = total, unit, doing
        self._initial = self._done = initial
        self._note = ""
        self._bar = tqdm(
            total=total,
            initial=initial,
            unit=unit,
            desc=printable(doing),
            file=sys.stderr,
            disable=None,
        )
        self._lines = contextlib.ExitStack()
        if self._bar.disable:  # stderr is no terminal
            self._lines.enter_context(_lines(self._line))
        elif self._bar.ncols is not None and self._bar.ncols <= 0:
            # A terminal that does not tell its size, as under `script`: tqdm would show nothing.
            self._bar.ncols, self._bar.nrows = FALLBACK_COLUMNS, None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, count: int = 1, note: str = "") -> None:
        """``count`` more are done; fewer than 0 where lost work is done again.

        note: shown beside the count.
        """
        self._done += count
        self._note = note
        if note:
            self._bar.set_postfix_str(printable(note), refresh=False)
        self._bar.update(count)

    def close(self) -> None:
        """End it; closing twice does nothing more."""
        self._bar.close()
        self._lines.close()

    def _line(self, elapsed_s: float) -> str:
        of = "" if self._total is None else f" of {self._total}"
        rate_hz = (self._done - self._initial) / elapsed_s
        note = f"; {self._note}" if self._note else ""
        return f"{self._doing}: {self._done}{of} ({self._unit}), {rate_hz:.2g} a second{note}"


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Say ``what`` is being done when it takes more than two seconds, and again while it lasts."""
    with _lines(lambda elapsed_s: f"{what} ... ({elapsed_s:.0f} s)"):
        yield


@contextlib.contextmanager
def _lines(line: Callable[[float], str]) -> Iterator[None]:
    """Print ``line``, given the seconds since the beginning, now and then until the block ends."""
    ended = threading.Event()
    began_s = time.monotonic()

    def repeat() -> None:
        wait_s = FIRST_LINE_S
        while not ended.wait(wait_s):
            text = line(time.monotonic() - began_s)
            tell(text)
            wait_s = LINE_INTERVAL_S

    thread = threading.Thread(target=repeat, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
