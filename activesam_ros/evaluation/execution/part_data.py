"""The result of a part of an evaluation, also as plain data, for its journal and for a pipe.

What the task says already (vocabulary, label ids) is left out. Whatever contradicts the task is
refused, because a journal may be damaged, or somebody else may have written it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from activesam_ros.errors import PlainDataError
from activesam_ros.evaluation.corruptions.catalogue import Corruption
from activesam_ros.evaluation.datasets.sample_source import SourceCount
from activesam_ros.evaluation.evaluator import Tallies
from activesam_ros.evaluation.report.frame_picture import LONGEST_SIDE_PX, TRUTH, FramePicture
from activesam_ros.evaluation.report.kept_pictures import KeptPictures
from activesam_ros.evaluation.scoring.frame_figures import FrameFigures
from activesam_ros.evaluation.scoring.metrics import LABEL_IDS, Share
from activesam_ros.evaluation.scoring.tally import MethodTally, TallyContent, prediction_ids
from activesam_ros.execution.part_journal import PartJournal
from activesam_ros.execution.task import ResultFormat
from activesam_ros.plain_data import from_bytes, to_bytes
from activesam_ros.segmentation.methods import Method

if TYPE_CHECKING:
    from activesam_ros.evaluation.execution.worker import Task

JOURNAL_NAME = "evaluation.partial"

_MOST_PIXELS = 1 << 53
_LONGEST_MS = 1e12
# To be raised whenever the fields of a result change.
_VERSION = 3
_LATEST_NS = 1 << 63


@dataclass
class PartResult:
    """The result of one part."""

    tallies: Tallies
    count: SourceCount

    @property
    def images(self) -> int:
        """How many images were used."""
        return self.count.images - self.count.unusable_images

    @property
    def read(self) -> int:
        """How many images were read."""
        return self.count.images

    @property
    def ended(self) -> bool:
        return self.count.ended

    def check(self) -> None:
        """See SourceCount.check."""
        self.count.check()

    def extend(self, later: PartResult) -> None:
        """Add the result of the following part; raises RecordingError."""
        self.count.extend(later.count)
        self.tallies.extend(later.tallies)


@dataclass(frozen=True)
class _Content:
    """The fields of PartResult, with the content of each tally in its place."""

    count: SourceCount
    clean: dict[Method, TallyContent]
    corrupted: list[tuple[Corruption, dict[Method, TallyContent]]]
    clean_agreement: list[tuple[Corruption, dict[Method, Share]]]
    pictures: KeptPictures | None


def results_of(task: Task) -> ResultFormat[PartResult]:
    """How results of ``task`` become bytes."""
    return ResultFormat(
        "evaluation", _VERSION, part_bytes, functools.partial(part_from_bytes, task=task)
    )


def evaluation_journal(
    folder: Path, job: Mapping[str, object], task: Task
) -> PartJournal[PartResult]:
    """The journal of ``task`` in its output folder; raises what PartJournal raises."""
    return PartJournal(folder / JOURNAL_NAME, job, results_of(task), own_folder=True)


def part_bytes(result: PartResult) -> bytes:
    """The bytes of ``result``."""
    tallies = result.tallies
    content = _Content(
        result.count,
        _contents(tallies.clean),
        [(corruption, _contents(each)) for corruption, each in tallies.corrupted.items()],
        list(tallies.clean_agreement.items()),
        tallies.pictures,
    )
    return to_bytes(content)


def part_from_bytes(data: bytes, task: Task) -> PartResult:
    """The result in the bytes of :func:`part_bytes`.

    task: the evaluation that it belongs to. Raises PlainDataError for anything else.
    """
    content = from_bytes(data, _Content)
    methods = tuple(task.settings)
    corruptions = () if task.corruptions is None else task.corruptions.corruptions
    _same("methods", content.clean, methods)
    for kind in (content.corrupted, content.clean_agreement):
        _same("corruptions", (corruption for corruption, _ in kind), corruptions)
        for _, by_method in kind:
            _same("methods", by_method, methods)
    _check_count(content.count)
    if (content.pictures is not None) != task.pictures:
        raise PlainDataError("its pictures are not those of the evaluation")
    classes = len(task.vocabulary.classes)
    empty = MethodTally(task.vocabulary, task.label_ids, prediction_ids(task.vocabulary))

    def restored(contents: Mapping[Method, TallyContent]) -> dict[Method, MethodTally]:
        for each in contents.values():
            _check_tally(each, classes, content.count)
        return {method: empty.restored(each) for method, each in contents.items()}

    for _, shares in content.clean_agreement:
        _check_shares(shares.values())
    if content.pictures is not None:
        _check_pictures(content.pictures, classes, methods)
    tallies = Tallies(
        restored(content.clean),
        {corruption: restored(each) for corruption, each in content.corrupted},
        dict(content.clean_agreement),
        content.pictures,
    )
    return PartResult(tallies, content.count)


def _contents(tallies: Mapping[Method, MethodTally]) -> dict[Method, TallyContent]:
    return {method: tally.content() for method, tally in tallies.items()}


def _same(what: str, found: Iterable[object], expected: Iterable[object]) -> None:
    names = [str(getattr(each, "value", each)) for each in found]
    if names != [str(getattr(each, "value", each)) for each in expected]:
        raise PlainDataError(f"its {what} are not those of the evaluation")


def _check(good: bool, what: str) -> None:
    if not good:
        raise PlainDataError(f"its {what} cannot be true")


def _check_count(count: SourceCount) -> None:
    numbers = (
        count.images,
        count.unusable_images,
        count.images_without_labels,
        count.stamps_replaced,
        count.labels_without_image,
        *count.problems.values(),
        *count.label_pixels.values(),
    )
    _check(all(0 <= number <= _MOST_PIXELS for number in numbers), "counts")
    _check(count.unusable_images <= count.images, "count of unusable images")
    _check(all(0 <= label < LABEL_IDS for label in count.label_pixels), "label ids")


def _check_shares(shares: Iterable[Share]) -> None:
    _check(all(0 <= each.hits <= each.total <= _MOST_PIXELS for each in shares), "shares")


def _check_tally(content: TallyContent, classes: int, count: SourceCount) -> None:
    frames = len(content.figures)
    _check(frames == count.images - count.unusable_images, "number of frames")
    _check(0 <= content.labelled_frames <= frames, "number of labelled frames")
    _check(0 <= content.agreement_frames <= frames, "number of compared frames")
    _check_shares((content.agreement, content.recall, content.recall_of_full, content.flicker))
    counts = content.confusion.counts
    _check(counts.shape == (classes + 1, classes + 1), "confusion matrix")
    _check(not counts.size or 0 <= counts.min() <= counts.max() <= _MOST_PIXELS, "confusion matrix")
    _check((content.first is None) == (content.previous is None), "label maps")
    for labels in (content.first, content.previous):
        _check(labels is None or (labels.ndim == 2 and labels.size > 0), "label maps")
    # A tally that is continued gives its first frame the flicker between two parts.
    _check(content.first is None or frames > 0, "label maps")
    peak_mib = content.peak_memory_mib
    _check(peak_mib is None or 0 <= peak_mib < _MOST_PIXELS, "peak memory")
    for figures in content.figures:
        _check_figures(figures, classes)
    places = [figures.place for figures in content.figures]
    _check(places == sorted(set(places)), "places of frames")


def _check_figures(figures: FrameFigures, classes: int) -> None:
    _check(0 <= figures.place < _MOST_PIXELS, "places of frames")
    _check(figures.stamp_ns is None or abs(figures.stamp_ns) < _LATEST_NS, "stamps")
    _check(all(0 <= time_ms < _LONGEST_MS for time_ms in _times_ms(figures)), "times")
    for indices in (figures.active, figures.admitted or ()):
        _check(list(indices) == sorted(set(indices)), "active classes")
        _check(all(0 <= index < classes for index in indices), "active classes")
    if figures.admitted is not None:
        _check(set(figures.active) <= set(figures.admitted), "active classes")
    fractions = (figures.miou, figures.pixel_accuracy, figures.agreement_with_full, figures.flicker)
    _check(all(each is None or 0 <= each <= 1 for each in fractions), "fractions")
    pixels = figures.pixels
    if pixels is not None:
        _check(pixels.ndim == 2 and pixels.shape[0] == 4, "pixels of classes")
        _check(bool(np.all(pixels >= 0) and np.all(pixels[0] < classes)), "pixels of classes")
        _check(bool(np.all(pixels[3] <= np.minimum(pixels[1], pixels[2]))), "pixels of classes")
    changes = figures.concepts
    if changes is not None:
        moves = changes.moves
        _check(moves.ndim == 2 and moves.shape[0] == 3, "changes by signatures")
        _check(bool(np.all(moves >= 0) and np.all(moves[:2] <= classes)), "changes by signatures")
        moved = int(moves[2].sum(dtype=np.int64))
        _check(0 < changes.size <= _MOST_PIXELS and moved <= changes.size, "changes by signatures")


def _times_ms(figures: FrameFigures) -> Iterator[float]:
    yield figures.latency_ms
    yield from figures.stages_ms.values()


def _check_pictures(kept: KeptPictures, classes: int, methods: Iterable[Method]) -> None:
    names = {TRUTH, Method.FULL.value, *(method.value for method in methods)}
    _check(set(kept.pictures) <= set(kept.scores), "pictures")
    scores = [score for score in kept.scores.values() if score is not None]
    _check(all(0 <= score <= 1 for score in scores), "scores")
    for picture in kept.pictures.values():
        _check(_is_drawn(picture), "pictures")
        for name, layer in picture.layers.items():
            _check(name in names and layer.png.startswith(b"\x89PNG"), "layers of pictures")
            _check(all(0 <= index < classes for index in layer.classes), "classes of pictures")


def _is_drawn(picture: FramePicture) -> bool:
    sides = 1 <= picture.width <= LONGEST_SIDE_PX and 1 <= picture.height <= LONGEST_SIDE_PX
    return sides and picture.jpeg.startswith(b"\xff\xd8")
