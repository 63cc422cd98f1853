"""Corruptions equal ImageNet-C's in every process; their results."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from activesam_ros.errors import MissingDependencyError, UsageError
from activesam_ros.evaluation.corruption_results import corruption_results, corruption_table
from activesam_ros.evaluation.corruptions import catalogue as corruptions
from activesam_ros.evaluation.corruptions.catalogue import (
    FROST_FILES,
    NAMES,
    PAPER_CORRUPTIONS,
    SEVERITIES,
    Corrupter,
    Corruption,
    CorruptionPlan,
    image_random,
    parse_corruptions,
)
from activesam_ros.evaluation.datasets.sample_source import Sample
from activesam_ros.evaluation.evaluator import Evaluator
from activesam_ros.evaluation.scoring.results import document
from activesam_ros.evaluation.scoring.tally import prediction_ids
from activesam_ros.segmentation.methods import Method

if TYPE_CHECKING:
    from test.fixtures.recording_fixtures import FakeSegmenter

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def golden(repository: Path) -> ModuleType:
    """The script that made golden.npz: the image, the seed and the stand-ins for frost."""
    path = repository / "test/data/corruptions/make_golden.py"
    spec = importlib.util.spec_from_file_location("make_golden", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def originals(golden: ModuleType) -> dict[str, NDArray[np.uint8]]:
    with np.load(Path(str(golden.__file__)).with_name("golden.npz")) as stored:
        return dict(stored)


@pytest.fixture
def frost_folder(golden: ModuleType, tmp_path: Path) -> Path:
    for name, picture in zip(FROST_FILES, golden.frost_pictures(), strict=True):
        # losslessly, whatever the name ends in: readers go by the content
        (tmp_path / name).write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    return tmp_path


def corrupter(*wanted: Corruption, seed: int = 0, frost: Path | None = None) -> Corrupter:
    return Corrupter(CorruptionPlan(wanted, seed, frost))


def one(image: NDArray[np.uint8], wanted: Corruption, place: int = 0, **plan: Any) -> Any:
    ((made, result),) = corrupter(wanted, **plan).corrupted(image, place, "image")
    assert made == wanted
    return result


@pytest.mark.parametrize("name", NAMES)
def test_results_equal_those_of_the_original(
    name: str,
    golden: ModuleType,
    originals: dict[str, NDArray[np.uint8]],
    frost_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        corruptions, "image_random", lambda *key: np.random.RandomState(golden.SEED)
    )
    for severity in SEVERITIES:
        made = one(golden.scene(), Corruption(name, severity), frost=frost_folder)
        seen = made[5 :: golden.EVERY, 5 :: golden.EVERY].astype(int)
        difference = np.abs(seen - originals[f"{name}:{severity}"])
        if name == "brightness":  # another way to HSV and back: the last bit of a product differs
            assert difference.max() <= 1
            assert np.count_nonzero(difference) <= 0.005 * difference.size
        else:
            assert difference.max() == 0, severity


def test_frost_with_the_pictures_of_imagenet_c_equals_the_original(
    golden: ModuleType, originals: dict[str, NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("imagecorruptions") is None:
        pytest.skip("the pictures of frost are not installed (requirements/frost.txt)")
    for severity in SEVERITIES:
        random = np.random.RandomState(golden.SEED + severity)
        monkeypatch.setattr(corruptions, "image_random", lambda *key, random=random: random)
        made = one(golden.scene(), Corruption("frost", severity))
        np.testing.assert_array_equal(
            made[5 :: golden.EVERY, 5 :: golden.EVERY],
            originals[f"{golden.REAL_FROST}:{severity}"],
        )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(48, 80), (301, 260), (32, 32)])
def test_images_of_any_size_are_corrupted_more_by_higher_severities(
    name: str, size: tuple[int, int], golden: ModuleType, frost_folder: Path
) -> None:
    image = cv2.resize(golden.scene(), size[::-1])
    before = image.copy()
    errors = []
    for severity in (1, 5):
        made = one(np.asarray(image, np.uint8), Corruption(name, severity), frost=frost_folder)
        assert (made.shape, made.dtype) == (image.shape, np.uint8)
        errors.append(float(np.abs(made.astype(float) - image).mean()))
    np.testing.assert_array_equal(image, before)
    assert min(errors) > 1
    if name not in ("elastic_transform", "frost"):  # whose first severities displace or cover more
        assert errors[1] > errors[0]


def test_an_image_has_random_numbers_of_its_own(golden: ModuleType) -> None:
    image, noise = golden.scene(), Corruption("gaussian_noise", 2)
    first = one(image, noise)
    np.testing.assert_array_equal(first, one(image, noise))
    assert not np.array_equal(first, one(image, noise, place=1))
    assert not np.array_equal(first, one(image, noise, seed=1))
    several = dict(corrupter(Corruption("fog", 1), noise).corrupted(image, 0, "image"))
    np.testing.assert_array_equal(first, several[noise])
    # the key is part of the contract: results of different releases are compared
    assert image_random(0, "fog", 3, "a.jpg").randint(1 << 30) == 762445224
    assert image_random(0, "fog", 3, "b.jpg").randint(1 << 30) != 762445224


def test_nothing_global_decides(golden: ModuleType) -> None:
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.random_sample()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    for name in ("impulse_noise", "glass_blur", "snow"):
        one(golden.scene(), Corruption(name, 1))
    assert np.random.random_sample() == expected  # noqa: NPY002


def test_corruptions_are_named_with_a_severity_in_lists_or_all_at_once() -> None:
    assert parse_corruptions(["fog:2, snow", "fog:2"]) == (
        Corruption("fog", 2),
        Corruption("snow", 5),
    )
    assert [each.name for each in parse_corruptions(["all:3"])] == list(NAMES)
    assert parse_corruptions([]) == ()
    assert ", ".join(map(str, PAPER_CORRUPTIONS)) == (
        "gaussian_noise:5, motion_blur:5, jpeg_compression:5, fog:5"
    )
    for wrong, message in {
        "rain": "'rain' is unknown; give one of gaussian_noise",
        "fog:6": "the severity '6'; give one from 1 to 5",
        "fog:": "the severity ''",
        "": "'' is unknown",
    }.items():
        with pytest.raises(UsageError, match=message):
            parse_corruptions([wrong])


def test_frost_without_its_pictures_is_refused(
    tmp_path: Path, frost_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"frost .*pip install --no-deps"):
        corrupter(Corruption("frost", 1))
    corrupter(Corruption("fog", 1))
    (frost_folder / FROST_FILES[3]).write_bytes(b"no picture")
    with pytest.raises(MissingDependencyError, match=r"frost4.jpg cannot be read"):
        corrupter(Corruption("frost", 1), frost=frost_folder)


def test_the_pictures_of_an_installed_package_are_found(
    golden: ModuleType, frost_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = frost_folder / "imagecorruptions"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('must not be imported')")
    frost = Corruption("frost", 3)
    expected = one(golden.scene(), frost, frost=frost_folder)
    (package / "frost").mkdir()
    for name in FROST_FILES:
        (frost_folder / name).rename(package / "frost" / name)
    monkeypatch.syspath_prepend(frost_folder)
    np.testing.assert_array_equal(one(golden.scene(), frost), expected)


def test_scipy_is_asked_for_only_where_something_is_corrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "activesam_ros.evaluation.corruptions.blur", raising=False)
    monkeypatch.delattr("activesam_ros.evaluation.corruptions.blur", raising=False)
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(MissingDependencyError, match=r"need SciPy .*\.\[corruptions\]"):
        corrupter(Corruption("fog", 1))


def test_images_too_small_are_refused() -> None:
    image = np.zeros((31, 64, 3), np.uint8)
    with pytest.raises(UsageError, match=r"image \(number 0\) is 64x31; .* at least 32"):
        one(image, Corruption("fog", 1))


def test_results_have_a_run_for_each_corruption_and_the_mean_drop(fake: FakeSegmenter) -> None:
    # the fake labels by red level: contrast 5 of 0 and 1 in equal shares makes all of them 0
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 16:] = 1
    labels = image[..., 0]
    wanted = (Corruption("contrast", 5), Corruption("jpeg_compression", 1))
    evaluator = Evaluator(
        {Method.ACTIVESAM: fake},
        fake.vocabulary,
        prediction_ids(fake.vocabulary),
        CPU,
        corrupter=corrupter(*wanted),
    )
    sample = Sample(image, labels, None, 0, "a")
    halves = [evaluator.run([each], lambda: None) for each in (sample, sample)]
    halves[0].extend(halves[1])
    content = document(halves[0].clean, {}, {})
    assert content["methods"]["activesam"]["miou"] == 1.0
    told = corruption_results(halves[0], 7)
    assert list(told["runs"]) == ["contrast:5", "jpeg_compression:1"]
    under = told["runs"]["contrast:5"]["methods"]["activesam"]
    assert (under["frames"], under["miou"], under["agreement_with_clean"]) == (2, 0.25, 0.5)
    # What pruning loses is told of the clean images alone.
    clean = {*content["methods"]["activesam"]} - {"classes_lost_by_pruning", "lost_classes"}
    assert set(under) == {*clean, "agreement_with_clean"}
    jpeg = told["runs"]["jpeg_compression:1"]["methods"]["activesam"]["miou"]
    mean = told["mean"]["activesam"]
    assert mean["miou"] == pytest.approx((0.25 + jpeg) / 2)
    assert mean["miou_drop"] == pytest.approx(1 - mean["miou"])
    assert told["seed"] == 7
    table = corruption_table(content | {"corruptions": told}).splitlines()
    assert [line.split()[0] for line in table] == [
        "labelled", "clean", "contrast:5", "jpeg_compression:1", "mean", "mean",
    ]  # fmt: skip
    assert table[2].split() == ["contrast:5", "25.0"]


def test_without_labels_agreement_with_the_clean_image_is_told(fake: FakeSegmenter) -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 16:] = 1
    sample = Sample(image, None, None, 0, "a")
    evaluator = Evaluator(
        {Method.FULL: fake},
        fake.vocabulary,
        None,
        CPU,
        corrupter=corrupter(Corruption("contrast", 5)),
    )
    tallies = evaluator.run([sample, dataclasses.replace(sample, place=1)], lambda: None)
    told = corruption_results(tallies, 0)
    assert told["mean"]["full"] == {
        "miou": None,
        "miou_of_labelled_classes": None,
        "miou_of_labelled_classes_drop": None,
        "pixel_accuracy": None,
        "agreement_with_clean": 0.5,
        "miou_drop": None,
        "pixel_accuracy_drop": None,
    }
    content = document(tallies.clean, {}, {}) | {"corruptions": told}
    assert corruption_table(content).splitlines()[-1].split() == ["mean", "50.0"]
