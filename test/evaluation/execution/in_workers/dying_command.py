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
from activesam_ros.evaluation.datasets.sample_source import Part
from activesam_ros.evaluation.execution.part_journal import PartJournal
from activesam_ros.evaluation.execution.worker import PartResult

if __name__ == "__main__":
    end, limit = signal.Signals[sys.argv[1]], int(sys.argv[2])
    keep = PartJournal.keep

    def keep_or_die(journal: PartJournal, part: Part, result: PartResult) -> None:
        keep(journal, part, result)
        if journal.images >= limit:
            os.kill(os.getpid(), end)

    with mock.patch.object(PartJournal, "keep", keep_or_die):
        sys.exit(main(sys.argv[3:]))
