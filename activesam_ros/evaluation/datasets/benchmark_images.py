"""Find and read the images and labels of a benchmark, by the rules of dataset_table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from activesam_ros.errors import ImageError, UsageError, os_reason
from activesam_ros.evaluation.datasets.dataset_table import Benchmark
from activesam_ros.evaluation.datasets.sample_source import Sample, SourceCount
from activesam_ros.evaluation.scoring.metrics import IGNORE_INDEX, IdMap
from activesam_ros.execution.task import Part
from activesam_ros.image_files import (
    FULL_BIT_DEPTH,
    LARGEST_IMAGE_FILE,
    MAX_IMAGE_PIXELS,
    opened_image,
    read_image,
)
from activesam_ros.recordings.input_files import IMAGE_SUFFIXES
from activesam_ros.regular_files import read_regular

_LABEL_MODES = ("L", "P")
_LARGEST_LIST = 1 << 26
_SHOWN_NAMES = 3


@dataclass(frozen=True, slots=True)
class DatasetImage:
    """The files of an image. raw_labels: ids are mapped through the benchmark's raw_table."""

    image: Path
    labels: Path
    raw_labels: bool


@dataclass(frozen=True)
class FoundImages:
    """The images to evaluate, in order, and how many there are beside them.

    in_set: images of the validation set. folder: where they are; in_folder: image files in it.
    set_by: what says which of them belong to the set. left_out: names of some that do not.
    """

    images: tuple[DatasetImage, ...]
    in_set: int
    folder: Path
    in_folder: int
    set_by: str
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        """How many images are used, of how many; one sentence."""
        which = "all" if len(self.images) == self.in_set else f"{len(self.images)} of the"
        text = f"{which} {self.in_set} images of the validation set are used ({self.set_by})"
        others = self.in_folder - self.in_set
        if not others:
            return f"{text}; {self.folder} holds no others."
        return f"{text}; {self.folder} holds {others} other images, such as " + (
            f"{', '.join(self.left_out)}."
        )


