"""Recordings of demo drives, read back with rosbags."""

from __future__ import annotations

import argparse
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.interfaces import ConnectionExtRosbag2, QosDurability
from rosbags.rosbag2 import Reader

from activesam_ros.commands.demo_drive import add_arguments, run
from activesam_ros.demo.drive import bag_writer
from activesam_ros.demo.drive.bag_writer import write_drive
from activesam_ros.demo.drive.options import DriveOptions
from activesam_ros.demo.drive.sequence import Drive
from activesam_ros.errors import OutputError, UsageError
from activesam_ros.prompts.vocabulary_files import load_vocabulary

OPTIONS = DriveOptions(seed=110_001, frames=4, width=96, height=64, rate_hz=20.0, cameras=2)


def read(path: Path) -> dict[str, list[tuple[int, Any]]]:
    """Stamp and message by topic."""
    messages: dict[str, list[tuple[int, Any]]] = defaultdict(list)
    with AnyReader([path]) as reader:
        for connection, stamp_ns, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            messages[connection.topic].append((stamp_ns, message))
    return messages


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drive") / "new" / "drive.mcap"
    write_drive(OPTIONS, path)
    return path


def test_topics_types_and_qualities(recorded: Path) -> None:
    expected = {
        "/tf_static": ("tf2_msgs/msg/TFMessage", 1),
        "/ground_truth/vocabulary": ("activesam_ros/msg/Vocabulary", 1),
    }
    for camera, truth in (("camera", "ground_truth"), ("camera_1", "ground_truth_1")):
        expected[f"/{camera}/image_raw"] = ("sensor_msgs/msg/Image", 4)
        expected[f"/{camera}/camera_info"] = ("sensor_msgs/msg/CameraInfo", 4)
        expected[f"/{truth}/labels"] = ("sensor_msgs/msg/Image", 4)
    with AnyReader([recorded]) as reader:
        found = {entry.topic: (entry.msgtype, entry.msgcount) for entry in reader.connections}
        assert found == expected
        for entry in reader.connections:
            assert isinstance(entry.ext, ConnectionExtRosbag2)
            latched = entry.topic in ("/tf_static", "/ground_truth/vocabulary")
            wanted = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
            assert [quality.durability for quality in entry.ext.offered_qos_profiles] == [wanted]


def test_pictures_and_labels_are_those_of_the_drive(recorded: Path) -> None:
    messages = read(recorded)
    drive = Drive(OPTIONS)
    for index in range(OPTIONS.frames):
        frame = drive.frame(index)
        for camera, topics in enumerate((("camera", ""), ("camera_1", "_1"))):
            stamp_ns, image = messages[f"/{topics[0]}/image_raw"][index]
            label_stamp_ns, labels = messages[f"/ground_truth{topics[1]}/labels"][index]
            assert stamp_ns == label_stamp_ns == OPTIONS.stamp_ns(index)
            assert image.header.stamp.sec * 10**9 + image.header.stamp.nanosec == stamp_ns
            assert (image.encoding, image.height, image.width, image.step) == ("rgb8", 64, 96, 288)
            assert (labels.encoding, labels.step) == ("mono8", 96)
            assert image.header.frame_id == labels.header.frame_id == f"{topics[0]}_optical"
            assert np.array_equal(image.data.reshape(64, 96, 3), frame.images[camera])
            assert np.array_equal(labels.data.reshape(64, 96), frame.labels[camera])


def test_camera_info_fits_the_pictures(recorded: Path) -> None:
    for camera, (stamp_ns, info) in enumerate(
        (
            read(recorded)["/camera/camera_info"][2],
            read(recorded)["/camera_1/camera_info"][2],
        )
    ):
        intrinsics = np.array(info.k).reshape(3, 3)
        assert stamp_ns == OPTIONS.stamp_ns(2)
        assert (info.width, info.height) == (OPTIONS.width, OPTIONS.height)
        assert intrinsics[0, 2] == pytest.approx((OPTIONS.width - 1) / 2)
        assert intrinsics[1, 2] == pytest.approx((OPTIONS.height - 1) / 2)
        assert 0.5 < intrinsics[0, 0] / OPTIONS.width < 1.0
        assert np.array(info.p).reshape(3, 4)[:, :3] == pytest.approx(intrinsics)
        assert intrinsics == pytest.approx(Drive(OPTIONS).cameras[camera].intrinsics)


