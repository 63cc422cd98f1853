"""The eight benchmarks: layouts, label rules, published settings and figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from activesam_ros.cli import main
from activesam_ros.commands.evaluate_dataset import (
    benchmark_settings,
    checked_vocabulary,
    published_table,
)
from activesam_ros.errors import UsageError
from activesam_ros.evaluation.datasets.benchmark_images import (
    DatasetImage,
    DatasetSource,
    find_images,
    label_ids,
    read_labels,
    without_zero,
)
from activesam_ros.evaluation.datasets.dataset_table import (
    BENCHMARK_NAMES,
    BENCHMARKS,
    Benchmark,
    benchmark_named,
    coco_object_table,
    coco_stuff_table,
)
from activesam_ros.evaluation.datasets.sample_source import Sample, SourceCount
from activesam_ros.execution.task import Part
from activesam_ros.prompts.vocabulary import vocabulary_from_names
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.segmentation.background import background_class, background_label
from activesam_ros.segmentation.methods import Method
from activesam_ros.settings import Settings

Labels = NDArray[np.uint8]


def samples(benchmark: Benchmark, images: tuple[DatasetImage, ...]) -> Iterator[Sample]:
    return DatasetSource(benchmark, images).samples(Part(0), SourceCount())


def write(
    benchmark: Benchmark, root: Path, stem: str, labels: Labels, *, raw: bool = False
) -> DatasetImage:
    """An image of the size of ``labels`` and the labels in the benchmark's layout."""
    below = "aachen" if benchmark.name == "cityscapes" else ""
    image = root / benchmark.images / below / f"{stem}{benchmark.image_suffix}"
    suffix = benchmark.raw_label_suffix if raw else benchmark.label_suffix
    label_file = root / benchmark.labels / below / f"{stem}{suffix}"
    for file in (image, label_file):
        file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(image), np.full((*labels.shape, 3), 128, np.uint8))
    picture = Image.fromarray(labels)
    if benchmark.name.startswith("voc"):
        picture.putpalette([channel for level in range(256) for channel in (level, 0, 0)])
    picture.save(label_file)
    if benchmark.image_list is not None:
        stems = root / benchmark.image_list
        stems.parent.mkdir(parents=True, exist_ok=True)
        with stems.open("a") as stream:
            stream.write(f"{stem}\n")
    return DatasetImage(image, label_file, raw)


# labels as stored, and the class indices they stand for
RULES = {
    "voc21": ([[0, 1, 20, 255]], [[0, 1, 20, 255]]),
    "voc20": ([[0, 1, 20, 255]], [[255, 0, 19, 255]]),
    "context60": ([[0, 1, 59]], [[0, 1, 59]]),
    "context59": ([[0, 1, 59]], [[255, 0, 58]]),
    "coco_object": ([[0, 1, 80]], [[0, 1, 80]]),
    "coco_stuff": ([[0, 170, 255]], [[0, 170, 255]]),
    "cityscapes": ([[0, 18, 255]], [[0, 18, 255]]),
    "ade20k": ([[0, 1, 150]], [[255, 0, 149]]),
}


@pytest.mark.parametrize("name", BENCHMARK_NAMES)
@pytest.mark.parametrize("below_data", [False, True])
def test_labels_are_read_by_the_rules_of_the_benchmark(
    name: str, below_data: bool, tmp_path: Path
) -> None:
    benchmark = benchmark_named(name)
    stored, expected = RULES[name]
    folder = tmp_path / benchmark.folder if below_data else tmp_path
    write(benchmark, folder, "a_1", np.array(stored, np.uint8))
    (sample,) = samples(benchmark, find_images(benchmark, tmp_path).images)
    assert sample.image.shape == (*np.shape(stored), 3)
    assert sample.stamp_ns is None
    np.testing.assert_array_equal(sample.labels, expected)


