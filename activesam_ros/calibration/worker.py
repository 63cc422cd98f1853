"""A calibration as a task of executors, and its results as plain data."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from activesam_ros.calibration.estimator import (
    CalibrationSettings,
    SignatureSums,
    pooled_scores,
    sums_of_image,
)
from activesam_ros.calibration.images import CalibrationImages
from activesam_ros.errors import ImageError, PlainDataError
from activesam_ros.execution.task import Part, ResultFormat
from activesam_ros.pipeline import NetworkOptions, load_network
from activesam_ros.plain_data import from_bytes, to_bytes
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.recordings.frame_pixels import rgb_decoder
from activesam_ros.segmentation.methods import Method
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.settings import Settings

WORK = "calibration"


@dataclass(frozen=True)
class CalibrationTask:
    """A complete calibration, a Task of activesam_ros.execution.

    settings: of the method, without signatures. threads: CPU threads of the network, None for
    PyTorch's default.
    """

    images: CalibrationImages
    network: NetworkOptions
    vocabulary: Vocabulary
    settings: Settings
    calibration: CalibrationSettings
    threads: int | None = None

    @property
    def is_streamed(self) -> bool:
        return False

    @property
    def results(self) -> ResultFormat[CalibrationResult]:
        return result_format(len(self.vocabulary.classes))

    def placed(self, network: NetworkOptions, threads: int | None) -> CalibrationTask:
        return dataclasses.replace(self, network=network, threads=threads)

    def worker(self) -> CalibrationWorker:
        return CalibrationWorker(self)


@dataclass
class CalibrationResult:
    """The sums of the images of a part.

    images: how many were used. problems: how often each problem made an image unusable. ended,
    notes: the input ends within the part; only then are there notes, on all files.
    """

    sums: SignatureSums = field(default_factory=SignatureSums.zeros)
    images: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    ended: bool = False
    notes: tuple[str, ...] = ()

    @property
    def unusable(self) -> int:
        """How many images were not used."""
        return self.problems.total()

    @property
    def read(self) -> int:
        """How many images were read."""
        return self.images + self.unusable

    def check(self) -> None:
        """Nothing makes all images unusable."""

    def extend(self, later: CalibrationResult) -> None:
        """Add the result of the following part."""
        self.sums.extend(later.sums)
        self.images += later.images
        self.problems += later.problems
        self.ended = self.ended or later.ended
        self.notes = tuple(dict.fromkeys(self.notes + later.notes))


def result_format(classes: int) -> ResultFormat[CalibrationResult]:
    """How results for a vocabulary of so many classes become bytes."""
    return ResultFormat(WORK, 1, to_bytes, functools.partial(_result_from_bytes, classes=classes))


def _result_from_bytes(data: bytes, classes: int) -> CalibrationResult:
    result = from_bytes(data, CalibrationResult)
    sums = result.sums
    seen = sums.classes.tolist()
    if sums.classes.ndim != 1 or not all(a < b for a, b in pairwise([-1, *seen, classes])):
        raise PlainDataError("its classes are not those of the vocabulary")
    empty = SignatureSums.zeros(seen)
    for found, expected in zip(sums.counts, empty.counts, strict=True):
        if found.shape != expected.shape or (found < 0).any():
            raise PlainDataError("its sums are not those of its classes")
    if result.images < 0 or any(count < 0 for count in result.problems.values()):
        raise PlainDataError("its numbers of images cannot be true")
    return result


class CalibrationWorker:
    """A loaded network and open images; raises ActiveSamError when either is unavailable."""

    def __init__(self, task: CalibrationTask) -> None:
        if task.threads is not None:
            torch.set_num_threads(task.threads)
        network = load_network(task.network)
        self._segmenter = network.segmenter(task.vocabulary, task.settings, Method.ACTIVESAM2)
        self._settings = task.calibration
        self._reader = task.images.open()
        rules = task.settings
        self._decode = rgb_decoder(rules.bit_depth, rules.max_image_pixels)
        self.machine: dict[str, Any] = {"device": str(network.device)}

    def run(self, part: Part, advance: Callable[[], object] = lambda: None) -> CalibrationResult:
        """The sums of the images of ``part``; ``advance`` is called after each used image."""
        result = CalibrationResult()
        for frame in self._reader.frames(part):
            try:
                image = self._decode(frame)
            except ImageError as error:
                result.problems[str(error)] += 1
                continue
            result.sums.extend(image_sums(self._segmenter, image, self._settings))
            result.images += 1
            advance()
        result.ended = self._reader.ended
        result.notes = self._reader.notes if result.ended else ()
        return result


def image_sums(
    segmenter: Segmenter, image: NDArray[np.uint8], settings: CalibrationSettings
) -> SignatureSums:
    """The sums of one image, uint8 RGB [H, W, 3], in the memory of its maps and one class map."""
    active: list[int] = []

    def maps() -> Iterator[Tensor]:
        for index, scores in segmenter.class_maps(image):
            active.append(index)
            yield scores

    levels = pooled_scores(maps(), (image.shape[0], image.shape[1]))
    return sums_of_image(levels.cpu(), active, settings)
