"""One network that evaluates parts of a source; every executor runs this, in some process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from activesam_ros.evaluation.corruptions.catalogue import Corrupter, CorruptionPlan
from activesam_ros.evaluation.datasets.sample_source import SampleSource, SourceCount
from activesam_ros.evaluation.evaluator import Evaluator, PlainReference, Reference
from activesam_ros.evaluation.execution.part_data import PartResult, results_of
from activesam_ros.evaluation.scoring.metrics import IdMap
from activesam_ros.evaluation.scoring.results import machine
from activesam_ros.execution.journaled_run import task_identity
from activesam_ros.execution.task import Part, ResultFormat
from activesam_ros.pipeline import Network, NetworkOptions, load_network
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.segmentation.methods import METHODS, Method
from activesam_ros.settings import Settings


@dataclass(frozen=True)
class Task:
    """A complete evaluation, a Task of activesam_ros.execution.

    settings: by method, in the order in which methods run. label_ids: from ground-truth ids to
    class indices, None without ground truth. reference: settings of the unpruned method, and N to
    run it on every N-th image; None to leave it out. corruptions: None for clean images only.
    threads: CPU threads of the network, None for PyTorch's default. pictures: keep frames for a
    report. plain_every: N to run methods that have signatures without them on every N-th image, 0
    for never.
    """

    source: SampleSource
    network: NetworkOptions
    vocabulary: Vocabulary
    settings: Mapping[Method, Settings]
    label_ids: IdMap | None
    reference: tuple[Settings, int] | None = None
    corruptions: CorruptionPlan | None = None
    threads: int | None = None
    pictures: bool = False
    plain_every: int = 0

    @property
    def is_streamed(self) -> bool:
        """A method carries its active set from frame to frame, so the source is one part."""
        return any(settings.streaming for settings in self.settings.values())

    @property
    def results(self) -> ResultFormat[PartResult]:
        return results_of(self)

    def placed(self, network: NetworkOptions, threads: int | None) -> Task:
        return dataclasses.replace(self, network=network, threads=threads)

    def worker(self) -> Worker:
        return Worker(self)

    def job(self, files: Iterable[Path], source: Mapping[str, str]) -> dict[str, str]:
        """What a journal must agree with.

        files: what the source reads. source: what else identifies the source. Raises
        CheckpointError when the weights are missing.
        """
        return {
            **task_identity(self.network, self.vocabulary, files),
            **source,
            "methods": ", ".join(method.value for method in self.settings),
            "settings": repr(list(self.settings.values())),
            "agreement": repr((self.reference, self.plain_every)),
            "corruptions": repr(self.corruptions),
            "report": repr(self.pictures),
        }


class Worker:
    """A loaded network and an open source; raises ActiveSamError when either is unavailable."""

    def __init__(self, task: Task) -> None:
        if task.threads is not None:
            torch.set_num_threads(task.threads)
        corrupter = None if task.corruptions is None else Corrupter(task.corruptions)
        network = load_network(task.network)
        reference = None
        if task.reference is not None:
            settings, every = task.reference
            # Without pruning there is no active set to carry from frame to frame.
            unpruned = network.segmenter(task.vocabulary, settings.per_image(), Method.FULL)
            reference = Reference(unpruned, every)
        self._evaluator = Evaluator(
            {
                method: network.streaming_if_enabled(task.vocabulary, settings, method)
                for method, settings in task.settings.items()
            },
            task.vocabulary,
            task.label_ids,
            network.device,
            reference,
            task.pictures,
            corrupter,
            _plain_reference(task, network),
        )
        self._reader = task.source.open()
        self.machine: dict[str, Any] = machine(network.device, network.dtype)

    def run(self, part: Part, advance: Callable[[], object] = lambda: None) -> PartResult:
        """Evaluate ``part``; ``advance`` is called after each image. Raises ActiveSamError."""
        count = SourceCount()
        tallies = self._evaluator.run(self._reader.samples(part, count), advance)
        return PartResult(tallies, count)


def _plain_reference(task: Task, network: Network) -> PlainReference | None:
    """The methods that have signatures, without them; None where there are none."""
    segmenters = {
        method: network.segmenter(
            task.vocabulary, settings.per_image().replace({"signatures": ""}), method
        )
        for method, settings in task.settings.items()
        if settings.signatures and METHODS[method].by_presence
    }
    return PlainReference(segmenters, task.plain_every) if task.plain_every and segmenters else None
