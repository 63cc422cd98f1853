"""What ``evaluate bag`` and ``evaluate dataset`` share: options, running, and writing results."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activesam_ros.commands.options.corruptions import add_corruption_arguments, corruption_plan
from activesam_ros.commands.options.executors import add_executor_arguments, executor_from
from activesam_ros.commands.options.network import (
    add_methods_argument,
    methods_from,
    network_options,
)
from activesam_ros.console import answer
from activesam_ros.evaluation.corruption_results import corruption_results, corruption_table
from activesam_ros.evaluation.corruptions.catalogue import CorruptionPlan
from activesam_ros.evaluation.datasets.sample_source import SampleSource, SourceCount
from activesam_ros.evaluation.evaluator import Tallies
from activesam_ros.evaluation.execution.part_data import evaluation_journal
from activesam_ros.evaluation.execution.worker import Task
from activesam_ros.evaluation.scoring.metrics import IdMap
from activesam_ros.evaluation.scoring.results import (
    RESULTS_NAME,
    about_vocabulary,
    check_output,
    document,
    summary_table,
    write_results,
)
from activesam_ros.execution.executors import Executor
from activesam_ros.execution.journaled_run import journaled_run
from activesam_ros.pipeline import NetworkOptions
from activesam_ros.progress import working
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.segmentation.background import background_label
from activesam_ros.segmentation.methods import Method
from activesam_ros.settings import Settings

Content = Mapping[str, Any]


@dataclass(frozen=True)
class EvaluationOptions:
    """The shared options; network, corruptions and threads as in :class:`Task`."""

    methods: tuple[Method, ...]
    network: NetworkOptions
    corruptions: CorruptionPlan | None
    threads: int | None
    executor: Executor
    output: Path
    report: Path | None

    def task(
        self,
        source: SampleSource,
        vocabulary: Vocabulary,
        settings: Mapping[Method, Settings],
        label_ids: IdMap | None,
        reference: tuple[Settings, int] | None = None,
        plain_every: int = 0,
    ) -> Task:
        """The evaluation of ``source`` with these options."""
        return Task(
            source,
            self.network,
            vocabulary,
            settings,
            label_ids,
            reference,
            self.corruptions,
            self.threads,
            pictures=self.report is not None,
            plain_every=plain_every,
        )


@dataclass(frozen=True)
class EvaluationInput:
    """What a source reads.

    files: all files. identity: what else identifies the source. images: their estimated number,
    None when unknown. unit: what the progress bar calls an image.
    """

    files: Sequence[Path]
    identity: Mapping[str, str]
    images: int | None
    unit: str


def add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    """The shared arguments without those of the network, which differ between the commands."""
    add_methods_argument(parser)
    add_corruption_arguments(parser)
    add_executor_arguments(parser)
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for results.json, and for what an interrupted evaluation keeps",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the results of an earlier evaluation in --output and --report",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help="folder for a report: a page (index.html), results.json and CSV files",
    )


def options_from(args: argparse.Namespace) -> EvaluationOptions:
    """Read and check the shared options before any work; raises ActiveSamError."""
    options = EvaluationOptions(
        methods_from(args),
        network_options(args),
        corruption_plan(args),
        args.threads,
        executor_from(args),
        args.output,
        args.report,
    )
    check_output(args.output, "--output", args.overwrite)
    if args.report is not None:
        # Imported here, because only a report needs a template engine.
        from activesam_ros.evaluation.report.write_report import PAGE_NAME

        check_output(args.report, "--report", args.overwrite, (RESULTS_NAME, PAGE_NAME))
    return options


def evaluate(
    options: EvaluationOptions,
    task: Task,
    read: EvaluationInput,
    about: Callable[[SourceCount], Content],
    more_tables: Sequence[Callable[[Content], str]] = (),
) -> None:
    """Run ``task``, write its results and the report, and print tables.

    about: given the count of the source, its entries in results.json; if it raises, nothing is
    written. more_tables: made from the content of results.json; an empty text is
    left out. Raises ActiveSamError.
    """
    settings = {
        method.value: {
            **dataclasses.asdict(chosen),
            "background_id": background_label(task.vocabulary, chosen),
        }
        for method, chosen in task.settings.items()
    }
    with working(f"reading {task.network.weights}"):
        job = task.job(read.files, read.identity)
    journal = None if task.is_streamed else evaluation_journal(options.output, job, task)
    with journaled_run(
        options.executor, task, journal, read.images, read.unit, "evaluating"
    ) as outcome:
        tallies = outcome.result.tallies
        content = document(
            tallies.clean,
            outcome.machine,
            {
                **about(outcome.result.count),
                "weights": {"path": str(task.network.weights), "fingerprint": job["weights"]},
                "vocabulary": about_vocabulary(task.vocabulary),
                "settings": settings,
            },
        )
        content["executor"] = outcome.executor
        tables = [summary_table, *more_tables]
        if task.corruptions is not None:
            content["corruptions"] = corruption_results(tallies, task.corruptions.seed)
            tables.insert(1, corruption_table)
        path = write_results(options.output, content)
        for text in filter(None, (table(content) for table in tables)):
            print(text)
        answer(f"{path} written.")
        if options.report is not None:
            _write_report(options.report, content, task.vocabulary, tallies)


def _write_report(folder: Path, content: Content, vocabulary: Vocabulary, tallies: Tallies) -> None:
    from activesam_ros.evaluation.report.write_report import Evaluated, write_report

    assert tallies.pictures is not None  # a task with a report keeps pictures
    frames = {method.value: tally.figures for method, tally in tallies.clean.items()}
    path = write_report(folder, Evaluated(content, vocabulary, frames, tallies.pictures))
    answer(f"{path} written.")
