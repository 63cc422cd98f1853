"""Runs a fast implementation while it works, and a slow one once it has failed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from typing import TypeVar

import torch

from activesam_ros.errors import in_short

_LOG = logging.getLogger(__name__)

Result = TypeVar("Result")


class DisagreementError(Exception):
    """The fast implementation gives another result than the slow one."""


class Fallback:
    """Remembers whether a fast implementation works; the log names its first failure, once.

    Drivers and compilers fail in many ways, so every exception counts as a failure. Out of memory
    does not: the slow implementation would not help. Safe to use from several threads. The loaded
    network or the process owns it, so that it outlives changes of settings.
    """

    def __init__(self, message: str) -> None:
        """message: the warning to log, with one ``%s`` for the reason."""
        self._message = message
        self._lock = threading.Lock()
        self._works = True
        self._checked: set[Hashable] = set()

    @property
    def works(self) -> bool:
        """True until the fast implementation fails."""
        return self._works

    def needs_check(self, kind: Hashable) -> bool:
        """True where :meth:`run` would check the next result of this kind."""
        return self._works and kind not in self._checked

    def run(
        self,
        fast: Callable[[], Result],
        slow: Callable[[], Result],
        check: Callable[[Result], None] | None = None,
        kind: Hashable = None,
    ) -> Result:
        """The result of ``fast``, or of ``slow`` if ``fast`` fails or failed before.

        check: raises DisagreementError for a wrong result; called for the first result of each
        ``kind``. Raises torch.OutOfMemoryError.
        """
        if self._works:
            try:
                result = fast()
                if check is not None and kind not in self._checked:
                    check(result)
                    with self._lock:
                        self._checked.add(kind)
                return result
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - see the class
                self._give_up(error)
                result = None  # frees its memory before the slow one takes some
        return slow()

    def _give_up(self, error: Exception) -> None:
        with self._lock:
            first, self._works = self._works, False
        if first:
            _LOG.warning(self._message, in_short(error))
