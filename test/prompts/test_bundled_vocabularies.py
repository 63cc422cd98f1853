"""The vocabularies under config/vocabularies/."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from activesam_ros.prompts.colors import overlay_distances
from activesam_ros.prompts.hypernyms import HypernymLookup
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.prompts.vocabulary_files import load_vocabulary, preset_names
from activesam_ros.prompts.vocabulary_writer import vocabulary_to_yaml

SIZES = {
    "ade20k": 150,
    "cityscapes": 19,
    "coco_object": 81,
    "coco_stuff": 171,
    "context59": 59,
    "context60": 60,
    "voc20": 20,
    "voc21": 21,
}
BENCHMARKS = sorted(SIZES)
VEHICLES = ("car", "truck", "bus", "train", "motorcycle", "bicycle")


@pytest.fixture(scope="module", params=preset_names())
def preset(request: pytest.FixtureRequest) -> Vocabulary:
    return load_vocabulary(request.param)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_has_its_classes_in_order(name: str) -> None:
    vocabulary = load_vocabulary(name)
    assert vocabulary.name == name
    assert [entry.id for entry in vocabulary.classes] == list(range(SIZES[name]))


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("cityscapes", "aliases_no_preview"),
        ("coco_object", "aliases_background"),
        ("context60", "background"),
        ("context59", "no_background"),
    ],
)
def test_a_benchmark_asks_the_queries_of_its_golden_case(
    golden: Path, name: str, case: str
) -> None:
    listed = load_vocabulary(str(golden / f"{case}.vocabulary.txt"))
    bundled = load_vocabulary(name)
    assert bundled.queries == listed.queries
    assert bundled.query_class == listed.query_class


@pytest.mark.parametrize("name", ["coco_object", "context60", "voc21"])
def test_background_is_class_zero_and_black(name: str) -> None:
    background = load_vocabulary(name).classes[0]
    assert (background.id, background.name, background.color) == (0, "background", (0, 0, 0))


@pytest.mark.parametrize(
    ("name", "class_name", "color"),
    [
        ("cityscapes", "road", (128, 64, 128)),
        ("cityscapes", "bicycle", (119, 11, 32)),
        ("voc21", "person", (192, 128, 128)),
        ("voc20", "person", (192, 128, 128)),
        ("voc21", "tvmonitor", (0, 64, 128)),
        ("ade20k", "wall", (120, 120, 120)),
        ("ade20k", "flag", (92, 0, 255)),
        ("driving", "car", (0, 0, 142)),
    ],
)
def test_the_datasets_colors_are_kept(
    name: str, class_name: str, color: tuple[int, int, int]
) -> None:
    assert load_vocabulary(name).class_named(class_name).color == color


def test_driving_has_all_of_cityscapes_behind_the_unlabelled_zero() -> None:
    driving, cityscapes = load_vocabulary("driving"), load_vocabulary("cityscapes")
    assert [entry.id for entry in driving.classes] == list(range(1, len(driving.classes) + 1))
    for entry in cityscapes.classes:
        twin = next(other for other in driving.classes if other.id == entry.id + 1)
        assert twin.color == entry.color
        keys = [name.replace(" ", "") for name in twin.names]
        assert [name.replace(" ", "") for name in entry.names] == keys[: len(entry.names)]


def test_driving_pins_people_and_cars() -> None:
    driving = load_vocabulary("driving")
    pinned = {entry.name for entry in driving.classes if entry.pinned}
    assert pinned == {"person", "rider", "car", "wheelchair", "baby stroller"}
    assert len({entry.color for entry in driving.classes}) == len(driving.classes)


@pytest.mark.parametrize(("name", "least"), [("cityscapes", 0.1), ("driving", 0.05)])
def test_colors_of_traffic_can_be_told_apart(name: str, least: float) -> None:
    """0.02 is the least that people see; the data set's bus and train differ by 0.05."""
    vocabulary = load_vocabulary(name)
    apart = overlay_distances([entry.color for entry in vocabulary.classes])
    apart += np.eye(len(apart))
    assert apart.min() >= least
    vehicles = [vocabulary.classes.index(vocabulary.class_named(name)) for name in VEHICLES]
    assert apart[np.ix_(vehicles, vehicles)].min() >= 0.14


@pytest.mark.parametrize(
    "name",
    [
        *("curb", "crosswalk", "lane marking", "bench", "trash can", "bollard", "fire hydrant"),
        *("wheelchair", "dog", "kick scooter", "traffic cone", "barrier", "stairs", "ramp"),
        *("door", "puddle", "pothole", "manhole cover"),
    ],
)
def test_driving_knows_what_a_sidewalk_robot_meets(name: str) -> None:
    assert load_vocabulary("driving").class_named(name).name == name


def test_every_label_fits_eight_bits(preset: Vocabulary) -> None:
    assert max(entry.id for entry in preset.classes) <= 255


def test_every_class_brings_its_hypernyms(preset: Vocabulary) -> None:
    for entry in preset.classes:
        assert entry.hypernyms is not None
        assert all(len(row) <= 2 for row in entry.hypernyms)


def test_the_hypernyms_are_wordnets(preset: Vocabulary, wordnet: HypernymLookup) -> None:
    for entry in preset.classes:
        assert entry.hypernyms == tuple(wordnet(name, 2) for name in entry.names)


def test_the_file_is_as_the_writer_would_write_it(preset: Vocabulary, repository: Path) -> None:
    text = (repository / "config" / "vocabularies" / f"{preset.name}.yaml").read_text("utf-8")
    body = "".join(line for line in text.splitlines(True) if not line.startswith("#"))
    assert body == vocabulary_to_yaml(preset)