def _rotation(q: Any) -> Any:
    x, y, z, w = q.x, q.y, q.z, q.w
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def test_transforms_lead_from_the_vehicle_to_the_pictures(recorded: Path) -> None:
    (_, message) = read(recorded)["/tf_static"][0]
    by_child = {entry.child_frame_id: entry for entry in message.transforms}
    assert set(by_child) == {"camera", "camera_optical", "camera_1", "camera_1_optical"}
    for camera, name in zip(Drive(OPTIONS).cameras, ("camera", "camera_1"), strict=True):
        mounted, optical = by_child[name], by_child[f"{name}_optical"]
        assert (mounted.header.frame_id, optical.header.frame_id) == ("base_link", name)
        assert mounted.transform.translation.z == pytest.approx(camera.mount_height_m)
        rotation = _rotation(mounted.transform.rotation) @ _rotation(optical.transform.rotation)
        assert rotation == pytest.approx(camera.rotation, abs=1e-9)


def test_vocabulary_has_names_ids_and_colours(recorded: Path) -> None:
    (_, message) = read(recorded)["/ground_truth/vocabulary"][0]
    vocabulary = load_vocabulary("cityscapes")
    assert len(message.entries) == 19
    for entry, expected in zip(message.entries, vocabulary.classes, strict=True):
        color = tuple(round(255 * level) for level in (entry.color.r, entry.color.g, entry.color.b))
        assert (entry.id, entry.name, color) == (expected.id, expected.name, expected.color)


def test_compressed_folder_with_metadata(tmp_path: Path) -> None:
    options = DriveOptions(seed=1, frames=2, width=96, height=64)
    write_drive(options, tmp_path / "bag", compressed=True)
    assert {path.name for path in (tmp_path / "bag").iterdir()} == {"bag.mcap", "metadata.yaml"}
    with Reader(tmp_path / "bag") as reader:
        assert reader.message_count == 2 + 3 * 2
    messages = read(tmp_path / "bag")
    (_, image) = messages["/camera/image_raw/compressed"][1]
    assert image.format == "jpeg"
    assert "/camera/image_raw" not in messages
    decoded = cv2.imdecode(np.asarray(image.data), cv2.IMREAD_COLOR)
    assert decoded is not None
    difference = decoded[:, :, ::-1].astype(int) - Drive(options).frame(1).images[0]
    assert np.abs(difference).mean() < 12


def test_an_earlier_recording_is_kept_unless_told(recorded: Path, tmp_path: Path) -> None:
    options = DriveOptions(seed=2, frames=1, width=64, height=64)
    before = recorded.read_bytes()
    with pytest.raises(UsageError, match="exists"):
        write_drive(options, recorded)
    assert recorded.read_bytes() == before
    for name in ("again", "again.mcap"):
        write_drive(options, tmp_path / name)
        write_drive(DriveOptions(seed=3, frames=2, width=64, height=64), tmp_path / name,
                    overwrite=True)  # fmt: skip
        assert len(read(tmp_path / name)["/camera/image_raw"]) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"again", "again.mcap"}


def test_what_is_no_recording_is_never_replaced(tmp_path: Path) -> None:
    options = DriveOptions(seed=2, frames=1, width=64, height=64)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.txt").write_text("mine")
    with pytest.raises(UsageError, match="no demo drive"):
        write_drive(options, tmp_path / "photos", overwrite=True)
    assert (tmp_path / "photos" / "one.txt").read_text() == "mine"
    with pytest.raises(UsageError, match=r"\.mcap"):
        write_drive(options, tmp_path / "drive.bag")


def test_a_recording_that_is_no_drive_is_not_overwritten(found_bags: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.mcap"
    shutil.copy(found_bags / "amber_soccer_goal" / "soccer_goal_12.mcap", mine)
    before = mine.read_bytes()
    with pytest.raises(OutputError, match="is no demo drive and is not overwritten"):
        write_drive(DriveOptions(frames=1, width=64, height=64), mine, overwrite=True)
    assert mine.read_bytes() == before


@pytest.mark.parametrize("name", ["drive", "drive.mcap"])
def test_an_interrupted_recording_leaves_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(drive: Drive) -> Any:
        yield drive.frame(0)
        raise KeyboardInterrupt

    monkeypatch.setattr(bag_writer, "frames_in_order", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_drive(DriveOptions(frames=3, width=64, height=64), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        write_drive(DriveOptions(frames=1, width=64, height=64), tmp_path / "file" / "a.mcap")


def test_the_command_writes_what_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    output = tmp_path / "drive.mcap"
    arguments = ["--seed", "3", "--frames", "2", "--size", "80x64", "--rate", "5"]
    assert run(parser.parse_args([*arguments, "--output", str(output)])) == 0
    assert "2 frames" in capsys.readouterr().out
    stamps = [stamp_ns for stamp_ns, _ in read(output)["/camera/image_raw"]]
    assert np.diff(stamps).tolist() == [200_000_000]
