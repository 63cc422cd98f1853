"""``activesam``, ended by a signal when an evaluation has kept so many images.

    python dying_command.py SIGNAL IMAGES COMMAND...

A process of its own, since nothing of it is to be left.
"""

from __future__ import annotations

import os
import signal
import sys
from unittest import mock

from activesam_ros.cli import main
from activesam_ros.evaluation.execution.part_data import PartResult
from activesam_ros.execution.part_journal import PartJournal
from activesam_ros.execution.task import Part

if __name__ == "__main__":
    end, limit = signal.Signals[sys.argv[1]], int(sys.argv[2])
    keep = PartJournal.keep

    def keep_or_die(journal: PartJournal[PartResult], part: Part, result: PartResult) -> None:
        keep(journal, part, result)
        if journal.images >= limit:
            os.kill(os.getpid(), end)

    with mock.patch.object(PartJournal, "keep", keep_or_die):
        sys.exit(main(sys.argv[3:]))