@pytest.mark.parametrize("name", BENCHMARK_NAMES)
def test_the_bundled_vocabulary_has_the_classes_of_the_benchmark(name: str) -> None:
    benchmark = benchmark_named(name)
    vocabulary = checked_vocabulary(benchmark, load_vocabulary(benchmark.name))
    assert vocabulary.name == name
    assert [entry.id for entry in vocabulary.classes] == list(range(benchmark.classes))
    has_background = vocabulary.classes[0].name == "background"
    assert has_background == (benchmark.background_threshold > 0)


def test_a_vocabulary_of_another_size_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'voc20' has 20 classes and .* 21"):
        checked_vocabulary(benchmark_named("voc21"), load_vocabulary("voc20"))


def test_coco_ids_leave_out_what_was_never_annotated() -> None:
    stuff = coco_stuff_table()
    kept = [id for id, train_id in enumerate(stuff) if train_id != 255]
    assert len(kept) == 171
    assert [stuff[id] for id in kept] == list(range(171))
    # known points: person, stop sign, dining table, toothbrush, banner (first stuff), the last
    assert [stuff[id] for id in (0, 12, 66, 89, 91, 181)] == [0, 11, 60, 79, 80, 170]
    things = coco_object_table()
    assert [things[id] for id in (0, 12, 89, 91, 181, 255, 11)] == [1, 12, 80, 0, 0, 0, 0]


@pytest.mark.parametrize("name", ["coco_stuff", "coco_object"])
def test_cocos_own_pixel_maps_are_read_as_they_are(name: str, tmp_path: Path) -> None:
    benchmark = benchmark_named(name)
    write(benchmark, tmp_path, "000000000139", np.array([[0, 12, 91, 255]], np.uint8), raw=True)
    (sample,) = samples(benchmark, find_images(benchmark, tmp_path).images)
    expected = {"coco_stuff": [[0, 11, 80, 255]], "coco_object": [[1, 12, 0, 0]]}
    np.testing.assert_array_equal(sample.labels, expected[name])


def test_prepared_labels_come_before_raw_ones(tmp_path: Path) -> None:
    benchmark = benchmark_named("coco_stuff")
    write(benchmark, tmp_path, "139", np.array([[12]], np.uint8), raw=True)
    write(benchmark, tmp_path, "139", np.array([[11]], np.uint8))
    (entry,) = find_images(benchmark, tmp_path).images
    assert not entry.raw_labels
    assert read_labels(benchmark, entry) == [[11]]


@given(st.lists(st.integers(0, 255), min_size=1, max_size=20))
def test_without_zero_shifts_labels_and_keeps_255(values: list[int]) -> None:
    shifted = without_zero(np.array(values, np.uint8))
    assert shifted.tolist() == [255 if value in (0, 255) else value - 1 for value in values]


@pytest.mark.parametrize(
    ("count", "stems"), [(None, "abcdef"), (6, "abcdef"), (99, "abcdef"), (3, "ace"), (1, "a")]
)
def test_fewer_images_are_spread_over_all(count: int | None, stems: str, tmp_path: Path) -> None:
    benchmark = benchmark_named("ade20k")
    for stem in "fbdace":
        write(benchmark, tmp_path, stem, np.ones((2, 2), np.uint8))
    found = find_images(benchmark, tmp_path, count)
    assert "".join(entry.image.stem for entry in found.images) == stems
    assert (found.in_set, found.in_folder) == (6, 6)


@pytest.mark.parametrize("name", BENCHMARK_NAMES)
def test_suffixes_count_in_any_case_with_the_labels_of_their_image(
    name: str, tmp_path: Path
) -> None:
    benchmark = benchmark_named(name)
    suffix = Path(f"a{benchmark.image_suffix}").suffix
    renamed = {"a": suffix, "b": suffix.upper(), "A": suffix}
    if suffix == ".jpg":
        renamed |= {"c": ".jpeg", "d": ".JPEG", "e": ".Jpg"}
    for place, (stem, new_suffix) in enumerate(renamed.items()):
        entry = write(benchmark, tmp_path, stem, np.full((2, 2), 1 + place, np.uint8))
        entry.image.rename(entry.image.with_suffix(new_suffix))
        if stem == "b":
            entry.labels.rename(entry.labels.with_suffix(".PNG"))
    found = find_images(benchmark, tmp_path)
    assert (len(found.images), found.in_set, found.in_folder) == (len(renamed),) * 3
    read = {
        sample.name[0]: int(sample.labels[0, 0]) if sample.labels is not None else -1
        for sample in samples(benchmark, found.images)
    }
    shift = 0 if benchmark.reduce_zero_label else 1
    assert read == {stem: place + shift for place, stem in enumerate(renamed)}


