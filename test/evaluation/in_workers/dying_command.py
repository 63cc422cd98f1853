"""``activesam``, ended by a signal when an evaluation has kept so many images.

    python dying_command.py SIGNAL IMAGES COMMAND...

A process of its own, since nothing of it is to be left.
"""

from __future__ import annotations

import os
import signal
import sys

from activesam_ros.cli import main
from activesam_ros.evaluation.part_journal import PartJournal
from activesam_ros.evaluation.sources import Part
from activesam_ros.evaluation.worker import PartResult


class DyingJournal(PartJournal):
    """Ends its process when ``limit`` images or more are kept."""

    end: signal.Signals
    limit: int

    def keep(self, part: Part, result: PartResult) -> None:
        super().keep(part, result)
        if self.images >= self.limit:
            os.kill(os.getpid(), self.end)


if __name__ == "__main__":
    from activesam_ros.evaluation import journaled_run

    DyingJournal.end = signal.Signals[sys.argv[1]]
    DyingJournal.limit = int(sys.argv[2])
    journaled_run.PartJournal = DyingJournal  # type: ignore[misc]
    sys.exit(main(sys.argv[3:]))
