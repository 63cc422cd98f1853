"""One mechanism for every faster way that may fail: take it, check it, give it up once."""

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
    """A fast way gives another result than the slow one."""


class Fallback:
    """A fast way that is replaced by a slow one from its first failure on.

    Drivers and compilers fail in many ways, so every exception counts as a failure, except running
    out of memory, which the slow way does not mend. The log names the reason once. Safe to use from
    several threads. It belongs to whatever lives as long as the fast way may work: the loaded
    network or the process, never one set of settings.
    """

    def __init__(self, message: str) -> None:
        """message: the warning, with one ``%s`` for the reason."""
        self._message = message
        self._lock = threading.Lock()
        self._works = True
        self._checked: set[Hashable] = set()

    @property
    def works(self) -> bool:
        """Whether the fast way has not failed so far."""
        return self._works

    def needs_check(self, kind: Hashable) -> bool:
        """Whether :meth:`run` would check the next result of this kind."""
        return self._works and kind not in self._checked

    def run(
        self,
        fast: Callable[[], Result],
        slow: Callable[[], Result],
        check: Callable[[Result], None] | None = None,
        kind: Hashable = None,
    ) -> Result:
        """The result of ``fast``, or of ``slow`` where the fast way fails or has failed before.

        check: raises DisagreementError for a wrong result; called for the first result of each
        ``kind``. Raises torch.OutOfMemoryError where one of them does.
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
                result = None  # frees its memory before the slow way takes some
        return slow()

    def _give_up(self, error: Exception) -> None:
        with self._lock:
            first, self._works = self._works, False
        if first:
            _LOG.warning(self._message, in_short(error))