def test_what_the_folder_holds_beside_the_set_is_counted_and_said(tmp_path: Path) -> None:
    for name, others in (("ade20k", "z.webp"), ("voc21", "z.jpg")):
        benchmark, root = benchmark_named(name), tmp_path / name
        for stem in "abcd":
            write(benchmark, root, stem, np.ones((2, 2), np.uint8))
        (root / benchmark.images / others).touch()
        (root / benchmark.images / "readme.txt").touch()
        found = find_images(benchmark, root, 2)
        assert (len(found.images), found.in_set, found.in_folder) == (2, 4, 5)
        assert f"2 of the 4 images of the validation set are used ({found.set_by})" in str(found)
        assert f"holds 1 other images, such as {others}." in str(found)
    assert "all 4 images of the validation set" in str(find_images(benchmark, root))


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    benchmark = benchmark_named("ade20k")
    entry = write(benchmark, tmp_path, "a", np.ones((2, 2), np.uint8))
    entry.image.with_suffix(".JPEG").write_bytes(entry.image.read_bytes())
    with pytest.raises(UsageError, match=r"a\.JPEG and .*a\.jpg are two images of one name"):
        find_images(benchmark, tmp_path)


def nothing(benchmark: Benchmark, root: Path, entry: DatasetImage) -> Path:
    entry.image.unlink()
    for folder in sorted((root / benchmark.images).rglob("*"), reverse=True):
        folder.rmdir()
    (root / benchmark.images).rmdir()
    return root / benchmark.images


def no_labels(benchmark: Benchmark, root: Path, entry: DatasetImage) -> Path:
    entry.labels.unlink()
    return entry.labels


def no_image(benchmark: Benchmark, root: Path, entry: DatasetImage) -> Path:
    entry.image.unlink()
    return entry.image if benchmark.image_list else root / benchmark.images


def no_list(benchmark: Benchmark, root: Path, entry: DatasetImage) -> Path:
    path = root / (benchmark.image_list or benchmark.images)
    if benchmark.image_list:
        path.unlink()
    else:
        entry.image.unlink()
    return path


@pytest.mark.parametrize("damage", [nothing, no_labels, no_image, no_list])
@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=BENCHMARK_NAMES)
def test_what_is_missing_is_named_with_how_to_prepare_it(
    benchmark: Benchmark,
    damage: Callable[[Benchmark, Path, DatasetImage], Path],
    tmp_path: Path,
) -> None:
    entry = write(benchmark, tmp_path, "a", np.ones((2, 2), np.uint8))
    missing = damage(benchmark, tmp_path, entry)
    with pytest.raises(UsageError) as caught:
        find_images(benchmark, tmp_path)
    assert str(missing) in str(caught.value)
    assert benchmark.prepare in str(caught.value)


def test_labels_in_colour_or_of_another_size_are_refused(tmp_path: Path) -> None:
    benchmark = benchmark_named("ade20k")
    entry = write(benchmark, tmp_path, "a", np.ones((2, 2), np.uint8))
    Image.fromarray(np.ones((2, 2, 3), np.uint8)).save(entry.labels)
    with pytest.raises(UsageError, match="mode RGB"):
        read_labels(benchmark, entry)
    Image.fromarray(np.ones((3, 2), np.uint8)).save(entry.labels)
    with pytest.raises(UsageError, match="is 2x3 and its image 2x2"):
        list(samples(benchmark, (entry,)))
    entry.labels.write_bytes(b"no picture")
    with pytest.raises(UsageError, match="cannot be read"):
        read_labels(benchmark, entry)
    entry.image.write_bytes(b"no picture")
    with pytest.raises(UsageError, match="not an image that can be decoded"):
        list(samples(benchmark, (entry,)))


