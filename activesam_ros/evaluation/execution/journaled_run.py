"""Run an evaluation that keeps finished parts, so that a repeated command resumes it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from activesam_ros.evaluation.execution.executors import Executor, Outcome
from activesam_ros.evaluation.execution.part_journal import PartJournal
from activesam_ros.evaluation.execution.worker import Task
from activesam_ros.progress import Progress
from activesam_ros.resumable_work import files_identity, vocabulary_identity
from activesam_ros.sam3.checkpoint import weights_fingerprint


def evaluation_job(task: Task, files: Iterable[Path], source: Mapping[str, str]) -> dict[str, str]:
    """Everything the results of ``task`` depend on. Executor and threads are left out.

    files: what the source reads. source: what else identifies the source. Raises CheckpointError
    when the weights are missing.
    """
    network = task.network
    config = network.config or network.weights.with_name("config.json")
    return {
        "input": files_identity(files),
        **source,
        "weights": weights_fingerprint(network.weights),
        "configuration": files_identity([config]) if config.is_file() else "",
        "device": network.device,
        "dtype": network.dtype,
        "vocabulary": vocabulary_identity(task.vocabulary),
        "methods": ", ".join(method.value for method in task.settings),
        "settings": repr(list(task.settings.values())),
        "agreement": repr(task.reference),
        "corruptions": repr(task.corruptions),
        "report": repr(task.pictures),
    }


@contextlib.contextmanager
def journaled_run(
    executor: Executor,
    task: Task,
    job: Mapping[str, object],
    output: Path,
    expected: int | None,
    unit: str,
) -> Iterator[Outcome]:
    """The outcome of ``task``; a journal in the folder ``output`` keeps finished parts.

    job: what the journal must belong to. expected: the estimated number of images, None when
    unknown. unit: what the progress bar calls an image. The caller writes the results inside the
    block: the journal is removed when the block ends and kept when it raises. A streamed task
    keeps no journal, because each frame depends on the frames before it. Raises ActiveSamError.
    """
    if task.is_streamed:
        with Progress(expected, unit, "evaluating") as progress:
            outcome = executor.run(task, expected, progress.update)
        yield outcome
        return
    journal = PartJournal(output, job)
    try:
        if journal.images:
            print(
                f"activesam: {journal.path} has {journal.images} images of this evaluation; "
                "resuming from there.",
                file=sys.stderr,
            )
        with Progress(expected, unit, "evaluating", journal.images) as progress:
            outcome = executor.run(task, expected, progress.update, journal)
        yield outcome
        journal.remove()
    except KeyboardInterrupt:
        print(
            f"activesam: {journal.images} images are kept in {journal.path}; repeat the command to "
            "resume from there.",
            file=sys.stderr,
        )
        raise
    finally:
        journal.close()
