"""The frames of demo drives: repeatable, coherent, varied, and labelled as drawn."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from activesam_ros.demo.drive.options import TEST_SEEDS, DriveOptions
from activesam_ros.demo.drive.sequence import Drive, DriveFrame, frames_in_order
from activesam_ros.demo.rendering.raster import horizon_row
from activesam_ros.demo.world.classes import CLASS_COUNT, VOCABULARY_NAME, ClassId
from activesam_ros.errors import UsageError
from activesam_ros.prompts.vocabulary_files import load_vocabulary

WIDTH, HEIGHT = 160, 96
COUNTABLE = {
    ClassId.POLE,
    ClassId.TRAFFIC_LIGHT,
    ClassId.TRAFFIC_SIGN,
    *(class_id for class_id in ClassId if ClassId.PERSON <= class_id <= ClassId.BICYCLE),
}


def small_drive(seed: int, frames: int = 200, cameras: int = 1) -> Drive:
    return Drive(DriveOptions(seed, frames, WIDTH, HEIGHT, cameras=cameras))


@pytest.fixture(scope="module")
def varied_frames() -> list[list[DriveFrame]]:
    """Eight drives of 20 seconds, a frame every 1.7 s."""
    drives = [small_drive(seed) for seed in TEST_SEEDS[:8]]
    return [[drive.frame(index) for index in range(0, 200, 17)] for drive in drives]


def assert_same(one: DriveFrame, other: DriveFrame) -> None:
    assert (one.index, one.stamp_ns) == (other.index, other.stamp_ns)
    for here, there in zip(one.images + one.labels, other.images + other.labels, strict=True):
        assert np.array_equal(here, there)


def test_the_same_seed_gives_the_same_pixels() -> None:
    assert_same(small_drive(5).frame(40), small_drive(5).frame(40))


def test_another_seed_gives_another_world() -> None:
    labels = [small_drive(seed).frame(40).labels[0] for seed in (5, 6)]
    assert (labels[0] != labels[1]).mean() > 0.1


def test_any_frame_on_its_own_equals_the_one_in_order() -> None:
    in_order = list(small_drive(3, frames=6))
    alone = small_drive(3, frames=6)
    for index in (4, 0, 5):
        assert_same(alone.frame(index), in_order[index])


def test_threads_keep_order_and_pixels() -> None:
    in_order = list(small_drive(3, frames=6))
    threaded = list(frames_in_order(small_drive(3, frames=6), workers=3))
    assert len(threaded) == 6
    for one, other in zip(in_order, threaded, strict=True):
        assert_same(one, other)


def test_a_longer_drive_begins_with_the_shorter_one() -> None:
    assert_same(small_drive(9, frames=20).frame(15), small_drive(9, frames=900).frame(15))


def test_the_rate_does_not_change_the_world() -> None:
    slow = Drive(DriveOptions(4, 30, WIDTH, HEIGHT, rate_hz=10.0)).frame(10)
    fast = Drive(DriveOptions(4, 60, WIDTH, HEIGHT, rate_hz=20.0)).frame(20)
    assert slow.stamp_ns == fast.stamp_ns
    assert (slow.labels[0] == fast.labels[0]).mean() > 0.97


def test_a_frame_that_is_not_there_is_refused() -> None:
    drive = small_drive(1, frames=3)
    for index in (-1, 3):
        with pytest.raises(UsageError, match="0 to 2"):
            drive.frame(index)


def test_shapes_types_and_label_values(varied_frames: list[list[DriveFrame]]) -> None:
    valid = {int(class_id) for class_id in ClassId}
    for frame in varied_frames[0]:
        assert frame.images[0].shape == (HEIGHT, WIDTH, 3)
        assert frame.labels[0].shape == (HEIGHT, WIDTH)
        assert frame.images[0].dtype == frame.labels[0].dtype == np.uint8
        assert frame.instances is None
        assert set(np.unique(frame.labels[0]).tolist()) <= valid


def test_class_ids_are_those_of_the_vocabulary() -> None:
    vocabulary = load_vocabulary(VOCABULARY_NAME)
    assert [entry.id for entry in vocabulary.classes] == list(range(CLASS_COUNT))
    for class_id in (ClassId.ROAD, ClassId.SKY, ClassId.PERSON, ClassId.BICYCLE):
        assert vocabulary.classes[class_id].name == class_id.name.lower()


def test_every_class_occurs_and_the_active_set_changes(
    varied_frames: list[list[DriveFrame]],
) -> None:
    shares = np.array(
        [
            [np.bincount(frame.labels[0].ravel(), minlength=256) for frame in frames]
            for frames in varied_frames
        ]
    ) / (WIDTH * HEIGHT)
    mean = shares.mean(axis=(0, 1))[:CLASS_COUNT]
    assert (mean > 0.0005).all(), {ClassId(i).name: float(mean[i]) for i in range(CLASS_COUNT)}
    assert mean.max() < 0.5
    occurs = shares[..., :CLASS_COUNT] > 0.001
    for drive in occurs:
        assert (drive.any(axis=0) & ~drive.all(axis=0)).sum() >= 4
    assert 5 <= occurs.sum(axis=2).mean() <= 16


def test_instances_are_whole_things_of_countable_classes() -> None:
    frame = small_drive(12).frame(60, instances=True)
    assert frame.instances is not None
    instances, labels = frame.instances[0], frame.labels[0]
    assert instances.dtype == np.uint16
    assert len(np.unique(instances)) > 5
    assert {ClassId(label) for label in np.unique(labels[instances > 0])} <= COUNTABLE
    vehicles = np.isin(labels, [ClassId.PERSON, ClassId.RIDER, ClassId.CAR, ClassId.BUS])
    assert (instances[vehicles] > 0).all()


def test_an_instance_keeps_its_number_while_it_moves() -> None:
    drive = small_drive(12)
    numbers = []
    for index in (60, 61):
        frame = drive.frame(index, instances=True)
        assert frame.instances is not None
        cars = frame.instances[0][frame.labels[0] == ClassId.CAR]
        values, counts = np.unique(cars, return_counts=True)
        numbers.append({int(value) for value in values[counts > 30]})
    assert numbers[0]
    assert len(numbers[0] & numbers[1]) >= len(numbers[0]) - 1


def test_frames_follow_from_one_another() -> None:
    drive = small_drive(7)
    first, second, later = (drive.frame(index) for index in (50, 51, 130))
    near = (first.labels[0] == second.labels[0]).mean()
    far = (first.labels[0] == later.labels[0]).mean()
    assert near > 0.85
    assert near > far + 0.05


def _histogram_classifier(frames: list[DriveFrame]) -> NDArray[np.intp]:
    """The commonest class of every colour, 16 levels a channel; sky where none was seen."""
    votes = np.zeros((4096, CLASS_COUNT))
    for frame in frames:
        known = frame.labels[0] < CLASS_COUNT
        np.add.at(votes, (_colour_bins(frame)[known], frame.labels[0][known]), 1)
    # every class weighs the same, or else the rare ones are never chosen
    votes /= votes.sum(axis=0) + 1.0
    commonest: NDArray[np.intp] = votes.argmax(axis=1)
    return commonest


def _colour_bins(frame: DriveFrame) -> NDArray[np.intp]:
    red, green, blue = (frame.images[0][..., channel].astype(np.intp) >> 4 for channel in range(3))
    bins: NDArray[np.intp] = (red << 8) | (green << 4) | blue
    return bins


def test_colour_alone_does_not_tell_the_classes(varied_frames: list[list[DriveFrame]]) -> None:
    fitted = [frame for frames in varied_frames for frame in frames[::2]]
    others = [frame for frames in varied_frames for frame in frames[1::2]]
    class_of = _histogram_classifier(fitted)
    confusion = np.zeros((CLASS_COUNT, CLASS_COUNT))
    for frame in others:
        known = frame.labels[0] < CLASS_COUNT
        guessed = class_of[_colour_bins(frame)[known]]
        np.add.at(confusion, (frame.labels[0][known], guessed), 1)
    hits = np.diag(confusion)
    iou = hits / (confusion.sum(axis=0) + confusion.sum(axis=1) - hits)
    assert iou.mean() < 0.45


def test_light_and_weather_differ(varied_frames: list[list[DriveFrame]]) -> None:
    brightness = [float(np.mean([frame.images[0].mean() for frame in d])) for d in varied_frames]
    assert max(brightness) > 1.5 * min(brightness)


def test_pictures_have_noise_and_texture() -> None:
    image = small_drive(2).frame(10).images[0].astype(np.float32)
    gradient = np.abs(np.diff(image, axis=1)).mean()
    assert gradient > 2.0


def test_the_ground_ends_and_the_sky_begins_at_the_horizon() -> None:
    for seed in (2, 12):
        drive = small_drive(seed)
        camera = drive.cameras[0]
        labels = drive.frame(30).labels[0]
        row = horizon_row(camera)
        # the vehicle pitches by less than half a degree
        slack = camera.focal_px * 0.008 + 1.0
        above, below = labels[: int(row - slack)], labels[int(row + slack) + 1 :]
        assert not np.isin(above, [ClassId.ROAD, ClassId.SIDEWALK, ClassId.TERRAIN]).any()
        assert not (below == ClassId.SKY).any()
        assert (below == ClassId.ROAD).mean() > 0.2


def test_the_second_camera_looks_to_the_side() -> None:
    drive = small_drive(2, frames=5, cameras=2)
    frame = drive.frame(2)
    assert len(frame.images) == len(frame.labels) == 2
    assert_same(
        DriveFrame(2, frame.stamp_ns, frame.images[:1], frame.labels[:1]),
        small_drive(2, frames=5).frame(2),
    )
    assert (frame.labels[0] != frame.labels[1]).mean() > 0.15


def test_a_view_without_any_sky_is_drawn() -> None:
    # In front of a bus the whole picture is other than sky.
    frame = Drive(DriveOptions(seed=10, frames=200, width=64, height=64)).frame(20)
    assert not (frame.labels[0] == ClassId.SKY).any()
    assert frame.images[0].std() > 0