def test_an_image_is_turned_upright_as_everywhere_and_labels_belong_to_it(tmp_path: Path) -> None:
    benchmark = benchmark_named("ade20k")
    entry = write(benchmark, tmp_path, "a", np.ones((48, 32), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # its top is at the right
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:, :24] = 255
    Image.fromarray(stored).save(entry.image, exif=exif, quality=100)
    (sample,) = samples(benchmark, (entry,))
    assert sample.image.shape == (48, 32, 3)
    assert sample.image[:24].min() > 250
    assert sample.image[24:].max() < 5


def test_labels_count_as_indices_and_255_does_not() -> None:
    ids = label_ids(benchmark_named("voc20"))
    assert ids.indices(np.array([0, 19, 20, 255], np.uint8)).tolist() == [0, 19, 20, -1]


SEGEARTH_CONFIDENCE = {
    "voc21": 0.5, "context60": 0.3, "coco_object": 0.5, "voc20": 0.2, "context59": 0.3,
    "coco_stuff": 0.2, "cityscapes": 0.3, "ade20k": 0.3,
}  # fmt: skip
BACKGROUND_THRESHOLD = {"voc21": 0.4, "context60": 0.1, "coco_object": 0.4}


@pytest.mark.parametrize("name", BENCHMARK_NAMES)
def test_each_method_has_its_published_settings(name: str) -> None:
    benchmark, vocabulary = benchmark_named(name), load_vocabulary(name)
    settings = {method: benchmark_settings(benchmark, method, vocabulary, []) for method in Method}
    confidence = {method.value: entry.confidence_threshold for method, entry in settings.items()}
    assert confidence == {
        "activesam": 0.3, "activesam2": 0.3, "full": 0.3, "sam3": 0.5,
        "segearth": SEGEARTH_CONFIDENCE[name],
    }  # fmt: skip
    threshold = BACKGROUND_THRESHOLD.get(name, 0.0)
    for method, entry in settings.items():
        # The second version of ActiveSAM has no threshold that differs between data sets.
        expected = 0.0 if method is Method.ACTIVESAM2 else threshold
        assert entry.background_threshold == expected, method
        assert entry.background_class == ("background" if threshold else "")


@pytest.mark.parametrize("name", BENCHMARK_NAMES)
def test_background_is_a_class_where_the_benchmark_counts_it(name: str) -> None:
    benchmark, vocabulary = benchmark_named(name), load_vocabulary(name)
    settings = benchmark_settings(benchmark, Method.ACTIVESAM2, vocabulary, [])
    named = background_class(vocabulary, settings)
    assert named == background_class(vocabulary, Settings())
    label = background_label(vocabulary, settings)
    if name in BACKGROUND_THRESHOLD:
        assert named == vocabulary.classes[0]
        assert label == 0
    else:
        assert named is None
        assert label not in {entry.id for entry in vocabulary.classes}


def test_another_name_of_the_background_counts_as_background() -> None:
    names = ["nothing in particular", *(f"thing {place}" for place in range(1, 21))]
    vocabulary = vocabulary_from_names(names)
    for method in Method:
        settings = benchmark_settings(benchmark_named("voc21"), method, vocabulary, [])
        assert background_label(vocabulary, settings) == vocabulary.classes[0].id


def test_the_user_overrides_the_published_settings() -> None:
    voc21, vocabulary = benchmark_named("voc21"), load_vocabulary("voc21")
    changed = benchmark_settings(
        voc21, Method.SEGEARTH, vocabulary, ["background_threshold=0.2", "confidence_threshold=0.1"]
    )
    assert (changed.background_threshold, changed.confidence_threshold) == (0.2, 0.1)
    with pytest.raises(UsageError, match=r"streaming=true cannot be used with 'voc21'"):
        benchmark_settings(voc21, Method.ACTIVESAM, vocabulary, ["streaming=true"])


def test_published_figures_stand_beside_the_measured_ones() -> None:
    measured = {
        "full": {"miou": 0.5, "frames_per_second": 2.0},
        "activesam2": {"miou": 0.41, "frames_per_second": 5.0},
        "segearth": {"miou": 0.38, "frames_per_second": 0.5},
    }
    lines = published_table(benchmark_named("ade20k"), measured).splitlines()
    # mIoU and its published mean over the eight; frames/s; times the speed of segearth
    assert [line.split() for line in lines[1:]] == [
        ["full", "50.0", "-", "-", "2.00", "-", "4.0", "-"],
        ["activesam2", "41.0", "-", "66.0", "5.00", "-", "10.0", "7.3-12.2"],
        ["segearth", "38.0", "37.6", "63.9", "0.50", "0.35", "1.0", "1.0"],
        ["activesam", "-", "40.0", "65.3", "-", "1.92", "-", "5.5"],
        ["sam3", "-", "-", "57.5", "-", "0.13", "-", "0.4"],
    ]
    alone = published_table(benchmark_named("voc20"), {"activesam2": measured["activesam2"]})
    assert alone.splitlines()[1].split() == [
        "activesam2", "41.0", "-", "66.0", "5.00", "-", "-", "7.3-12.2",
    ]  # fmt: skip


def test_the_mean_of_the_published_figures_is_the_published_mean() -> None:
    for method, mean in ((Method.ACTIVESAM, 0.653), (Method.SEGEARTH, 0.639)):
        assert {benchmark.published[method].mean_miou for benchmark in BENCHMARKS} == {mean}
        figures = [benchmark.published[method].miou for benchmark in BENCHMARKS]
        known = [miou for miou in figures if miou is not None]
        assert len(known) == 8
        assert sum(known) / 8 == pytest.approx(mean, abs=0.0006)


def test_the_command_evaluates_a_dataset_with_the_real_network(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = benchmark_named("voc20")
    data, output = tmp_path / "data", tmp_path / "results"
    for stem in ("2007_000033", "2007_000042"):
        write(benchmark, data / benchmark.folder, stem, np.full((20, 30), 7, np.uint8))
    command = (
        f"evaluate dataset voc20 --root {data} --n-images 1 --weights {weights} "
        f"--cache-dir {tmp_path} --method activesam,full,segearth,sam3 --output {output}"
    )
    assert main(command.split()) == 0
    content = json.loads((output / "results.json").read_text())
    results = content["methods"]["activesam"]
    assert (results["frames"], results["labelled_frames"]) == (1, 1)
    matrix = results["confusion_matrix"]
    labelled = dict(zip(matrix["classes"], map(sum, matrix["counts"]), strict=False))
    assert {name: pixels for name, pixels in labelled.items() if pixels} == {"car": 600}
    assert results["temporal_flicker"] is None
    assert list(content["methods"]) == ["activesam", "full", "segearth", "sam3"]
    assert content["published"]["activesam"]["miou"] == pytest.approx(0.97)
    assert {key: content["dataset"][key] for key in ("images", "images_in_set", "set_by")} == {
        "images": 1, "images_in_set": 2, "set_by": "ImageSets/Segmentation/val.txt",
    }  # fmt: skip
    told = capsys.readouterr()
    assert "published" in told.out
    assert "activesam: 1 of the 2 images of the validation set are used" in told.err
    assert main(command.split()) == 2
    assert "has the results.json of an earlier evaluation" in capsys.readouterr().err
    command += " --overwrite"
    assert main(command.replace("--n-images 1", "--n-images 0").split()) == 2
    assert main(command.replace(f"--root {data}", f"--root {output}").split()) == 2
    assert "To prepare Pascal VOC 2012" in capsys.readouterr().err
