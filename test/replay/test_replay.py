"""Replay segments every frame once, also after interruptions, into a recording for ROS tools."""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from mcap.reader import make_reader
from mcap.writer import CompressionType
from rosbags.rosbag2 import Reader

from activesam_ros.cli import main
from activesam_ros.commands import replay
from activesam_ros.errors import RecordingError, ScoreError, UsageError
from activesam_ros.image_files import write_png
from activesam_ros.prompts.vocabulary import Vocabulary, vocabulary_from_names
from activesam_ros.recordings.frame_pixels import label_map
from activesam_ros.recordings.recorded_frames import open_recording
from activesam_ros.recordings.serialization import ACTIVE_CLASSES, VOCABULARY, ros2_types
from activesam_ros.recordings.video_files import open_video
from activesam_ros.replay.journal import JournalEntry, ReplayJournal
from activesam_ros.replay.mask_recording import output_topics, write_mask_bag
from activesam_ros.replay.segment_frames import segment_remaining
from activesam_ros.resumable_work import add_row, packed

if TYPE_CHECKING:
    from test.fixtures.recording_fixtures import BagBuilder, FakeSegmenter, Terminal

TOPIC = "/camera/image_raw"
SECOND = 1_000_000_000
COUNT = 6


@pytest.fixture
def arguments(
    bags: BagBuilder, fake: FakeSegmenter, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> argparse.Namespace:
    """Arguments of a replay of COUNT frames by the fake segmenter."""
    network = SimpleNamespace(
        streaming_if_enabled=lambda vocabulary, settings, method: fake,
        fingerprint="a1b2",
        config="small",
        dtype="float32",
    )
    monkeypatch.setattr(replay, "load_network", lambda options: network)
    monkeypatch.setattr(replay, "vocabulary_from", lambda args: fake.vocabulary)
    parser = argparse.ArgumentParser()
    replay.add_arguments(parser)
    bag = bags.rosbag2([bags.image(place) for place in range(COUNT)])
    return parser.parse_args(
        f"{bag} --weights {weights} --vocabulary small "
        f"--output {bags.folder}/out/masks.mcap".split()
    )


def stamps(path: Path, topic: str = "/activesam/semantic_mask") -> list[int]:
    return [frame.stamp_ns // SECOND for frame in open_recording(path).frames([topic])]


def test_every_frame_gives_a_mask_with_its_stamp_and_frame_id(
    arguments: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay.run(arguments) == 0
    recording = open_recording(arguments.output)
    masks = list(recording.frames(["/activesam/semantic_mask"]))
    assert [mask.stamp_ns // SECOND for mask in masks] == list(range(1, COUNT + 1))
    assert {mask.frame_id for mask in masks} == {"camera_optical"}
    for place, mask in enumerate(masks):
        assert mask.message.encoding == "mono8"
        np.testing.assert_array_equal(label_map(mask), np.full((4, 6), place, np.uint8))
    actives = list(recording.messages("/activesam/active_classes", ACTIVE_CLASSES))
    assert [active.header.stamp.sec for active in actives] == list(range(1, COUNT + 1))
    assert [(entry.id, entry.name) for entry in actives[0].classes] == [
        (0, "road"), (1, "tree"), (7, "sky"),
    ]  # fmt: skip
    assert actives[0].classes[0].pixel_fraction == 1.0
    assert actives[0].vocabulary_size == 3
    assert f"{COUNT} frames of {TOPIC} segmented, 0 could not be used" in capsys.readouterr().out
    assert [path.name for path in arguments.output.parent.iterdir()] == ["masks.mcap"]


def test_progress_is_shown_on_a_terminal_and_goes_on_after_an_interruption(
    arguments: argparse.Namespace,
    fake: FakeSegmenter,
    terminal: Terminal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stderr", terminal)
    fake.before = lambda call: None if call < 4 else (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        replay.run(arguments)
    assert f"4/{COUNT}" in terminal.getvalue()
    terminal.truncate(0)
    fake.before = lambda call: None
    replay.run(arguments)
    assert f"4/{COUNT}" in terminal.getvalue()
    assert f"{COUNT}/{COUNT}" in terminal.getvalue()
    assert f"0/{COUNT}" not in terminal.getvalue()


def test_a_frame_without_finite_scores_is_counted_and_has_no_mask(
    arguments: argparse.Namespace, fake: FakeSegmenter, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(call: int) -> None:
        if call == 2 and not failed:
            failed.append(call)
            raise ScoreError("The network gives a class score that is NaN.")

    failed: list[int] = []
    fake.before = fail
    assert replay.run(arguments) == 0
    assert len(stamps(arguments.output)) == COUNT - 1
    output = capsys.readouterr()
    assert "1 x /camera/image_raw: The network gives a class score that is NaN." in output.err
    assert "1 could not be used" in output.out


def test_the_vocabulary_is_there_before_the_first_mask(
    arguments: argparse.Namespace, vocabulary: Vocabulary
) -> None:
    replay.run(arguments)
    with arguments.output.open("rb") as stream:
        first = next(iter(make_reader(stream).iter_messages()))
    assert first[1].topic == "/activesam/vocabulary"
    (message,) = open_recording(arguments.output).messages("/activesam/vocabulary", VOCABULARY)
    assert [(entry.id, entry.name, entry.pinned) for entry in message.entries] == [
        (0, "road", False), (1, "tree", True), (7, "sky", False), (255, "background", False),
    ]  # fmt: skip
    assert message.entries[0].color.r == pytest.approx(128 / 255)


def test_the_output_is_what_rosbag2_and_foxglove_expect(arguments: argparse.Namespace) -> None:
    replay.run(arguments)
    with arguments.output.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        assert reader.get_header().profile == "ros2"
        summary: Any = reader.get_summary()
        (metadata,) = [entry for entry in reader.iter_metadata() if entry.name == "activesam"]
    assert metadata.metadata["method"] == "activesam2"
    assert {schema.encoding for schema in summary.schemas.values()} == {"ros2msg"}
    durability = {
        channel.topic: yaml.safe_load(channel.metadata["offered_qos_profiles"])[0]["durability"]
        for channel in summary.channels.values()
    }
    assert durability == {
        "/activesam/vocabulary": 1,
        "/activesam/semantic_mask": 2,
        "/activesam/active_classes": 2,
    }
    with Reader(arguments.output) as strict:  # rosbags takes nothing but the ROS 2 profile
        for connection in strict.connections:
            assert ros2_types().hash_rihs01(connection.msgtype) == next(
                channel.metadata["topic_type_hash"]
                for channel in summary.channels.values()
                if channel.topic == connection.topic
            )
        assert strict.message_count == 2 * COUNT + 1


def test_ros_2_reads_what_replay_writes(arguments: argparse.Namespace) -> None:
    serialization = pytest.importorskip("rclpy.serialization")
    from activesam_ros.msg import ActiveClasses
    from activesam_ros.msg import Vocabulary as VocabularyMessage
    from sensor_msgs.msg import Image

    types = {
        "/activesam/semantic_mask": Image,
        "/activesam/active_classes": ActiveClasses,
        "/activesam/vocabulary": VocabularyMessage,
    }
    replay.run(arguments)
    with arguments.output.open("rb") as stream:
        read = {
            channel.topic: serialization.deserialize_message(message.data, types[channel.topic])
            for _, channel, message in make_reader(stream).iter_messages()
        }
    mask = read["/activesam/semantic_mask"]
    assert (mask.header.stamp.sec, mask.header.frame_id) == (COUNT, "camera_optical")
    assert bytes(mask.data) == bytes([COUNT - 1]) * 24
    assert read["/activesam/active_classes"].classes[2].name == "sky"
    assert [entry.id for entry in read["/activesam/vocabulary"].entries] == [0, 1, 7, 255]


def test_recorded_images_of_12_bits_and_mosaics_are_read_as_the_node_reads_them(
    arguments: argparse.Namespace, bags: BagBuilder, fake: FakeSegmenter
) -> None:
    steps = np.array([[0, 1024, 4095], [0, 1024, 4095]], np.uint16)
    mosaic = np.tile(np.array([[200, 100], [100, 50]], np.uint8), (2, 3))
    topic = f"{TOPIC}/compressed"
    deep = bags.mcap(
        [
            bags.compressed(0, steps, topic, format_name="mono16; png compressed "),
            bags.compressed(1, mosaic, topic, format_name="bayer_rggb8; png compressed "),
            bags.compressed(2, mosaic, topic, format_name="rgb8; qoi compressed bgr8"),
        ]
    )
    arguments.inputs = [deep]
    arguments.assignments = ["bit_depth=12"]
    assert replay.run(arguments) == 0
    grey, colour = fake.images
    assert grey[0].tolist() == [[0] * 3, [64] * 3, [255] * 3]
    assert np.array_equal(colour, np.broadcast_to([200, 100, 50], (4, 6, 3)))
    assert stamps(arguments.output) == [1, 2], "the third has an unknown format"


def test_an_interrupted_replay_goes_on_without_redoing_or_losing_a_frame(
    arguments: argparse.Namespace, fake: FakeSegmenter, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(call: int) -> None:
        if call == 4:
            raise KeyboardInterrupt

    fake.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        replay.run(arguments)
    assert "4 frames are kept" in capsys.readouterr().err
    assert not arguments.output.exists()
    fake.before = lambda call: None
    assert replay.run(arguments) == 0
    assert [int(image[0, 0, 0]) for image in fake.images] == list(range(COUNT))
    assert stamps(arguments.output) == list(range(1, COUNT + 1))
    assert "2 frames in" in capsys.readouterr().out


def test_a_killed_replay_goes_on_as_well(
    bags: BagBuilder, fake: FakeSegmenter, vocabulary: Vocabulary
) -> None:
    recording = open_recording(bags.mcap([bags.image(place) for place in range(COUNT)]))
    path = bags.folder / "masks.mcap.partial"

    def go_on() -> int:
        journal = ReplayJournal(path, {"job": 1})
        segment_remaining(recording.frames((TOPIC,)), vocabulary, fake, journal, lambda: None)
        done: int = journal.done
        journal.close()
        return done

    child = os.fork()
    if child == 0:
        fake.before = lambda call: os.kill(os.getpid(), signal.SIGKILL) if call == 3 else None
        go_on()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert go_on() == COUNT
    assert [int(image[0, 0, 0]) for image in fake.images] == [3, 4, 5]


def test_an_interruption_while_the_output_is_written_redoes_no_frame(
    arguments: argparse.Namespace, fake: FakeSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            "activesam_ros.output_files.os.replace",
            lambda source, target: (_ for _ in ()).throw(KeyboardInterrupt),
        )
        with pytest.raises(KeyboardInterrupt):
            replay.run(arguments)
    assert not arguments.output.exists()
    replay.run(arguments)
    assert len(fake.images) == COUNT
    assert [path.name for path in arguments.output.parent.iterdir()] == ["masks.mcap"]


def test_what_another_replay_left_is_not_gone_on_with(
    arguments: argparse.Namespace, fake: FakeSegmenter
) -> None:
    fake.before = lambda call: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        replay.run(arguments)
    changed = argparse.Namespace(**vars(arguments))
    changed.method, changed.assignments = "full", ["max_active=7"]
    with pytest.raises(UsageError, match="another method and settings"):
        replay.run(changed)
    file = next(arguments.inputs[0].glob("*.mcap"))
    os.utime(file, ns=(1, 1))
    with pytest.raises(UsageError, match="another recording;"):
        replay.run(arguments)


def test_bad_frames_are_counted_and_reported_and_the_others_segmented(
    arguments: argparse.Namespace,
    bags: BagBuilder,
    fake: FakeSegmenter,
    capsys: pytest.CaptureFixture[str],
) -> None:
    messages = [bags.image(place) for place in range(4)]
    messages[1] = bags.image(1, data=b"short")
    messages[2] = bags.image(2, encoding="pink7")
    messages.append(bags.image(4, stamp_ns=0, log_time_ns=9 * SECOND))
    arguments.inputs = [bags.mcap(messages, "bad.mcap")]
    assert replay.run(arguments) == 0
    assert stamps(arguments.output) == [1, 4, 9]
    printed = capsys.readouterr()
    assert "3 frames of /camera/image_raw segmented, 2 could not be used" in printed.out
    assert "5 bytes" in printed.err
    assert "pink7" in printed.err
    assert "1 frames have a stamp of zero" in printed.err


def test_a_recording_of_bad_frames_alone_is_refused_and_leaves_nothing(
    arguments: argparse.Namespace, bags: BagBuilder
) -> None:
    arguments.inputs = [bags.mcap([bags.image(0, data=b"short")], "bad.mcap")]
    with pytest.raises(RecordingError, match="None of the 1 frames"):
        replay.run(arguments)
    assert list(arguments.output.parent.iterdir()) == []


def test_a_damaged_tail_is_used_up_to_the_damage_and_reported(
    arguments: argparse.Namespace, bags: BagBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bags.mcap(
        [bags.image(place) for place in range(4)],
        "cut.mcap",
        chunk_size=1,
        compression=CompressionType.NONE,
    )
    whole = path.read_bytes()
    third = -1
    for _ in range(3):
        third = whole.index(b"camera_optical", third + 1)
    path.write_bytes(whole[:third])
    arguments.inputs = [path]
    assert replay.run(arguments) == 0
    assert stamps(arguments.output) == [1, 2]
    assert "read up to its damage" in capsys.readouterr().err


def test_an_existing_output_and_a_wrong_name_are_refused(arguments: argparse.Namespace) -> None:
    arguments.output.parent.mkdir()
    arguments.output.write_bytes(b"precious")
    with pytest.raises(UsageError, match="exists already"):
        replay.run(arguments)
    assert arguments.output.read_bytes() == b"precious"
    arguments.output = arguments.output.with_suffix(".bag")
    with pytest.raises(UsageError, match=r"must end in \.mcap"):
        replay.run(arguments)


def test_cameras_have_topics_of_their_own() -> None:
    def masks(*topics: str) -> list[str]:
        return [output_topics(topics)[topic].mask for topic in topics]

    assert masks("/anything/at/all") == ["/activesam/semantic_mask"]
    assert masks("/front/image_raw", "/rear/image_raw/compressed") == [
        "/activesam/front/semantic_mask",
        "/activesam/rear/semantic_mask",
    ]
    assert masks("/cam/image_raw", "/cam/image_rect", "/image") == [
        "/activesam/cam/image_raw/semantic_mask",
        "/activesam/cam/image_rect/semantic_mask",
        "/activesam/image/semantic_mask",
    ]


def test_several_cameras_are_replayed_together_in_order(
    arguments: argparse.Namespace, bags: BagBuilder
) -> None:
    wide = np.zeros((4, 10, 3), np.uint8)
    cameras = bags.mcap(
        [
            bags.image(0, topic="/front/image_raw"),
            bags.image(1, wide, topic="/rear/image_raw"),
            bags.image(2, topic="/front/image_raw"),
        ],
        "cameras.mcap",
    )
    arguments.inputs = [cameras]
    replay.run(arguments)
    assert stamps(arguments.output, "/activesam/front/semantic_mask") == [1, 3]
    assert stamps(arguments.output, "/activesam/rear/semantic_mask") == [2]


def test_wide_labels_are_written_as_sixteen_bits(
    arguments: argparse.Namespace, fake: FakeSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = fake.segment
    monkeypatch.setattr(
        fake,
        "segment",
        lambda image: dataclasses.replace(
            (result := narrow(image)), labels=result.labels.astype(np.uint16) + 1000
        ),
    )
    replay.run(arguments)
    mask = next(open_recording(arguments.output).frames(["/activesam/semantic_mask"]))
    assert (mask.message.encoding, mask.message.step) == ("16UC1", 12)
    np.testing.assert_array_equal(label_map(mask), np.full((4, 6), 1000, np.uint16))


def test_a_journal_is_not_opened_twice_and_a_foreign_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "out.mcap.partial"
    journal = ReplayJournal(path, {"job": 1})
    journal.append(JournalEntry(TOPIC, 1, b"mask", b"classes", None, False))
    with pytest.raises(UsageError, match="wait for the replay that has it open"):
        ReplayJournal(path, {"job": 1})
    assert [entry.mask for entry in journal.entries()] == [b"mask"]
    journal.close()
    foreign = tmp_path / "foreign.partial"
    foreign.write_bytes(b"something else entirely, and long enough to be looked at" * 20)
    with pytest.raises(RecordingError, match="is not what an interrupted replay leaves"):
        ReplayJournal(foreign, {"job": 1})
    assert foreign.read_bytes().startswith(b"something else")


def test_the_command_segments_with_the_real_network(
    bags: BagBuilder, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("background\nroad\ntree, hedge\n")
    bag = bags.mcap([bags.image(place, np.full((20, 30, 3), 90, np.uint8)) for place in (0, 1)])
    output = tmp_path / "masks.mcap"
    command = ["replay", str(bag), "--topic", TOPIC, "--weights", str(weights), "--vocabulary"]
    command += [str(names), "--cache-dir", str(tmp_path / "cache"), "--output", str(output)]
    assert main(command) == 0
    masks = [
        label_map(frame) for frame in open_recording(output).frames(["/activesam/semantic_mask"])
    ]
    assert [mask.shape for mask in masks] == [(20, 30), (20, 30)]
    assert set(np.unique(np.stack(masks))) <= {0, 1, 2}
    np.testing.assert_array_equal(masks[0], masks[1])  # of equal images
    capsys.readouterr()
    assert main(command) == 2
    assert "masks.mcap exists already" in capsys.readouterr().err
    missing = str(tmp_path / "nowhere.mcap")
    assert main(["replay", missing, *command[2:-1], str(tmp_path / "b.mcap")]) == 2
    assert f"There is no recording {missing}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"limit": 2}, [1, 2]),
        ({"start": 1.5, "end": 3.0}, [3, 4]),
        ({"start": 2.0, "limit": 1}, [3]),
    ],
)
def test_a_part_of_the_recording_can_be_replayed(
    arguments: argparse.Namespace, options: dict[str, float], expected: list[int]
) -> None:
    for name, value in options.items():
        setattr(arguments, name, value)
    assert replay.run(arguments) == 0
    assert stamps(arguments.output) == expected


def test_a_part_without_frames_is_refused(arguments: argparse.Namespace) -> None:
    arguments.start = 60.0
    with pytest.raises(RecordingError, match="--start and --end"):
        replay.run(arguments)


def test_an_interrupted_replay_of_another_part_is_not_resumed(
    arguments: argparse.Namespace, fake: FakeSegmenter
) -> None:
    fake.before = lambda call: None if call < 2 else (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        replay.run(arguments)
    arguments.start = 1.0
    with pytest.raises(UsageError, match="another part of the recording"):
        replay.run(arguments)


def test_images_are_replayed_into_masks_with_their_names(
    arguments: argparse.Namespace, bags: BagBuilder
) -> None:
    folder = bags.folder / "frames"
    folder.mkdir()
    for place in (10, 2):
        write_png(folder / f"{place}.png", np.full((4, 6, 3), place, np.uint8))
    arguments.inputs = [folder]
    assert replay.run(arguments) == 0
    masks = list(open_recording(arguments.output).frames(["/activesam/semantic_mask"]))
    assert [mask.frame_id for mask in masks] == ["2.png", "10.png"]
    assert [label_map(mask).max() for mask in masks] == [2, 10]
    arguments.topic = ["/image"]
    arguments.output = bags.folder / "again.mcap"
    with pytest.raises(UsageError, match="--topic /image is for recordings"):
        replay.run(arguments)


def test_the_video_shows_each_frame_under_its_classes_with_a_legend(
    arguments: argparse.Namespace, bags: BagBuilder, fake: FakeSegmenter
) -> None:
    """Also after an interruption, and without a recording of masks."""
    picture = np.full((90, 320, 3), 60, np.uint8)
    picture[:, :160, 0], picture[:, 160:, 0] = 1, 7  # tree and sky, by the fake segmenter
    messages = [bags.image(place, picture) for place in range(3)]
    messages.insert(1, bags.image(8, data=b"short", log_time_ns=SECOND))
    arguments.inputs = [bags.mcap(messages, "wide.mcap")]
    arguments.output, arguments.video = None, bags.folder / "out" / "v.mp4"
    fake.before = lambda call: None if call < 2 else (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        replay.run(arguments)
    fake.before = lambda call: None
    assert replay.run(arguments) == 0
    assert [path.name for path in arguments.video.parent.iterdir()] == ["v.mp4"]
    frames = list(open_video(arguments.video).frames())
    assert [frame.stamp_ns for frame in frames] == [0, SECOND, 2 * SECOND]
    for frame in frames:
        height, width = frame.image.shape[:2]
        assert width == 320
        assert height > 90
        for columns, class_id in ((slice(20, 140), 1), (slice(180, 300), 7)):
            color = np.array(fake.vocabulary.palette[class_id])
            expected = (color + np.array([class_id, 60, 60])) / 2
            shown = frame.image[20:70, columns].reshape(-1, 3)
            assert np.abs(shown.mean(axis=0) - expected).max() <= 8
            near = np.abs(frame.image[90:].astype(int) - color).max(axis=2) <= 40
            assert near.sum() > 20  # its colour field in the legend


def test_outputs_are_checked_before_any_work(arguments: argparse.Namespace) -> None:
    arguments.video = arguments.output.with_name("v.gif")
    with pytest.raises(UsageError, match=r"v\.gif must end in \.mp4 or \.webm"):
        replay.run(arguments)
    arguments.output = arguments.video = None
    with pytest.raises(UsageError, match="Nothing would be written"):
        replay.run(arguments)


def test_a_video_of_several_cameras_is_refused(
    arguments: argparse.Namespace, bags: BagBuilder
) -> None:
    both = [bags.image(place, topic=f"/{place}/image") for place in range(2)]
    arguments.inputs = [bags.mcap(both, "two.mcap")]
    arguments.video = bags.folder / "v.mp4"
    with pytest.raises(UsageError, match="choose one of /0/image, /1/image with --topic"):
        replay.run(arguments)


def test_a_tampered_journal_is_refused_whatever_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "out.mcap.partial"
    topics = output_topics([TOPIC])
    rows: dict[tuple[int | str | bytes | None, ...], str] = {
        (0, TOPIC, 1, packed(b"no mask"), b"none", None, 0): "are not a sensor_msgs/msg/Image",
        (0, "/other", 1, packed(b""), b"", None, 0): "has the topic '/other'",
        (0, TOPIC, 1, b"torn", b"", None, 0): "is damaged",
        (0, TOPIC, 1, None, b"", None, 0): "a mask and a problem, or neither",
        (3, TOPIC, 1, None, None, "dark", 0): "entry 0 has place 3",
        (0, TOPIC, -1, None, None, "dark", 0): "is damaged",
        (0, TOPIC, "now", None, None, "dark", 0): "log_time_ns is str",
    }
    for number, (row, message) in enumerate(rows.items()):
        journal = ReplayJournal(path.with_suffix(f".{number}"), {"job": 1})
        add_row(journal._connection, "frames", row)
        with pytest.raises(RecordingError, match=message):
            write_mask_bag(
                tmp_path / "out.mcap",
                journal.entries(),
                topics,
                vocabulary_from_names(["road"]),
                0,
                {},
            )
        journal.close()
    assert not (tmp_path / "out.mcap").exists()


def test_a_recording_with_a_wrong_index_is_replayed_whole_and_it_is_said(
    arguments: argparse.Namespace, found_bags: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments.inputs = [found_bags / "hostile" / "lost_flipped_index.mcap"]
    assert replay.run(arguments) == 0
    out, err = capsys.readouterr()
    assert "12 frames of /cam/image_raw segmented, 0 could not be used" in out
    assert "its index is not used" in err
    assert len(stamps(arguments.output)) == 12
