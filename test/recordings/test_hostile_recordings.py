"""Damaged and hostile recordings: every frame once, what is missing is said, bounded work."""

from __future__ import annotations

import dataclasses
import logging
import os
import random
import re
import shutil
import sqlite3
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
import zstandard
from mcap.writer import CompressionType
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin

from activesam_ros.errors import ActiveSamError, RecordingError
from activesam_ros.recordings.recorded_frames import Recording, open_recording
from activesam_ros.recordings.topic_choice import chosen_topics

if TYPE_CHECKING:
    from test.fixtures.recording_fixtures import BagBuilder, Recorded

TOPIC = "/camera/image_raw"
SECOND = 1_000_000_000
COUNT = 12
MIB = 1 << 20


@pytest.fixture
def hostile(found_bags: Path) -> Path:
    return found_bags / "hostile"


def images(bags: BagBuilder, count: int = COUNT, size: int = 4) -> list[Recorded]:
    """Images of /camera/image_raw, and as many of /other between them."""
    made = []
    for place in range(count):
        pixels = np.full((size, size, 3), place, np.uint8)
        made += [bags.image(place, pixels), bags.image(place, pixels, "/other")]
    return made


def stamps(recording: Recording, topic: str = TOPIC) -> list[int]:
    return [frame.stamp_ns // SECOND for frame in recording.frames([topic])]


def whole(count: int = COUNT) -> list[int]:
    return list(range(1, count + 1))


# What was found in the field.


def test_a_flipped_byte_of_the_index_loses_no_frame(hostile: Path) -> None:
    intact = open_recording(hostile / "lost_flipped_index.original.mcap")
    flipped = open_recording(hostile / "lost_flipped_index.mcap")
    expected = [frame.stamp_ns for frame in intact.frames(["/cam/image_raw"])]
    assert [frame.stamp_ns for frame in flipped.frames(["/cam/image_raw"])] == expected
    assert len(expected) == 12
    assert intact.notes == ()
    assert any("its index is not used" in note and "checksum" in note for note in flipped.notes)


def test_a_chunk_that_is_listed_thrice_is_delivered_once(hostile: Path) -> None:
    recording = open_recording(hostile / "chunk_listed_thrice.mcap")
    assert len(list(recording.frames(["/cam"]))) == 1
    assert recording.message_count(["/cam"]) == 1
    assert any("its index is not used" in note for note in recording.notes)


def test_a_file_that_is_listed_twice_is_delivered_once(hostile: Path, tmp_path: Path) -> None:
    recording = open_recording(hostile / "file_listed_twice")
    assert len(list(recording.frames(["/cam/image_raw"]))) == 12
    assert recording.message_count(["/cam/image_raw"]) == 12
    assert any("plain_db.db3 more than once" in note for note in recording.notes)
    folder = tmp_path / "linked"
    folder.mkdir()
    shutil.copy(hostile / "lost_flipped_index.original.mcap", folder / "a.mcap")
    (folder / "b.mcap").symlink_to("a.mcap")
    os.link(folder / "a.mcap", folder / "c.mcap")
    assert len(list(open_recording(folder).frames(["/cam/image_raw"]))) == 12


def test_a_file_beside_its_compressed_copy_is_delivered_once(bags: BagBuilder) -> None:
    folder = bags.folder / "both"
    folder.mkdir()
    path = bags.mcap(images(bags), "both/drive_0.mcap")
    (folder / "drive_0.mcap.zstd").write_bytes(zstandard.compress(path.read_bytes())[:-7])
    recording = open_recording(folder)
    assert stamps(recording) == whole()
    assert any("drive_0.mcap.zstd" in note for note in recording.notes)


def test_a_chunk_length_of_64_bits_does_not_end_the_command(hostile: Path) -> None:
    recording = open_recording(hostile / "chunk_length_64bit.mcap")
    assert len(list(recording.frames(["/cam"]))) == 1
    assert recording.notes


def test_null_and_other_types_where_text_belongs_are_reported(
    hostile: Path, bags: BagBuilder
) -> None:
    recording = open_recording(hostile / "null_type.db3")
    assert len(stamps(recording, "/cam")) == 1
    assert any("topic 2 cannot be read: its type is NULL" in note for note in recording.notes)
    for value in ("7", "x'ff00'", "NULL", "3.5"):
        for column in ("name", "type", "serialization_format", "offered_qos_profiles"):
            folder = bags.rosbag2(
                images(bags), f"{column}{value}".replace("'", ""), storage=StoragePlugin.SQLITE3
            )
            (path,) = folder.glob("*.db3")
            with sqlite3.connect(path) as database:
                database.execute("PRAGMA writable_schema=ON")
                database.execute("UPDATE sqlite_master SET sql=replace(sql, ' NOT NULL', '')")
            with sqlite3.connect(path) as database:
                database.execute(f"UPDATE topics SET {column} = {value} WHERE name='/other'")
            recording = open_recording(path)
            assert stamps(recording) == whole(), (column, value)
            named = [topic.name for topic in recording.topics]
            # a column with the affinity TEXT stores 7 as '7'
            assert TOPIC in named
            assert recording.notes or len(named) == 2


def test_times_that_are_no_integers_lose_no_frame(bags: BagBuilder) -> None:
    (path,) = bags.rosbag2(images(bags), storage=StoragePlugin.SQLITE3).glob("*.db3")
    with sqlite3.connect(path) as database:
        database.execute("UPDATE messages SET timestamp = x'00ff' WHERE id = 5")
        database.execute("UPDATE messages SET timestamp = 'soon' WHERE id = 9")
        database.execute("UPDATE messages SET topic_id = 77 WHERE id = 11")
    recording = open_recording(path)
    assert stamps(recording) == [1, 2, 3, 4, 5, *range(7, 13)]
    assert any("2 messages" in note and "time" in note for note in recording.notes)
    assert any("1 message" in note and "no topic" in note for note in recording.notes)


def test_endless_views_and_other_work_in_sqlite_are_bounded(
    hostile: Path, bags: BagBuilder
) -> None:
    with pytest.raises(RecordingError, match=r"endless_view\.db3.*(view|table)"):
        open_recording(hostile / "endless_view.db3")
    (path,) = bags.rosbag2(images(bags), storage=StoragePlugin.SQLITE3).glob("*.db3")
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE messages")
        database.execute(
            "CREATE TABLE messages (id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, "
            "data BLOB GENERATED ALWAYS AS (zeroblob(900000000)))"
        )
        database.execute("INSERT INTO messages (topic_id, timestamp) VALUES (1, 1)")
    tracemalloc.start()
    try:
        found = list(open_recording(path).frames([TOPIC]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50 * MIB
    assert [frame.message for frame in found] == [None]
    assert "--max-message-mib" in str(found[0].problem)


def test_topic_names_are_printable(hostile: Path) -> None:
    recording = open_recording(hostile / "escape_codes_in_topic.db3")
    assert [topic.name for topic in recording.topics] == [r"/a\x1b[2Jx", r"/b\nFAKE LINE"]
    assert len(list(recording.frames([r"/a\x1b[2Jx"]))) == 1


def test_damage_is_said_where_no_topic_survives(hostile: Path) -> None:
    recording = open_recording(hostile / "empty_op.bag")
    with pytest.raises(RecordingError, match=r"topics are none.*damaged at byte 4090.*an op of 0"):
        chosen_topics(recording, ())
    with pytest.raises(RecordingError, match=r"no topic '/cam'.*damaged at byte 4090"):
        recording.image_topic("/cam")


def recording_or_refusal(path: Path, max_message_mib: int = 512) -> tuple[list[int], str]:
    """The stamps of all frames and all that is said; only ActiveSamError may be raised."""
    found: list[int] = []
    recording = None
    try:
        recording = open_recording(path, max_message_mib)
        for topic in chosen_topics(recording, ()):
            found += stamps(recording, topic)
    except ActiveSamError as error:
        said = str(error)
        assert "\n" not in said
        return found, said + " ".join(recording.notes if recording else ())
    return found, " ".join(recording.notes)


# metadata.yaml

METADATA = {
    "alias of itself": "a: &a [*a]\nrosbag2_bagfile_information: {relative_file_paths: [*a, *a]}\n",
    "merge": "a: &a {b: 1}\nrosbag2_bagfile_information: {<<: [*a, *a]}\n",
    "digits": f"rosbag2_bagfile_information: {{version: {'9' * 5000}}}\n",
    "date": "rosbag2_bagfile_information: {version: 2021-99-99}\n",
    "depth": f"rosbag2_bagfile_information: {'[' * 5000}\n",
    "types": "rosbag2_bagfile_information: {relative_file_paths: [7, null, [a]]}\n",
    "qos": "rosbag2_bagfile_information: {relative_file_paths: [bag.mcap], "
    "topics_with_message_count: [{topic_metadata: [1]}, 7, {topic_metadata: {name: [x]}}]}\n",
    "not a list": "rosbag2_bagfile_information: {relative_file_paths: [bag.mcap], "
    "topics_with_message_count: 7}\n",
    "no text": "\x00\x07",
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_that_cannot_be_used_is_reported(name: str, bags: BagBuilder) -> None:
    folder = bags.rosbag2(images(bags))
    (folder / "metadata.yaml").write_text(METADATA[name])
    recording = open_recording(folder)
    assert stamps(recording) == whole()
    assert "metadata.yaml" in recording.notes[0]
    assert len(recording.notes[0]) < 600


def test_an_alias_bomb_in_metadata_is_refused_at_once(hostile: Path) -> None:
    recording = open_recording(hostile / "yaml_alias_bomb")
    assert len(list(recording.frames(["/cam/image_raw"]))) == 12
    assert any("alias" in note for note in recording.notes)


def test_metadata_that_is_not_utf_8_is_reported(bags: BagBuilder) -> None:
    folder = bags.rosbag2(images(bags))
    (folder / "metadata.yaml").write_bytes(b"a: \xff\xfe\n")
    recording = open_recording(folder)
    assert stamps(recording) == whole()
    assert "metadata.yaml cannot be used" in recording.notes[0]


@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_frames_that_metadata_counts_and_no_file_has_are_reported(
    storage: StoragePlugin, bags: BagBuilder
) -> None:
    folder = bags.rosbag2(images(bags), storage=storage)
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
    topics = metadata["rosbag2_bagfile_information"]["topics_with_message_count"]
    for entry in topics:
        entry["message_count"] += entry["topic_metadata"]["name"] == TOPIC
    (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    recording = open_recording(folder)
    assert stamps(recording, "/other") == whole()
    before = recording.notes
    assert stamps(recording) == whole()
    (note,) = recording.notes
    assert before == ()
    assert "counts 13 messages on /camera/image_raw" in note
    assert "12" in note


def test_files_of_the_folder_that_metadata_does_not_name_are_reported(bags: BagBuilder) -> None:
    folder = bags.rosbag2(images(bags))
    bags.mcap([bags.image(20)], "bag/bag_1.mcap")
    recording = open_recording(folder)
    assert stamps(recording) == whole()
    assert any("does not name bag_1.mcap" in note for note in recording.notes)


# MCAP: every part of the index can be wrong


def rewrite_summary(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Apply ``change`` to the summary section and give it a right checksum."""
    data = path.read_bytes()
    footer = len(data) - 8 - 20
    start, offsets = struct.unpack_from("<QQ", data, footer)
    summary = change(data[start : footer - 9])
    offsets = start if offsets else 0
    head = b"\x02" + struct.pack("<QQQ", 20, start, 0)
    checksum = zlib.crc32(summary + head)
    path.write_bytes(data[:start] + summary + head + struct.pack("<I", checksum) + data[-8:])


def records(data: bytes) -> list[tuple[int, bytes]]:
    found, place = [], 0
    while place < len(data):
        opcode, length = struct.unpack_from("<BQ", data, place)
        found.append((opcode, data[place + 9 : place + 9 + length]))
        place += 9 + length
    return found


def joined(parts: list[tuple[int, bytes]]) -> bytes:
    return b"".join(struct.pack("<BQ", opcode, len(body)) + body for opcode, body in parts)


CHUNK_INDEX, CHANNEL, STATISTICS, SUMMARY_OFFSET = 8, 4, 11, 14


def _edit(opcode: int, edit: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Edits the third record of a kind, or the last."""

    def change(summary: bytes) -> bytes:
        parts = [part for part in records(summary) if part[0] != SUMMARY_OFFSET]
        places = [place for place, part in enumerate(parts) if part[0] == opcode]
        place = places[min(2, len(places) - 1)]
        parts[place : place + 1] = records(edit(joined([parts[place]])))
        return joined(parts)

    return change


def _poke(offset: int, value: bytes) -> Callable[[bytes], bytes]:
    return lambda record: record[: 9 + offset] + value + record[9 + offset + len(value) :]


FORGED: dict[str, Callable[[bytes], bytes]] = {
    "left out": _edit(CHUNK_INDEX, lambda record: b""),
    "twice": _edit(CHUNK_INDEX, lambda record: record * 2),
    "start time": _edit(CHUNK_INDEX, _poke(0, struct.pack("<Q", 2**63))),
    "offset": _edit(CHUNK_INDEX, _poke(16, struct.pack("<Q", 77))),
    "offset beyond the file": _edit(CHUNK_INDEX, _poke(16, struct.pack("<Q", 2**64 - 5))),
    "length": _edit(CHUNK_INDEX, _poke(24, struct.pack("<Q", 2**63 + 9))),
    "channel of the chunk": _edit(CHUNK_INDEX, _poke(36, struct.pack("<H", 99))),
    "topic of the channel": _edit(
        CHANNEL, lambda record: record.replace(b"/other", TOPIC[:6].encode())
    ),
    "channel left out": _edit(CHANNEL, lambda record: b""),
    "swapped channels": lambda summary: summary.replace(b"\x01\x00\x01\x00", b"\x09\x00\x01\x00"),
    "statistics of channels": _edit(STATISTICS, lambda record: record[:-8] + struct.pack("<Q", 7)),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_wrong_index_with_a_right_checksum_loses_and_repeats_nothing(
    name: str, bags: BagBuilder
) -> None:
    path = bags.mcap(images(bags), chunk_size=300)
    rewrite_summary(path, lambda summary: joined(records(summary)))
    assert open_recording(path).notes == ()
    rewrite_summary(path, FORGED[name])
    recording = open_recording(path)
    for topic in (TOPIC, "/other"):
        assert stamps(recording, topic) == whole()
        assert recording.message_count([topic]) == COUNT
    assert any("its index is not used" in note for note in recording.notes)


def test_messages_outside_the_chunks_of_an_indexed_file_are_delivered(bags: BagBuilder) -> None:
    path = bags.mcap(images(bags, 4), chunk_size=300)
    data = path.read_bytes()
    extra = bags.image(6)
    body = struct.pack("<HIQQ", 1, 0, extra.log_time_ns, 0) + extra.data
    loose = b"\x05" + struct.pack("<Q", len(body)) + body
    start = struct.unpack_from("<Q", data, len(data) - 28)[0] - 13  # before DataEnd
    path.write_bytes(data[:start] + loose + data[start:])
    recording = open_recording(path)
    assert stamps(recording) == [1, 2, 3, 4, 7]


def test_an_early_end_of_the_data_hides_no_frame(bags: BagBuilder) -> None:
    for opcode in (0x0F, 0x02):  # DataEnd, Footer
        path = bags.mcap(images(bags), chunked=False, finished=False)
        data = bytearray(path.read_bytes())
        middle = len(data) // 2
        places = [match.start() for match in re.finditer(rb"\x05.\x00{7}", bytes(data))]
        data[next(place for place in places if place > middle)] = opcode
        path.write_bytes(data)
        recording = open_recording(path)
        found = stamps(recording)
        assert len(found) >= COUNT - 1
        assert recording.notes


def test_what_a_damaged_file_does_not_deliver_is_counted(bags: BagBuilder) -> None:
    path = bags.mcap(images(bags), chunk_size=300, compression=CompressionType.NONE)
    data = bytearray(path.read_bytes())
    data[[match.start() for match in re.finditer(b"camera_optical", data)][10]] ^= 0xFF
    path.write_bytes(bytes(data))
    recording = open_recording(path)
    assert 0 < len(stamps(recording)) < COUNT
    read = len(stamps(recording))
    assert any(f"{read} of {COUNT} messages on {TOPIC}" in note for note in recording.notes)


# ROS 1


def ros1_bags(bags: BagBuilder) -> Path:
    return bags.ros1(images(bags, size=120))  # several chunks would need 768 KB


def test_a_wrong_index_of_a_ros1_bag_loses_and_repeats_nothing(bags: BagBuilder) -> None:
    path = ros1_bags(bags)
    intact = path.read_bytes()
    recording = open_recording(path)
    assert stamps(recording) == whole()
    assert recording.notes == ()
    changes: dict[str, tuple[bytes, bytes]] = {
        "count of an index": (b"count=" + struct.pack("<I", 12), b"count=" + struct.pack("<I", 7)),
        "connection": (b"conn=" + struct.pack("<I", 1), b"conn=" + struct.pack("<I", 0)),
        "chunk count": (b"chunk_count=" + struct.pack("<I", 1), b"chunk_count=\x02\x00\x00\x00"),
        "no chunk": (b"chunk_count=" + struct.pack("<I", 1), b"chunk_count=\x00\x00\x00\x00"),
        "topic": (b"topic=/other", b"topic=/othes"),
    }
    for name, (before, after) in changes.items():
        at = intact.rindex(before)
        if name == "topic":  # the data of the record repeats what its header says
            at = intact.rindex(before, 0, at)
        path.write_bytes(intact[:at] + after + intact[at + len(before) :])
        recording = open_recording(path)
        assert stamps(recording) == whole(), name
        assert stamps(recording, "/other") == whole(), name
        assert recording.notes, name


def test_frames_that_a_ros1_index_repeats_come_once(bags: BagBuilder) -> None:
    path = bags.ros1(images(bags))
    data = path.read_bytes()
    # the first entry of the chunk's index, written over the second
    at = data.index(b"count=" + struct.pack("<I", 12)) + 10
    entries = data.index(struct.pack("<I", 144), at) + 4
    first = data[entries : entries + 12]
    path.write_bytes(data[: entries + 12] + first + data[entries + 24 :])
    assert stamps(open_recording(path)) == whole()


# Decompression


def zeros_message(bags: BagBuilder, mib: int) -> bytes:
    data = b"\x00\x01\x00\x00" + bytes(mib * MIB)
    return zstandard.ZstdCompressor(write_content_size=False).compress(data)


def peak_of(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("sized", [False, True])
@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_a_message_of_zstd_is_bounded(
    sized: bool, storage: StoragePlugin, bags: BagBuilder
) -> None:
    bomb = zstandard.ZstdCompressor(write_content_size=sized).compress(bytes(64 * MIB))
    good = bags.image(0)
    messages = [good, dataclasses.replace(good, log_time_ns=2 * SECOND, data=bomb), bags.image(2)]
    recording = open_recording(bags.rosbag2(messages, storage=storage), max_message_mib=2)
    found = list(recording.frames([TOPIC]))
    assert [frame.message is None for frame in found] == [False, True, False]
    assert "--max-message-mib" in str(found[1].problem)
    assert peak_of(lambda: list(recording.frames([TOPIC]))) < 16 * MIB


@pytest.mark.parametrize("compression", [CompressionType.ZSTD, CompressionType.LZ4])
@pytest.mark.parametrize("stated", ["truth", "lie"])
def test_a_chunk_of_an_mcap_is_bounded(
    compression: CompressionType, stated: str, bags: BagBuilder
) -> None:
    pixels = np.zeros((2048, 2048, 3), np.uint8)
    path = bags.mcap([bags.image(0), bags.image(1, pixels)], chunk_size=1, compression=compression)
    if stated == "lie":
        data = bytearray(path.read_bytes())
        size = 12 << 20
        for match in re.finditer(rb"(?s)\x06.{8}.{16}(.{8})", bytes(data)):
            value = int.from_bytes(match[1], "little")
            if size <= value < size + 4096:
                data[match.start(1) : match.end(1)] = (1000).to_bytes(8, "little")
        path.write_bytes(data)
    recording = open_recording(path, max_message_mib=2)
    assert peak_of(lambda: stamps(recording)) < 24 * MIB
    assert stamps(recording) == [1]
    assert any("max-message-mib" in note or "1,000" in note for note in recording.notes)
    if stated == "truth":
        assert stamps(open_recording(path)) == [1, 2]


@pytest.mark.parametrize(
    "compression", [Ros1Writer.CompressionFormat.BZ2, Ros1Writer.CompressionFormat.LZ4]
)
def test_a_chunk_of_a_ros1_bag_is_bounded(
    compression: Ros1Writer.CompressionFormat, bags: BagBuilder
) -> None:
    pixels = np.zeros((2048, 2048, 3), np.uint8)
    path = bags.ros1([bags.image(0, pixels)], compression=compression)
    assert stamps(open_recording(path)) == [1]
    recording = open_recording(path, max_message_mib=2)
    assert peak_of(lambda: list(recording.frames([TOPIC]))) < 16 * MIB
    assert stamps(recording) == []
    assert any("max-message-mib" in note for note in recording.notes)


def test_a_compressed_file_is_bounded(bags: BagBuilder) -> None:
    for sized in (True, False):
        path = bags.folder / f"bomb_{sized}.mcap.zstd"
        compressor = zstandard.ZstdCompressor(write_content_size=sized)
        path.write_bytes(compressor.compress(bytes(64 * MIB)))
        with pytest.raises(RecordingError, match=r"bomb.*--max-message-mib"):
            open_recording(path, max_message_mib=2)


@pytest.mark.parametrize("value", [0, -1, 10**9])
def test_the_bound_itself_has_bounds(value: int, bags: BagBuilder) -> None:
    path = bags.mcap([bags.image(0)])
    with pytest.raises(ActiveSamError, match="--max-message-mib"):
        open_recording(path, max_message_mib=value)


def test_chunks_of_one_time_do_not_fill_the_memory(bags: BagBuilder) -> None:
    pixels = np.zeros((512, 1024, 3), np.uint8)  # 1.5 MiB
    same = [bags.image(place, pixels, log_time_ns=SECOND) for place in range(40)]
    path = bags.mcap(same, chunk_size=1)
    recording = open_recording(path, max_message_mib=4)
    assert peak_of(lambda: sum(1 for _ in recording.frames([TOPIC]))) < 24 * MIB
    assert stamps(recording) == whole(40)


# Errors


def test_a_recording_that_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    for name in ("a.bag", "a.db3", "a.mcap", "a.mcap.zstd"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(RecordingError, match="named pipe"):
            open_recording(tmp_path / name)


def test_the_original_error_is_the_cause_and_logged_for_debug(
    hostile: Path, bags: BagBuilder, caplog: pytest.LogCaptureFixture
) -> None:
    path = bags.folder / "broken.mcap.zstd"
    path.write_bytes(zstandard.MAGIC_NUMBER.to_bytes(4, "little") + b"\xff" * 40)
    with pytest.raises(RecordingError, match=r"broken\.mcap\.zstd") as caught:
        open_recording(path)
    assert isinstance(caught.value.__cause__, zstandard.ZstdError)
    with caplog.at_level(logging.DEBUG):
        recording = open_recording(hostile / "lost_flipped_index.mcap")
        list(recording.frames(["/cam/image_raw"]))


# Random mutations: no exception escapes, nothing hangs, no frame is lost without a word

KINDS: dict[str, Callable[[BagBuilder], Path]] = {
    "mcap": lambda bags: bags.mcap(images(bags), chunk_size=300),
    "mcap lz4": lambda bags: bags.mcap(
        images(bags), chunk_size=300, compression=CompressionType.LZ4
    ),
    "loose mcap": lambda bags: bags.mcap(images(bags), chunked=False),
    "db3": lambda bags: next(
        bags.rosbag2(images(bags), storage=StoragePlugin.SQLITE3).glob("*.db3")
    ),
    "ros1": lambda bags: bags.ros1(images(bags)),
    "ros1 bz2": lambda bags: bags.ros1(images(bags), compression=Ros1Writer.CompressionFormat.BZ2),
}


def mutated(data: bytes, dice: random.Random) -> bytes:
    """``data`` with one to three bytes, a block or its end changed."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        place = dice.randrange(len(changed))
        kind = dice.randrange(6)
        if kind < 3:
            changed[place] ^= 1 << dice.randrange(8)
        elif kind == 3:
            changed[place] = dice.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 4:
            size = dice.choice((2, 4, 8))
            changed[place : place + size] = dice.choice((b"\xff", b"\x00")) * size
        elif len(changed) > 100:
            del changed[place : place + dice.choice((1, 8, len(changed)))]
            if len(changed) < 100:
                return bytes(changed)
    return bytes(changed)


@pytest.mark.parametrize("kind", KINDS)
def test_no_mutation_loses_a_frame_without_a_word(kind: str, bags: BagBuilder) -> None:
    path = KINDS[kind](bags)
    data = path.read_bytes()
    dice = random.Random(kind)
    began_s = time.process_time()
    target = bags.folder / f"mutated{path.suffix}"
    for number in range(60):
        changed = mutated(data, dice)
        target.write_bytes(changed)
        found, said = recording_or_refusal(target)
        if sorted(found) != sorted(whole() * 2) and not said:
            # a stamp or a topic's name in a message may be other bytes, but no frame goes missing
            assert len(found) == 2 * COUNT, (kind, number, found)
    assert time.process_time() - began_s < 60
