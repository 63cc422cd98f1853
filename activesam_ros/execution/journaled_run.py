"""Run a task that keeps finished parts, so that a repeated command resumes it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from activesam_ros.console import tell
from activesam_ros.execution.executors import Executor, Outcome
from activesam_ros.execution.part_journal import PartJournal
from activesam_ros.execution.task import Result, Task
from activesam_ros.pipeline import NetworkOptions
from activesam_ros.progress import Progress
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.resumable_work import files_identity, vocabulary_identity
from activesam_ros.sam3.checkpoint import weights_fingerprint


def task_identity(
    network: NetworkOptions, vocabulary: Vocabulary, files: Iterable[Path]
) -> dict[str, str]:
    """What the results of every task depend on. Executor and threads are left out.

    files: what the task reads. Raises CheckpointError when the weights are missing.
    """
    config = network.config or network.weights.with_name("config.json")
    return {
        "input": files_identity(files),
        "weights": weights_fingerprint(network.weights),
        "configuration": files_identity([config]) if config.is_file() else "",
        "device": network.device,
        "dtype": network.dtype,
        "vocabulary": vocabulary_identity(vocabulary),
    }


@contextlib.contextmanager
def journaled_run(
    executor: Executor,
    task: Task[Result],
    journal: PartJournal[Result] | None,
    expected: int | None,
    unit: str,
    doing: str,
) -> Iterator[Outcome[Result]]:
    """The outcome of ``task``; its journal keeps finished parts.

    journal: None for a streamed task, because each image depends on the images before it. expected:
    the estimated number of images, None when unknown. unit, doing: what the progress bar calls an
    image and the work. The caller writes the results inside the block: the journal is removed when
    the block ends and kept when it raises. Raises ActiveSamError.
    """
    if journal is None:
        with Progress(expected, unit, doing) as progress:
            outcome = executor.run(task, expected, progress.update)
        yield outcome
        return
    try:
        if journal.images:
            tell(
                f"{journal.path} has {journal.images} images of this "
                f"{task.results.work}; resuming from there."
            )
        with Progress(expected, unit, doing, journal.images) as progress:
            outcome = executor.run(task, expected, progress.update, journal)
        yield outcome
        journal.remove()
    except KeyboardInterrupt:
        tell(
            f"{journal.images} images are kept in {journal.path}; repeat the command to "
            "resume from there."
        )
        raise
    finally:
        journal.close()
