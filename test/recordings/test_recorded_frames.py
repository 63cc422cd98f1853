"""Reading recordings: valid ones, odd ones from other programs, and refused ones."""

from __future__ import annotations

import itertools
import re
import shutil
import sqlite3
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
import zstandard
from mcap.writer import CompressionType
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from activesam_ros.errors import ImageError, RecordingError
from activesam_ros.recordings.frame_pixels import rgb_decoder
from activesam_ros.recordings.recorded_frames import RecordedFrame, Recording, open_recording
from activesam_ros.recordings.serialization import IMAGE

if TYPE_CHECKING:
    from test.fixtures.recording_fixtures import BagBuilder, Recorded

TOPIC = "/camera/image_raw"
SECOND = 1_000_000_000
COUNT = 5


def frames(recording: Recording, topic: str = TOPIC) -> list[RecordedFrame]:
    return list(recording.frames([topic]))


def stamps(path: Path, topic: str = TOPIC) -> list[int]:
    return [frame.stamp_ns // SECOND for frame in frames(open_recording(path), topic)]


def images(bags: BagBuilder, count: int = COUNT) -> list[Recorded]:
    return [bags.image(place) for place in range(count)]


WRITERS: dict[str, Callable[[BagBuilder], Path]] = {
    "rosbag2 mcap": lambda bags: bags.rosbag2(images(bags)),
    "rosbag2 db3": lambda bags: bags.rosbag2(images(bags), storage=StoragePlugin.SQLITE3),
    "mcap by file": lambda bags: bags.rosbag2(images(bags), compression=CompressionMode.FILE),
    "mcap by chunk": lambda bags: bags.rosbag2(images(bags), compression=CompressionMode.STORAGE),
    "db3 by file": lambda bags: bags.rosbag2(
        images(bags), storage=StoragePlugin.SQLITE3, compression=CompressionMode.FILE
    ),
    "db3 by message": lambda bags: bags.rosbag2(
        images(bags), storage=StoragePlugin.SQLITE3, compression=CompressionMode.MESSAGE
    ),
    "mcap by message": lambda bags: bags.rosbag2(images(bags), compression=CompressionMode.MESSAGE),
    "mcap lz4": lambda bags: bags.mcap(images(bags), compression=CompressionType.LZ4),
    "mcap without chunks": lambda bags: bags.mcap(images(bags), chunked=False),
    "mcap of no profile": lambda bags: bags.mcap(images(bags), profile=""),
    "mcap of many chunks": lambda bags: bags.mcap(images(bags), chunk_size=1),
    "short type names": lambda bags: bags.mcap(images(bags), long_names=False),
    "message-mode zstd, no metadata": lambda bags: bags.mcap(
        images(bags), zstd_messages=True, long_names=False
    ),
    "ros1": lambda bags: bags.ros1(images(bags)),
    "ros1 bz2": lambda bags: bags.ros1(images(bags), compression=Ros1Writer.CompressionFormat.BZ2),
    "ros1 lz4": lambda bags: bags.ros1(images(bags), compression=Ros1Writer.CompressionFormat.LZ4),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_frame_of_every_kind_of_recording_is_read_in_order(
    name: str, bags: BagBuilder
) -> None:
    recording = open_recording(WRITERS[name](bags))
    found = frames(recording)
    assert [frame.stamp_ns for frame in found] == [(place + 1) * SECOND for place in range(COUNT)]
    assert all(frame.frame_id == "camera_optical" for frame in found)
    assert not any(frame.stamp_is_log_time or frame.problem for frame in found)
    decode = rgb_decoder()
    for place, frame in enumerate(found):
        np.testing.assert_array_equal(decode(frame), np.full((4, 6, 3), place, np.uint8))
    assert recording.message_count([TOPIC]) == COUNT
    assert recording.notes == ()


def test_frames_recorded_out_of_order_come_by_log_time(bags: BagBuilder) -> None:
    shuffled = [bags.image(place) for place in (3, 0, 4, 1, 2)]
    for path in (
        bags.mcap(shuffled, "one.mcap", chunk_size=1),
        bags.mcap(shuffled, "loose.mcap", chunked=False),
        bags.rosbag2(shuffled, "sql", storage=StoragePlugin.SQLITE3),
        bags.ros1(shuffled),
    ):
        assert stamps(path) == [1, 2, 3, 4, 5], path


def test_frames_of_one_log_time_keep_the_order_they_were_written_in(bags: BagBuilder) -> None:
    same = [bags.image(place, log_time_ns=SECOND) for place in range(COUNT)]
    for path in (
        bags.mcap(same, "one.mcap", chunk_size=1),
        bags.rosbag2(same, "sql", storage=StoragePlugin.SQLITE3),
    ):
        assert stamps(path) == [1, 2, 3, 4, 5], path


def test_split_recordings_are_read_in_the_order_of_their_metadata(bags: BagBuilder) -> None:
    folder = bags.rosbag2(images(bags, 2), "bag_0")
    later = [bags.image(place) for place in (2, 3, 4)]
    shutil.copy(bags.mcap(later, "later.mcap"), folder / "a_later.mcap")
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
    names = metadata["rosbag2_bagfile_information"]["relative_file_paths"]
    names.append("old_folder/a_later.mcap")
    (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    assert stamps(folder) == [1, 2, 3, 4, 5]


SPLITS: dict[str, Callable[[BagBuilder, list[Recorded], str], Path]] = {
    "mcap": lambda bags, messages, name: bags.mcap(messages, f"{name}.mcap", chunk_size=1),
    "unfinished mcap": lambda bags, messages, name: bags.mcap(
        messages, f"{name}.mcap", finished=False
    ),
    "db3": lambda bags, messages, name: next(
        bags.rosbag2(messages, f"bag_{name}", storage=StoragePlugin.SQLITE3).glob("*.db3")
    ).rename(bags.folder / f"{name}.db3"),
    "ros1": lambda bags, messages, name: bags.ros1(messages, f"{name}.bag"),
}


@pytest.mark.parametrize("kind", SPLITS)
def test_splits_whose_times_overlap_are_merged_by_time(kind: str, bags: BagBuilder) -> None:
    folder = bags.folder / "split"
    folder.mkdir()
    for number, places in enumerate([(0, 1, 4, 5), (2, 3, 6, 7), (8, 9), (7, 10)]):
        messages = [bags.image(place) for place in places]
        path = SPLITS[kind](bags, messages, f"part_{number}")
        path.rename(folder / path.name)
    assert stamps(folder) == [1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 10, 11]


def test_a_damaged_split_is_merged_up_to_its_damage(bags: BagBuilder) -> None:
    folder = bags.folder / "split"
    folder.mkdir()
    damaged = bags.mcap(
        [bags.image(place) for place in (0, 2, 4, 6)],
        "split/a_0.mcap",
        chunk_size=1,
        compression=CompressionType.NONE,
    )
    bags.mcap([bags.image(place) for place in (1, 3, 5, 7)], "split/a_1.mcap")
    data = bytearray(damaged.read_bytes())
    data[[match.start() for match in re.finditer(b"camera_optical", data)][2]] ^= 0xFF
    damaged.write_bytes(bytes(data))
    recording = open_recording(folder)
    assert [frame.stamp_ns // SECOND for frame in frames(recording)] == [1, 2, 3, 4, 6, 8]
    assert any("a_0.mcap is read up to its damage" in note for note in recording.notes)


def test_without_metadata_files_are_read_by_number_and_it_is_said(bags: BagBuilder) -> None:
    folder = bags.folder / "numbered"
    folder.mkdir()
    for number in range(12):
        bags.mcap([bags.image(number)], f"numbered/drive_{number}.mcap")
    recording = open_recording(folder)
    assert [frame.stamp_ns // SECOND for frame in frames(recording)] == list(range(1, 13))
    assert "no metadata.yaml" in recording.notes[0]


@pytest.mark.parametrize("suffix", [".MCAP", ".Mcap.ZSTD"])
def test_suffixes_count_in_any_case(suffix: str, bags: BagBuilder) -> None:
    folder = bags.folder / "mixed"
    folder.mkdir()
    bags.mcap([bags.image(0)], "mixed/a.mcap")
    second = bags.mcap([bags.image(1)], "second.mcap").read_bytes()
    zstd = suffix.lower().endswith(".zstd")
    data = zstandard.ZstdCompressor().compress(second) if zstd else second
    (folder / f"b{suffix}").write_bytes(data)
    assert stamps(folder) == [1, 2]
    assert stamps(folder / f"b{suffix}") == [2]


def test_missing_files_of_the_metadata_are_reported_and_the_others_read(bags: BagBuilder) -> None:
    folder = bags.rosbag2(images(bags))
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
    names = metadata["rosbag2_bagfile_information"]["relative_file_paths"]
    names.insert(0, "bag_before.mcap")
    (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    recording = open_recording(folder)
    assert len(frames(recording)) == COUNT
    assert "1 of 2 files" in recording.notes[0]
    assert "bag_before.mcap" in recording.notes[0]


def test_metadata_of_which_all_files_are_missing_is_refused(bags: BagBuilder) -> None:
    folder = bags.rosbag2(images(bags))
    (folder / "bag.mcap").rename(folder / "elsewhere.mcap")
    with pytest.raises(RecordingError, match=r"names bag\.mcap.*has none of them"):
        open_recording(folder)


@pytest.mark.parametrize("text", ["{", "a: 1", "rosbag2_bagfile_information: {}", "[1"])
def test_broken_metadata_is_reported_and_the_files_read_by_name(
    text: str, bags: BagBuilder
) -> None:
    folder = bags.rosbag2(images(bags))
    (folder / "metadata.yaml").write_text(text)
    recording = open_recording(folder)
    assert len(frames(recording)) == COUNT
    assert "metadata.yaml cannot be used" in recording.notes[0]


def test_a_folder_that_ends_in_bag_with_stamps_of_zero_and_out_of_range(found_bags: Path) -> None:
    recording = open_recording(found_bags / "ait_images.bag")
    found = frames(recording, "/image")
    assert [frame.stamp_ns for frame in found] == [0, SECOND, 2 * SECOND]
    assert all(frame.stamp_is_log_time for frame in found)
    assert rgb_decoder()(found[0]).shape == (2, 2, 3)


def test_images_shorter_than_their_header_says_are_bad_frames(found_bags: Path) -> None:
    recording = open_recording(found_bags / "rosbagsrs_test_bag_mcap")
    found = frames(recording, "/test/sensor_msgs/image")
    assert len(found) == 2
    with pytest.raises(ImageError, match="30 bytes"):
        rgb_decoder()(found[0])


def test_the_last_of_thirteen_files_with_zstd_messages_and_short_type_names(
    found_bags: Path,
) -> None:
    recording = open_recording(found_bags / "amber_soccer_goal")
    found = frames(recording, "/camera/image_raw")
    assert [note.split(" files ")[0] for note in recording.notes] == ["12 of 13"]
    assert [(frame.message_type, frame.frame_id, frame.problem) for frame in found] == [
        (IMAGE, "camera", None)
    ] * 2
    assert 0 < found[0].stamp_ns < found[1].stamp_ns < 20 * SECOND  # of a simulation
    assert rgb_decoder()(found[1]).shape == (120, 160, 3)


def test_a_recording_of_humble_without_metadata_and_with_many_topics(found_bags: Path) -> None:
    recording = open_recording(found_bags / "rerun_supported_ros2_messages")
    assert [topic.name for topic in recording.image_topics] == ["/compressed_image", "/image"]
    for topic in recording.image_topics:
        (frame,) = frames(recording, topic.name)
        assert (topic.messages, frame.problem) == (1, None)
        assert rgb_decoder()(frame).shape == (120, 160, 3)
    with pytest.raises(RecordingError, match=r"'/camera_info' holds .*CameraInfo"):
        recording.image_topic("/camera_info")
    assert any("no metadata.yaml" in note for note in recording.notes)


def test_a_stamp_of_zero_takes_the_log_time(bags: BagBuilder) -> None:
    path = bags.mcap([bags.image(0, stamp_ns=0, log_time_ns=42 * SECOND + 7)])
    (frame,) = frames(open_recording(path))
    assert (frame.stamp_ns, frame.stamp_is_log_time) == (42 * SECOND + 7, True)


def test_a_message_that_is_no_image_becomes_a_frame_with_a_problem(bags: BagBuilder) -> None:
    good = bags.image(0)
    cut = type(good)(good.topic, good.message_type, 2 * SECOND, good.data[:30])
    empty = type(good)(good.topic, good.message_type, 3 * SECOND, b"")
    broken_zstd = type(good)(
        good.topic, good.message_type, 4 * SECOND, zstandard.compress(good.data)[:-9]
    )
    found = frames(open_recording(bags.mcap([good, cut, empty, broken_zstd])))
    assert [frame.message is None for frame in found] == [False, True, True, True]
    assert all("not a sensor_msgs/msg/Image" in str(frame.problem) for frame in found[1:3])
    with pytest.raises(ImageError):
        rgb_decoder()(found[1])


def test_a_ros1_profile_mcap_is_read(bags: BagBuilder) -> None:
    messages = [
        type(entry)(entry.topic, entry.message_type, entry.log_time_ns, bags.ros1_data(entry))
        for entry in images(bags)
    ]
    path = bags.mcap(
        messages, profile="ros1", encoding="ros1", long_names=False, schema_encoding="ros1msg"
    )
    assert stamps(path) == [1, 2, 3, 4, 5]


def test_json_images_are_refused_with_the_topics_that_can_be_read(bags: BagBuilder) -> None:
    good = bags.image(0, topic="/front/image_raw")
    json = type(good)("/camera", "foxglove.CompressedImage", SECOND, b'{"data": ""}')
    path = bags.mcap([json], "json.mcap", profile="", encoding="json", schema_encoding="jsonschema")
    folder = bags.folder / "both"
    folder.mkdir()
    shutil.move(path, folder / "both_0.mcap")
    bags.mcap([good], "both/both_1.mcap")
    with pytest.raises(
        RecordingError, match=r"foxglove\.CompressedImage in json.*/front/image_raw"
    ):
        open_recording(folder).frames(["/camera"])


def test_no_such_topic_and_an_empty_topic_list_the_image_topics(bags: BagBuilder) -> None:
    folder = bags.rosbag2(images(bags), storage=StoragePlugin.SQLITE3)
    with sqlite3.connect(folder / "bag.db3") as database:
        database.execute(
            "INSERT INTO topics SELECT 99, '/empty', type, serialization_format, "
            "offered_qos_profiles, type_description_hash FROM topics WHERE id = 1"
        )
    recording = open_recording(folder)
    with pytest.raises(RecordingError, match=r"no topic '/nowhere'.*/camera/image_raw \(5\)"):
        recording.frames(["/nowhere"])
    with pytest.raises(RecordingError, match="'/empty' is empty"):
        recording.frames(["/empty"])


def test_two_topics_of_different_size_are_both_read(bags: BagBuilder) -> None:
    small, large = np.zeros((2, 2, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)
    path = bags.mcap([bags.image(0, small, "/small"), bags.image(1, large, "/large")])
    found = list(open_recording(path).frames(["/large", "/small"]))
    assert [(frame.topic, frame.message.height) for frame in found] == [
        ("/small", 2),
        ("/large", 8),
    ]


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("share", [0.35, 0.6, 0.95])
def test_a_truncated_mcap_is_used_up_to_the_damage(
    share: float, chunked: bool, bags: BagBuilder
) -> None:
    path = bags.mcap(
        images(bags, 40), chunk_size=300, chunked=chunked, compression=CompressionType.NONE
    )
    whole = path.read_bytes()
    last_message = whole.rindex(b"camera_optical")
    path.write_bytes(whole[: int(last_message * share)])
    recording = open_recording(path)
    found = stamps(path)
    assert found == list(range(1, len(found) + 1))
    assert 40 * share - 8 <= len(found) <= 40 * share + 1
    assert "read up to its damage" in recording.notes[0]


def test_an_mcap_that_was_never_finished_is_read_whole(bags: BagBuilder) -> None:
    path = bags.mcap(images(bags), finished=False)
    recording = open_recording(path)
    assert len(frames(recording)) == COUNT
    assert "without a summary" in recording.notes[0]


def test_a_damaged_chunk_of_a_finished_mcap_ends_the_reading_there(bags: BagBuilder) -> None:
    path = bags.mcap(images(bags), chunk_size=1, compression=CompressionType.NONE)
    data = bytearray(path.read_bytes())
    place = -1
    for _ in range(4):
        place = data.index(b"camera_optical", place + 1)
    data[place] ^= 0xFF
    path.write_bytes(bytes(data))
    recording = open_recording(path)
    assert [frame.stamp_ns // SECOND for frame in frames(recording)] == [1, 2, 3]
    assert "read up to its damage" in recording.notes[0]


def test_damage_in_one_file_does_not_keep_the_next_from_being_read(bags: BagBuilder) -> None:
    folder = bags.folder / "split"
    folder.mkdir()
    first = bags.mcap(images(bags, 3), "split/a_0.mcap", chunk_size=1)
    first.write_bytes(first.read_bytes()[:-400])
    bags.mcap([bags.image(7)], "split/a_1.mcap")
    (folder / "a_2.mcap").write_bytes(b"no recording at all")
    recording = open_recording(folder)
    found = [frame.stamp_ns // SECOND for frame in frames(recording)]
    assert found[:1] == [1]
    assert found[-1] == 8
    assert any("a_2.mcap does not begin" in note for note in recording.notes)


def test_a_truncated_db3_is_used_up_to_the_damage(bags: BagBuilder) -> None:
    pixels = np.zeros((40, 40, 3), np.uint8)
    messages = [bags.image(place, pixels) for place in range(60)]
    folder = bags.rosbag2(messages, storage=StoragePlugin.SQLITE3)
    file = folder / "bag.db3"
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    recording = open_recording(file)
    found = stamps(file)
    assert found == list(range(1, len(found) + 1))
    assert 20 < len(found) < 60
    list(recording.frames([TOPIC]))
    assert "read up to its damage" in recording.notes[0]


def test_a_db3_with_a_write_ahead_log_of_a_killed_recorder_is_read_whole(bags: BagBuilder) -> None:
    folder = bags.rosbag2(images(bags, 2), storage=StoragePlugin.SQLITE3)
    file = folder / "bag.db3"
    killed = bags.folder / "killed.db3"
    database = sqlite3.connect(file)
    database.execute("PRAGMA journal_mode=WAL")
    third = bags.image(2)
    database.execute(
        "INSERT INTO messages (topic_id, timestamp, data) VALUES (1, ?, ?)",
        (third.log_time_ns, third.data),
    )
    database.commit()
    shutil.copy(file, killed)
    shutil.copy(f"{file}-wal", f"{killed}-wal")
    database.close()
    assert stamps(killed) == [1, 2, 3]


@pytest.mark.parametrize("share", [0.4, 0.7])
@pytest.mark.parametrize("compression", [None, Ros1Writer.CompressionFormat.LZ4])
def test_a_truncated_ros1_bag_is_used_up_to_the_damage(
    share: float, compression: Ros1Writer.CompressionFormat | None, bags: BagBuilder
) -> None:
    noise = np.random.default_rng(0)
    messages = [
        bags.image(place, noise.integers(0, 256, (256, 512, 3), np.uint8)) for place in range(12)
    ]
    path = bags.ros1(messages, compression=compression)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    recording = open_recording(path)
    found = stamps(path)
    assert found == list(range(1, len(found) + 1))
    assert 12 * share - 4 <= len(found) <= 12 * share
    assert "read up to its damage" in recording.notes[0]


def test_what_a_killed_ros1_recorder_leaves_is_read(bags: BagBuilder) -> None:
    path = bags.ros1(images(bags, 3))
    data = bytearray(path.read_bytes())
    index = data.index(b"index_pos=") + len(b"index_pos=")
    data[index : index + 8] = bytes(8)
    active = path.with_name("drive.bag.active")
    active.write_bytes(data[: data.rindex(b"chunk_pos=") - 60])
    recording = open_recording(active)
    assert [frame.stamp_ns // SECOND for frame in frames(recording)] == [1, 2, 3]
    assert "read up to its damage" in recording.notes[0]


def test_chunks_without_the_topic_are_not_read(bags: BagBuilder) -> None:
    path = bags.mcap(
        [bags.image(0), bags.image(1, topic="/other"), bags.image(2)],
        chunk_size=1,
        compression=CompressionType.NONE,
    )
    data = bytearray(path.read_bytes())
    second = data.index(b"camera_optical", data.index(b"camera_optical") + 1)
    data[second] ^= 0xFF
    path.write_bytes(bytes(data))
    recording = open_recording(path)
    assert [frame.stamp_ns // SECOND for frame in frames(recording)] == [1, 3]
    assert recording.notes == ()


@pytest.mark.parametrize("name", ["bag.mcap", "bag.db3", "bag.bag", "bag.mcap.zstd"])
@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid sha"])
def test_a_file_that_is_no_recording_is_refused_in_one_sentence(
    name: str, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=name.removesuffix(".zstd")):
        open_recording(path)


def test_paths_that_hold_no_recording_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="There is no recording"):
        open_recording(tmp_path / "nowhere")
    with pytest.raises(RecordingError, match=r"no \.mcap, \.db3, \.bag file"):
        open_recording(tmp_path)
    (tmp_path / "drive.mp4").touch()
    with pytest.raises(RecordingError, match="its name must end in"):
        open_recording(tmp_path / "drive.mp4")
    for name in ("a.mcap", "b.db3"):
        (tmp_path / name).touch()
    with pytest.raises(RecordingError, match=r"several formats \(\.db3, \.mcap\); give one"):
        open_recording(tmp_path)


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db3"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE songs (id INTEGER)")
    with pytest.raises(RecordingError, match="lacks the table topics or messages"):
        open_recording(path)


@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_memory_does_not_grow_with_the_recording(storage: StoragePlugin, bags: BagBuilder) -> None:
    pixels = np.zeros((256, 512, 3), np.uint8)
    path = bags.rosbag2([bags.image(place, pixels) for place in range(100)], storage=storage)
    recording = open_recording(path)
    next(recording.frames([TOPIC]))
    tracemalloc.start()
    try:
        count = sum(1 for _ in recording.frames([TOPIC]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 100
    assert peak < 12 * pixels.nbytes


def test_reading_can_begin_anew_while_another_pass_is_under_way(bags: BagBuilder) -> None:
    recording = open_recording(bags.rosbag2(images(bags)))
    first = recording.frames([TOPIC])
    next(first)
    assert len(list(recording.frames([TOPIC]))) == COUNT
    assert len(list(itertools.chain(first))) == COUNT - 1
