"""Run an evaluation so that an interruption costs little: repeated, the command goes on."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tqdm import tqdm

from activesam_ros.evaluation.execution.executors import Executor, Outcome
from activesam_ros.evaluation.execution.part_journal import PartJournal
from activesam_ros.evaluation.execution.worker import Task


@contextlib.contextmanager
def journaled_run(
    executor: Executor,
    task: Task,
    job: Mapping[str, object],
    output: Path,
    expected: int | None,
    unit: str,
) -> Iterator[Outcome]:
    """The outcome of ``task``, of which a journal in ``output`` keeps what is done.

    job: what the journal must belong to. expected: how many images there seem to be, None where
    that is not known; unit: what the progress bar calls one. The journal is removed when the block
    ends, and kept when it raises: the results are written there. With streaming a frame depends on
    those before it, so nothing is kept. Raises ActiveSamError.
    """
    if any(settings.streaming for settings in task.settings.values()):
        with tqdm(total=expected, unit=unit, file=sys.stderr, disable=None) as progress:
            outcome = executor.run(task, expected, progress.update)
        yield outcome
        return
    journal = PartJournal(output, job)
    try:
        if journal.images:
            print(
                f"activesam: {journal.path} has {journal.images} images of this evaluation; going "
                "on from there.",
                file=sys.stderr,
            )
        with tqdm(
            total=expected, initial=journal.images, unit=unit, file=sys.stderr, disable=None
        ) as progress:
            outcome = executor.run(task, expected, progress.update, journal)
        yield outcome
        journal.remove()
    except KeyboardInterrupt:
        print(
            f"activesam: {journal.images} images are kept in {journal.path}; repeat the command to "
            "go on from there.",
            file=sys.stderr,
        )
        raise
    finally:
        journal.close()
