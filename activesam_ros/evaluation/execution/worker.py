"""One network at work on parts of a source: what every executor runs, in whatever process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from activesam_ros.evaluation.corruptions.corrupter import Corrupter, CorruptionPlan
from activesam_ros.evaluation.datasets.sources import Part, Source, SourceCount
from activesam_ros.evaluation.evaluate import Evaluator, Reference, Tallies
from activesam_ros.evaluation.scoring.metrics import IdMap
from activesam_ros.evaluation.scoring.results import machine
from activesam_ros.pipeline import NetworkOptions, load_network
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.segmentation.baselines import Method
from activesam_ros.settings import Settings
from activesam_ros.streaming.streams import in_time


@dataclass(frozen=True)
class Task:
    """An evaluation, whole and fit to be sent to another process.

    settings: of each method, in the order in which they run. label_ids: from the ids of the ground
    truth to class indices, None without one. reference: settings of the method without pruning and
    on every how many-th image it runs; None where it does not. corruptions: None for none.
    threads: of the network on a CPU, None for PyTorch's own choice. pictures: keep some for a
    report.
    """

    source: Source
    network: NetworkOptions
    vocabulary: Vocabulary
    settings: Mapping[Method, Settings]
    label_ids: IdMap | None
    reference: tuple[Settings, int] | None = None
    corruptions: CorruptionPlan | None = None
    threads: int | None = None
    pictures: bool = False


@dataclass
class PartResult:
    """What came of a part."""

    tallies: Tallies
    count: SourceCount

    def extend(self, later: PartResult) -> None:
        """Add what came of the part that follows; raises RecordingError."""
        self.count.extend(later.count)
        self.tallies.extend(later.tallies)


class Worker:
    """A loaded network with an open source; raises ActiveSamError where either cannot be had."""

    def __init__(self, task: Task) -> None:
        if task.threads is not None:
            torch.set_num_threads(task.threads)
        corrupter = None if task.corruptions is None else Corrupter(task.corruptions)
        network = load_network(task.network)
        reference = None
        if task.reference is not None:
            settings, every = task.reference
            unpruned = network.segmenter(task.vocabulary, settings, Method.FULL)
            reference = Reference(unpruned, every)
        self._evaluator = Evaluator(
            {
                method: in_time(network.segmenter(task.vocabulary, settings, method), settings)
                for method, settings in task.settings.items()
            },
            task.vocabulary,
            task.label_ids,
            network.device,
            reference,
            task.pictures,
            corrupter,
        )
        self._reader = task.source.open()
        self.machine: dict[str, Any] = machine(network.device, network.dtype)

    def run(self, part: Part, advance: Callable[[], object] = lambda: None) -> PartResult:
        """Evaluate ``part``; ``advance`` is called after each image. Raises ActiveSamError."""
        count = SourceCount()
        tallies = self._evaluator.run(self._reader.samples(part, count), advance)
        return PartResult(tallies, count)