def find_images(benchmark: Benchmark, root: Path, count: int | None = None) -> FoundImages:
    """The validation images, or ``count`` of them at even distances.

    root: the folder of the dataset, or mmsegmentation's ``data`` folder that contains it.
    Suffixes are compared in any case, and .jpeg counts as .jpg. Raises UsageError naming what is
    missing and how to prepare it, or two images of one name.
    """
    folder = _dataset_folder(benchmark, root)
    images = folder / benchmark.images
    present = sorted(path for path in images.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    stems = _stems_of(benchmark, images, present)
    if benchmark.image_list is None:
        set_by = f"files *{benchmark.image_suffix}"
        wanted = list(stems)
    else:
        set_by = benchmark.image_list
        wanted = [Path(stem) for stem in _listed_stems(benchmark, folder)]
    if not wanted:
        raise UsageError(
            f"There is no image *{benchmark.image_suffix} in {images}. {_how(benchmark)}"
        )
    labels = _labels_of(benchmark, folder)
    found = tuple(
        _with_labels(benchmark, folder, stem, stems, labels) for stem in _spread(wanted, count)
    )
    in_set = {stems[stem] for stem in wanted if stem in stems}
    left_out = [path for path in present if path not in in_set]
    return FoundImages(
        found,
        len(wanted),
        images,
        len(present),
        set_by,
        tuple(str(path.relative_to(images)) for path in left_out[:_SHOWN_NAMES]),
    )


@dataclass(frozen=True)
class DatasetSource:
    """Images of a benchmark, in order. bit_depth, max_pixels: as in Settings."""

    benchmark: Benchmark
    images: tuple[DatasetImage, ...]
    bit_depth: int = FULL_BIT_DEPTH
    max_pixels: int = MAX_IMAGE_PIXELS

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
        image = _read_image(entry.image, self.bit_depth, self.max_pixels)
        labels = read_labels(self.benchmark, entry, self.max_pixels)
        if labels.shape != image.shape[:2]:
            raise UsageError(
                f"{entry.labels} is {labels.shape[1]}x{labels.shape[0]} and its image "
                f"{image.shape[1]}x{image.shape[0]}; unpack the dataset again."
            )
        return Sample(image, labels, None, place, entry.image.name)


def read_labels(
    benchmark: Benchmark, entry: DatasetImage, max_pixels: int = MAX_IMAGE_PIXELS
) -> NDArray[np.uint8]:
    """Class indices uint8 [H, W], 255 where the pixel does not count; raises UsageError."""
    try:
        with opened_image(read_regular(entry.labels, LARGEST_IMAGE_FILE), max_pixels) as picture:
            if picture.mode not in _LABEL_MODES:
                raise UsageError(
                    f"{entry.labels} is an image of mode {picture.mode}; labels must have one "
                    f"channel of 8 bits. {_how(benchmark)}"
                )
            labels = np.array(picture, np.uint8)
    except UsageError:
        raise
    except Exception as error:  # what Pillow raises is not listed
        why = getattr(error, "strerror", None) or str(error).rstrip(".") or type(error).__name__
        raise UsageError(f"{entry.labels} cannot be read: {why}.") from error
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


def _stem(name: str, suffix: str) -> str | None:
    """``name`` without ``suffix``, None if it ends otherwise; .jpeg counts as .jpg."""
    for ending in (suffix, suffix.replace(".jpg", ".jpeg")):
        if name.lower().endswith(ending.lower()):
            return name[: -len(ending)]
    return None


def _stems_of(benchmark: Benchmark, images: Path, present: list[Path]) -> dict[Path, Path]:
    """The images below ``images`` by their path without the suffix; raises UsageError."""
    stems: dict[Path, Path] = {}
    for path in present:
        stem = _stem(path.name, benchmark.image_suffix)
        if not stem:
            continue
        key = path.relative_to(images).with_name(stem)
        if key in stems:
            raise UsageError(
                f"{stems[key]} and {path} are two images of one name, with the same labels; remove "
                "one of them."
            )
        stems[key] = path
    return stems


def _listed_stems(benchmark: Benchmark, folder: Path) -> list[str]:
    assert benchmark.image_list is not None
    path = folder / benchmark.image_list
    try:
        text = read_regular(path, _LARGEST_LIST).decode("utf-8", "replace")
        return [line.strip() for line in text.splitlines() if line.strip()]
    except OSError as error:
        raise UsageError(
            f"The list {path} cannot be read ({os_reason(error)}). {_how(benchmark)}"
        ) from error


def _spread(images: list[Path], count: int | None) -> list[Path]:
    if count is None or count >= len(images):
        return images
    return [images[place * len(images) // count] for place in range(count)]


def _labels_of(benchmark: Benchmark, folder: Path) -> dict[str, Path]:
    """The files with labels by their path below the folder of labels, the suffix in lower case."""
    labels = folder / benchmark.labels
    return {
        str(path.relative_to(labels).with_suffix(path.suffix.lower())): path
        for path in sorted(labels.rglob("*.*"))
    }


def _with_labels(
    benchmark: Benchmark,
    folder: Path,
    stem: Path,
    images: Mapping[Path, Path],
    labels: Mapping[str, Path],
) -> DatasetImage:
    """The files of the image ``stem``, a path below the folder of images without its suffix."""
    if stem not in images:
        missing = folder / benchmark.images / f"{stem}{benchmark.image_suffix}"
        raise UsageError(f"The image {missing} is missing. {_how(benchmark)}")
    for suffix in (benchmark.label_suffix, benchmark.raw_label_suffix):
        found = None if suffix is None else labels.get(f"{stem}{suffix}")
        if found is not None:
            return DatasetImage(images[stem], found, raw_labels=suffix != benchmark.label_suffix)
    missing = folder / benchmark.labels / f"{stem}{benchmark.label_suffix}"
    raise UsageError(f"The labels {missing} are missing. {_how(benchmark)}")


def _read_image(path: Path, bit_depth: int, max_pixels: int) -> NDArray[np.uint8]:
    """uint8 RGB [H, W, 3]; raises UsageError."""
    try:
        return read_image(path, bit_depth, max_pixels)
    except ImageError as error:
        raise UsageError(f"{str(error).rstrip('.')}; unpack the dataset again.") from error


def _how(benchmark: Benchmark) -> str:
    return f"To prepare {benchmark.title}: {benchmark.prepare}."
