"""Playback and recorder as processes: what is played over DDS arrives, byte for byte."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pytest
import rclpy
import yaml
from mcap.writer import CompressionType
from rclpy.node import Node
from rosbags.highlevel import AnyReader
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from activesam_ros.errors import RecordingError, UsageError
from activesam_ros.node.node_status import CameraStatus, NodeStatus
from activesam_ros.node.playback.command import StopFlag
from activesam_ros.node.playback.played_bag import PlayedBag, offered_profile
from activesam_ros.node.playback.player import Playback, PlaybackOptions, main
from activesam_ros.node.playback.recording_writer import message_definition
from activesam_ros.node.playback.reports import PlaybackEvent, Report

if TYPE_CHECKING:
    from test.fixtures.recording_fixtures import BagBuilder

TYPES = get_typestore(Stores.ROS2_JAZZY)
IMAGE, TEXT = "sensor_msgs/msg/Image", "std_msgs/msg/String"
FRAMES = 12
TIMEOUT_S = 60.0
START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 20_000_000
FOREVER = QosTime(2147483647, 4294967295)
Messages = list[tuple[str, int, bytes]]


def quality(
    reliability: QosReliability = QosReliability.RELIABLE,
    durability: QosDurability = QosDurability.VOLATILE,
    depth: int = 10,
) -> Qos:
    return Qos(
        QosHistory.KEEP_LAST,
        depth,
        reliability,
        durability,
        FOREVER,
        FOREVER,
        QosLiveliness.AUTOMATIC,
        FOREVER,
        False,
    )


def image(index: int) -> bytes:
    stamp_ns = START_NS + index * PERIOD_NS
    types = TYPES.types
    stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    pixels = np.random.default_rng(index).integers(0, 256, 300 * 400 * 3).astype(np.uint8)
    message = types[IMAGE](
        header=types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera"),
        height=300,
        width=400,
        encoding="rgb8",
        is_bigendian=0,
        step=1200,
        data=pixels,
    )
    return bytes(TYPES.serialize_cdr(message, IMAGE))


def text(content: str) -> bytes:
    return bytes(TYPES.serialize_cdr(TYPES.types[TEXT](data=content), TEXT))


def write_bag(folder: Path, plugin: StoragePlugin, compressed: bool = False) -> Messages:
    """A latched text, images, and a topic of a type that is not installed."""
    played: Messages = []
    writer = Writer(folder, version=8, storage_plugin=plugin)
    if compressed:
        writer.set_compression(CompressionMode.MESSAGE, CompressionFormat.ZSTD)
    with writer:
        latched = quality(durability=QosDurability.TRANSIENT_LOCAL, depth=1)
        about = writer.add_connection(
            "/about", TEXT, typestore=TYPES, offered_qos_profiles=[latched]
        )
        images = writer.add_connection(
            "/camera/image_raw", IMAGE, typestore=TYPES, offered_qos_profiles=[quality()]
        )
        tf = writer.add_connection("/tf_static", "tf2_msgs/msg/TFMessage", typestore=TYPES)
        empty = TYPES.types["tf2_msgs/msg/TFMessage"](transforms=[])
        writer.write(tf, START_NS, TYPES.serialize_cdr(empty, "tf2_msgs/msg/TFMessage"))
        writer.write(about, START_NS, text("a drive"))
        played.append(("/about", START_NS, text("a drive")))
        for index in range(FRAMES):
            time_ns = START_NS + index * PERIOD_NS
            writer.write(images, time_ns, image(index))
            played.append(("/camera/image_raw", time_ns, image(index)))
    return played


def messages_of(path: Path) -> Messages:
    with Reader(path) as reader:
        return [(entry.topic, time_ns, bytes(data)) for entry, time_ns, data in reader.messages()]


class Processes:
    """Starts modules of the package and reads the reports they print."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[tuple[subprocess.Popen[str], threading.Timer]] = []

    def start(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", f"activesam_ros.node.{module}", *arguments, "--report"],
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # A process that waits for another one's messages ends when that one has failed.
        watchdog = threading.Timer(TIMEOUT_S, process.kill)
        watchdog.start()
        self._started.append((process, watchdog))
        return process

    def kill(self) -> None:
        for process, watchdog in self._started:
            watchdog.cancel()
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def processes(repository: Path) -> Iterator[Processes]:
    started = Processes(repository)
    yield started
    started.kill()


def reports(process: subprocess.Popen[str]) -> Iterator[Report]:
    stream: IO[str] | None = process.stdout
    assert stream is not None
    for line in stream:
        yield Report.parse(line)


def interrupt(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors


def test_everything_played_is_recorded_byte_for_byte(tmp_path: Path, processes: Processes) -> None:
    played = write_bag(tmp_path / "bag", StoragePlugin.MCAP)
    recorded = tmp_path / "recorded.mcap"
    topics = ("/about", "/camera/image_raw")
    recorder = processes.start(
        "playback.recorder",
        "-o",
        str(recorded),
        *(word for topic in topics for word in ("--topic", topic)),
    )
    playback = processes.start(
        "playback",
        str(tmp_path / "bag"),
        *(word for topic in topics for word in ("--await-subscriber", topic)),
    )
    heard: list[Report] = []
    for report in reports(recorder):
        heard.append(report)
        if sum(entry.event is PlaybackEvent.RECORDED for entry in heard) == len(played):
            break
    told = list(reports(playback))
    assert playback.wait(30) == 0
    assert interrupt(recorder) == (0, "")

    # the file: the same bytes in the same order on each topic, with types that a reader finds in it
    for topic in topics:
        sent = [data for name, _, data in played if name == topic]
        assert [data for name, _, data in messages_of(recorded) if name == topic] == sent
    with AnyReader([recorded]) as reader:
        assert {entry.topic: entry.msgtype for entry in reader.connections} == {
            "/about": TEXT,
            "/camera/image_raw": IMAGE,
        }
        for entry, _, data in reader.messages():
            reader.deserialize(data, entry.msgtype)
        durability = {
            entry.topic: entry.ext.offered_qos_profiles[0].durability  # type: ignore[union-attr]
            for entry in reader.connections
        }
    assert durability["/about"] is QosDurability.TRANSIENT_LOCAL
    assert durability["/camera/image_raw"] is QosDurability.VOLATILE

    # the reports: each image once on either side, told before it arrived, on one clock
    stamps = [time_ns for name, time_ns, _ in played if name == "/camera/image_raw"]
    sent_at = {r.stamp_ns: r.monotonic_ns for r in told if r.topic == "/camera/image_raw"}
    got_at = {
        r.stamp_ns: r.monotonic_ns
        for r in heard
        if r.event is PlaybackEvent.RECORDED and r.topic == "/camera/image_raw"
    }
    assert list(sent_at) == stamps
    assert list(got_at) == stamps
    assert all(sent_at[stamp] < got_at[stamp] for stamp in stamps)
    assert Counter(r.event for r in heard)[PlaybackEvent.SUBSCRIBED] == len(topics)
    assert told[-1].event is PlaybackEvent.FINISHED


class Waits(StopFlag):
    """Notes the moments for which the player waits, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.moments_s: list[float] = []

    def wait_until(self, moment_s: float) -> bool:
        self.moments_s.append(moment_s)
        return True


@pytest.mark.parametrize("rate", [1.0, 4.0])
def test_each_message_waits_for_its_time(tmp_path: Path, rate: float) -> None:
    played = write_bag(tmp_path / "bag", StoragePlugin.MCAP)
    context, waits = rclpy.Context(), Waits()
    rclpy.init(args=[], context=context)
    node = Node("player", context=context)
    Playback(node, PlayedBag(tmp_path / "bag"), PlaybackOptions(rate=rate)).play(waits)
    node.destroy_node()
    rclpy.shutdown(context=context)
    elapsed_s = [moment_s - waits.moments_s[0] for moment_s in waits.moments_s]
    assert elapsed_s == pytest.approx([(ns - START_NS) / 1e9 / rate for _, ns, _ in played])


def test_ctrl_c_ends_both_and_the_file_is_whole(tmp_path: Path, processes: Processes) -> None:
    write_bag(tmp_path / "bag", StoragePlugin.MCAP)
    recorded = tmp_path / "recorded.mcap"
    recorder = processes.start(
        "playback.recorder",
        "-o",
        str(recorded),
        "--topic",
        "/camera/image_raw",
        "--topic",
        "/clock",
    )
    playback = processes.start(
        "playback",
        str(tmp_path / "bag"),
        *("--topic", "/camera/image_raw", "--await-subscriber", "/camera/image_raw"),
        *("--loop", "--restamp", "--clock", "200"),
    )
    stamps: list[int] = []
    ticks = 0
    for report in reports(recorder):
        if report.event is PlaybackEvent.RECORDED and report.topic == "/clock":
            ticks += 1
        elif report.event is PlaybackEvent.RECORDED and report.stamp_ns is not None:
            stamps.append(report.stamp_ns)
        if len(stamps) > 2 * FRAMES and ticks > 2 * FRAMES:
            break
    assert interrupt(playback) == (0, "")
    assert interrupt(recorder) == (0, "")
    # several rounds of the loop, each image with a stamp of its own
    assert stamps == sorted(set(stamps))
    assert stamps[0] > START_NS
    with Reader(recorded) as reader:
        counts = {entry.topic: entry.msgcount for entry in reader.connections}
    assert counts["/camera/image_raw"] >= len(stamps)
    assert counts["/clock"] >= ticks


def test_the_recorder_tells_what_a_node_says_about_itself(
    tmp_path: Path, processes: Processes
) -> None:
    kind = "diagnostic_msgs/msg/DiagnosticArray"
    types = TYPES.types
    values = {"state": "unconfigured", "frames_waiting": "2"}
    status = types["diagnostic_msgs/msg/DiagnosticStatus"](
        level=2,
        name="front/activesam: network",
        message="Configuring failed: no weights",
        hardware_id="none",
        values=[types["diagnostic_msgs/msg/KeyValue"](*pair) for pair in values.items()],
    )
    stamp = types["builtin_interfaces/msg/Time"](sec=1, nanosec=0)
    array = types[kind](header=types["std_msgs/msg/Header"](stamp, ""), status=[status])
    with Writer(tmp_path / "bag", version=8) as writer:
        topic = writer.add_connection("/diagnostics", kind, typestore=TYPES)
        writer.write(topic, START_NS, TYPES.serialize_cdr(array, kind))
    recorder = processes.start(
        "playback.recorder", "-o", str(tmp_path / "recorded.mcap"), "--topic", "/diagnostics"
    )
    processes.start("playback", str(tmp_path / "bag"), "--await-subscriber", "/diagnostics")
    told = next(r for r in reports(recorder) if r.event is PlaybackEvent.NODE_STATUS)
    assert told.stamp_ns == 1_000_000_000
    assert told.status == NodeStatus(
        "/front/activesam", "unconfigured", "Configuring failed: no weights", 2
    )
    assert interrupt(recorder) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_flag_ends_a_wait_and_gives_the_handlers_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopFlag() as stop:
        assert stop.wait_until(time.monotonic())
        os.kill(os.getpid(), number)
        assert not stop.wait_until(time.monotonic() + 3600.0)
        assert stop
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("form", ["mcap", "sqlite", "file", "without metadata", "zstd messages"])
def test_every_form_of_recording_gives_the_same_messages(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "bag"
    written = write_bag(
        folder,
        StoragePlugin.SQLITE3 if form == "sqlite" else StoragePlugin.MCAP,
        compressed=form == "zstd messages",
    )
    if form == "without metadata":
        (folder / "metadata.yaml").unlink()
    bag = PlayedBag(folder / "bag.mcap" if form == "file" else folder)
    assert list(bag.messages({"/about", "/camera/image_raw"})) == written
    assert list(bag.messages(set())) == []
    assert {topic.name: topic.messages for topic in bag.topics.values()} == {
        "/about": 1,
        "/camera/image_raw": FRAMES,
        "/tf_static": 1,
    }
    assert bag.topics["/about"].profile.durability.name == "TRANSIENT_LOCAL"
    assert bag.warnings == []


OTHER_QOS = """- history: keep_last
  depth: 5
  reliability: best_effort
  durability: volatile
  deadline: {sec: 0, nsec: 0}
  lifespan: {sec: 0, nsec: 0}
  liveliness: automatic
  liveliness_lease_duration: {sec: 0, nsec: 0}
  avoid_ros_namespace_conventions: false
"""


def change_metadata(folder: Path, qos: object) -> None:
    """Let metadata.yaml state ``qos`` for every topic; None for nothing at all."""
    path = folder / "metadata.yaml"
    content = yaml.safe_load(path.read_text())
    for entry in content["rosbag2_bagfile_information"]["topics_with_message_count"]:
        if qos is None:
            del entry["topic_metadata"]["offered_qos_profiles"]
        else:
            entry["topic_metadata"]["offered_qos_profiles"] = qos
    path.write_text(yaml.safe_dump(content))


@pytest.mark.parametrize("plugin", list(StoragePlugin))
@pytest.mark.parametrize("qos", ["", None, OTHER_QOS, yaml.safe_load(OTHER_QOS)])
def test_the_files_quality_of_service_counts_where_the_metadata_states_another(
    tmp_path: Path, plugin: StoragePlugin, qos: object
) -> None:
    folder = tmp_path / "bag"
    written = write_bag(folder, plugin)
    change_metadata(folder, qos)
    bag = PlayedBag(folder)
    assert list(bag.messages({"/about", "/camera/image_raw"})) == written
    about, images = (bag.topics[name].profile for name in ("/about", "/camera/image_raw"))
    assert (about.reliability.name, about.durability.name) == ("RELIABLE", "TRANSIENT_LOCAL")
    assert (images.reliability.name, images.depth) == ("RELIABLE", 10)
    for name in ("/about", "/camera/image_raw"):
        assert any(f"another quality of service for {name} than" in w for w in bag.warnings)
    static = bag.topics["/tf_static"].profile  # its file states none
    assert static.depth == (5 if qos else 10)


def test_a_quality_of_service_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag", StoragePlugin.MCAP)
    change_metadata(tmp_path / "bag", "- history: 3\n")
    bag = PlayedBag(tmp_path / "bag")
    assert any("for /about cannot be read (KeyError: 'depth')" in w for w in bag.warnings)
    assert bag.topics["/about"].profile.durability.name == "TRANSIENT_LOCAL"


def test_a_recording_with_edited_metadata_is_played_whole_and_it_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    written = write_bag(tmp_path / "bag", StoragePlugin.MCAP)
    change_metadata(tmp_path / "bag", OTHER_QOS)
    assert main([str(tmp_path / "bag"), "--report", "--rate", "100"]) == 0
    told = capfd.readouterr()
    played = [Report.parse(line) for line in told.out.splitlines()]
    assert [report.topic for report in played[:-1]] == [topic for topic, _, _ in written]
    assert "another quality of service for /camera/image_raw than" in told.err


def test_splits_whose_times_overlap_are_played_by_time(tmp_path: Path) -> None:
    folder = tmp_path / "splits"
    folder.mkdir()
    for number, places in enumerate([(0, 1, 4), (2, 3, 5)]):
        with Writer(tmp_path / f"part_{number}", version=8, storage_plugin=StoragePlugin.MCAP) as w:
            topic = w.add_connection("/about", TEXT, typestore=TYPES)
            for place in places:
                w.write(topic, START_NS + place, text(str(place)))
        shutil.move(tmp_path / f"part_{number}/part_{number}.mcap", folder)
    played = list(PlayedBag(folder).messages({"/about"}))
    assert played == [("/about", START_NS + place, text(str(place))) for place in range(6)]


def test_of_two_types_on_a_topic_the_one_with_more_messages_is_played(tmp_path: Path) -> None:
    with Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        few = writer.add_connection("/camera/image_raw", IMAGE, typestore=TYPES)
        many = writer.add_connection("/camera/image_raw", TEXT, typestore=TYPES)
        writer.write(few, START_NS, image(0))
        for place in range(3):
            writer.write(many, START_NS + place, text(str(place)))
    bag = PlayedBag(tmp_path / "bag")
    assert [data for _, _, data in bag.messages({"/camera/image_raw"})] == list(map(text, "012"))
    assert (bag.topics["/camera/image_raw"].message_type, len(bag.warnings)) == (TEXT, 1)
    assert f"The {IMAGE} on /camera/image_raw are not played" in bag.warnings[0]


def run_playback(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(arguments)
    return code, capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--topic", "/nowhere"), "has no topic '/nowhere'"),
        (("--rate", "0"), "rate 0 is out of range"),
        (("--clock", "inf"), "clock frequency in Hz inf is out of range"),
        (("--await-subscriber", "/about", "--await-timeout", "0"), "Nobody has subscribed"),
        (("--topic", "/tf_static"), "tf2_msgs/msg/TFMessage is not installed"),
        (("--topic", "/about", "--await-subscriber", "/tf_static"), "awaited but not played"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: Sequence[str], sentence: str
) -> None:
    write_bag(tmp_path / "bag", StoragePlugin.MCAP)
    code, errors = run_playback(capfd, str(tmp_path / "bag"), *arguments)
    assert code == 2
    assert sentence in errors
    assert "Traceback" not in errors


def test_a_recorded_clock_does_not_compete_with_the_published_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kind = "rosgraph_msgs/msg/Clock"
    time_type = TYPES.types["builtin_interfaces/msg/Time"]
    with Writer(tmp_path / "bag", version=8) as writer:
        topic = writer.add_connection("/clock", kind, typestore=TYPES)
        clock = TYPES.types[kind](clock=time_type(sec=1, nanosec=0))
        writer.write(topic, START_NS, TYPES.serialize_cdr(clock, kind))
    code, errors = run_playback(capfd, str(tmp_path / "bag"), "--clock")
    assert code == 2
    assert "/clock is not played: --clock publishes it." in errors
    assert run_playback(capfd, str(tmp_path / "bag")) == (0, "")


def test_what_is_no_recording_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.mcap").write_bytes(b"nothing")
    assert run_playback(capfd, str(tmp_path / "none.mcap"))[0] == 2
    code, errors = run_playback(capfd, str(tmp_path / "broken.mcap"))
    assert code == 2
    assert "broken.mcap does not begin like an MCAP file" in errors


def test_a_recording_of_which_no_message_can_be_read_is_an_error(
    bags: BagBuilder, capfd: pytest.CaptureFixture[str]
) -> None:
    path = bags.mcap([bags.image(place) for place in range(3)], compression=CompressionType.NONE)
    data = bytearray(path.read_bytes())
    data[data.index(b"camera_optical")] ^= 0xFF  # the checksum of the only chunk is wrong
    path.write_bytes(data)
    code, errors = run_playback(capfd, str(path))
    assert code == 2
    assert "can be played: " in errors
    assert "is read up to its damage" in errors


def test_the_recorder_keeps_an_earlier_recording(tmp_path: Path, processes: Processes) -> None:
    path = tmp_path / "recorded.mcap"
    path.write_bytes(b"precious")
    recorder = processes.start("playback.recorder", "-o", str(path), "--topic", "/about")
    _, errors = recorder.communicate(timeout=30)
    assert recorder.returncode == 2
    assert "exists already" in errors
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ((), ("RELIABLE", "VOLATILE", 10)),
        ((quality(QosReliability.BEST_EFFORT, depth=3),), ("BEST_EFFORT", "VOLATILE", 3)),
        (
            (quality(QosReliability.BEST_EFFORT, depth=3), quality(depth=7)),
            ("RELIABLE", "VOLATILE", 7),
        ),
        (
            (
                quality(durability=QosDurability.TRANSIENT_LOCAL, depth=1),
                quality(durability=QosDurability.TRANSIENT_LOCAL, depth=2),
            ),
            ("RELIABLE", "TRANSIENT_LOCAL", 3),
        ),
        ((quality(depth=0),), ("RELIABLE", "VOLATILE", 10)),
    ],
)
def test_the_recorded_quality_of_service_is_offered(
    recorded: Sequence[Qos], expected: tuple[str, str, int]
) -> None:
    profile = offered_profile("/any", recorded)
    assert (profile.reliability.name, profile.durability.name, profile.depth) == expected


def test_static_transforms_are_latched_where_the_recording_does_not_tell() -> None:
    assert offered_profile("/tf_static", ()).durability.name == "TRANSIENT_LOCAL"


def test_what_is_awaited_must_be_played() -> None:
    with pytest.raises(UsageError, match="/b is awaited but not played"):
        PlaybackOptions(topics=("/a",), awaited=("/b",))


def test_a_definition_brings_every_type_within() -> None:
    definition = message_definition("sensor_msgs/msg/Image")
    parts = definition.split("=" * 80 + "\n")
    assert [part.splitlines()[0] for part in parts[1:]] == [
        "MSG: std_msgs/Header",
        "MSG: builtin_interfaces/Time",
    ]
    with pytest.raises(RecordingError, match="no_such_msgs/msg/Thing"):
        message_definition("no_such_msgs/msg/Thing")


def test_reports_survive_their_line() -> None:
    report = Report(PlaybackEvent.RECORDED, "/a", None, os.getpid())
    assert Report.parse(report.line()) == report
    camera = CameraStatus("front", "/front", 1, 3, 2, {"wrong_step": 1}, {"wrong_step": "3."})
    status = NodeStatus("/activesam", "unconfigured", "Configuring failed: no x", 2, (camera,))
    told = Report(PlaybackEvent.NODE_STATUS, "/diagnostics", 5, 6, status)
    assert Report.parse(told.line()) == told
    other: Any = '{"event": "recorded"}'
    with pytest.raises(ValueError, match="no report"):
        Report.parse(other)
