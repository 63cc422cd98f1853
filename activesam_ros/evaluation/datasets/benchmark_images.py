"""Find and read the images and labels of a benchmark, by the rules of benchmark_rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from activesam_ros.errors import UsageError
from activesam_ros.evaluation.datasets.benchmark_rules import Benchmark
from activesam_ros.evaluation.datasets.sample_source import Part, Sample, SourceCount
from activesam_ros.evaluation.scoring.metrics import IGNORE_INDEX, IdMap

_LABEL_MODES = ("L", "P")


@dataclass(frozen=True, slots=True)
class DatasetImage:
    """The files of an image. raw_labels: ids are mapped through the benchmark's raw_table."""

    image: Path
    labels: Path
    raw_labels: bool


def find_images(
    benchmark: Benchmark, root: Path, count: int | None = None
) -> tuple[DatasetImage, ...]:
    """The validation images in order, or ``count`` of them at even distances.

    root: the folder of the dataset, or mmsegmentation's ``data`` folder that contains it.
    Raises UsageError naming what is missing and how to prepare it.
    """
    folder = _dataset_folder(benchmark, root)
    images = _spread(_images(benchmark, folder), count)
    return tuple(_with_labels(benchmark, folder, image) for image in images)


@dataclass(frozen=True)
class DatasetSource:
    """Images of a benchmark, in order."""

    benchmark: Benchmark
    images: tuple[DatasetImage, ...]

    def open(self) -> DatasetSource:
        """Returns itself; each file is opened when it is read."""
        return self

    def samples(self, part: Part, count: SourceCount) -> Iterator[Sample]:
        """Decoded images with labels as class indices; pixels labelled 255 do not count.

        Raises UsageError for a file that cannot be read.
        """
        for place, entry in enumerate(self.images):
            if place in part:
                count.images += 1
                yield self._sample(entry, place)
        count.ended = part.stop is None or part.stop >= len(self.images)

    def _sample(self, entry: DatasetImage, place: int) -> Sample:
        image = _read_image(entry.image)
        labels = read_labels(self.benchmark, entry)
        if labels.shape != image.shape[:2]:
            raise UsageError(
                f"{entry.labels} is {labels.shape[1]}x{labels.shape[0]} and its image "
                f"{image.shape[1]}x{image.shape[0]}; unpack the dataset again."
            )
        return Sample(image, labels, None, place, entry.image.name)


def read_labels(benchmark: Benchmark, entry: DatasetImage) -> NDArray[np.uint8]:
    """Class indices uint8 [H, W], 255 where the pixel does not count; raises UsageError."""
    try:
        with Image.open(entry.labels) as picture:
            if picture.mode not in _LABEL_MODES:
                raise UsageError(
                    f"{entry.labels} is an image of mode {picture.mode}; labels must have one "
                    f"channel of 8 bits. {_how(benchmark)}"
                )
            labels = np.array(picture, np.uint8)
    except (OSError, UnidentifiedImageError) as error:
        raise UsageError(f"{entry.labels} cannot be read: {error}.") from error
    if entry.raw_labels:
        labels = np.array(benchmark.raw_table, np.uint8)[labels]
    return without_zero(labels) if benchmark.reduce_zero_label else labels


def without_zero(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Map 0 and 255 to 255, and decrease every other label by one."""
    return np.where(np.isin(labels, (0, IGNORE_INDEX)), IGNORE_INDEX, labels - 1).astype(np.uint8)


def label_ids(benchmark: Benchmark) -> IdMap:
    """From the labels of :func:`read_labels` to class indices."""
    count = benchmark.classes
    return IdMap.of({index: index for index in range(count)}, count, (IGNORE_INDEX,))


def _dataset_folder(benchmark: Benchmark, root: Path) -> Path:
    for folder in (root, root / benchmark.folder):
        if (folder / benchmark.images).is_dir():
            return folder
    raise UsageError(
        f"There is no folder {root / benchmark.images} and no folder "
        f"{root / benchmark.folder / benchmark.images}. {_how(benchmark)}"
    )


def _images(benchmark: Benchmark, folder: Path) -> list[Path]:
    images = folder / benchmark.images
    if benchmark.image_list is None:
        found = sorted(images.rglob(f"*{benchmark.image_suffix}"))
    else:
        found = [images / f"{stem}{benchmark.image_suffix}" for stem in _stems(benchmark, folder)]
    if not found:
        raise UsageError(
            f"There is no image *{benchmark.image_suffix} in {images}. {_how(benchmark)}"
        )
    return found


def _stems(benchmark: Benchmark, folder: Path) -> list[str]:
    assert benchmark.image_list is not None
    path = folder / benchmark.image_list
    try:
        return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise UsageError(
            f"The list {path} cannot be read ({error.strerror}). {_how(benchmark)}"
        ) from error


def _spread(images: list[Path], count: int | None) -> list[Path]:
    if count is None or count >= len(images):
        return images
    return [images[place * len(images) // count] for place in range(count)]


def _with_labels(benchmark: Benchmark, folder: Path, image: Path) -> DatasetImage:
    if not image.is_file():
        raise UsageError(f"The image {image} is missing. {_how(benchmark)}")
    below = image.relative_to(folder / benchmark.images).parent
    stem = image.name.removesuffix(benchmark.image_suffix)
    labels = folder / benchmark.labels / below / f"{stem}{benchmark.label_suffix}"
    if labels.is_file():
        return DatasetImage(image, labels, raw_labels=False)
    if benchmark.raw_label_suffix is not None:
        raw = labels.with_name(f"{stem}{benchmark.raw_label_suffix}")
        if raw.is_file():
            return DatasetImage(image, raw, raw_labels=True)
    raise UsageError(f"The labels {labels} are missing. {_how(benchmark)}")


def _read_image(path: Path) -> NDArray[np.uint8]:
    """uint8 RGB [H, W, 3] as stored; an EXIF rotation is ignored."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise UsageError(f"The image {path} cannot be decoded; unpack the dataset again.")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def _how(benchmark: Benchmark) -> str:
    return f"To prepare {benchmark.title}: {benchmark.prepare}."
