"""The whole demo as a user starts it: node, playback and recorder over DDS."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image
from rosbags.highlevel import AnyReader

from activesam_ros.commands.demo_run import add_arguments, options_from, run
from activesam_ros.demo.drive.bag_writer import write_drive
from activesam_ros.demo.drive.options import DriveOptions
from activesam_ros.demo.live.demo import OwnRecording, choose_topics
from activesam_ros.demo.live.live import (
    ACTIVE_CLASSES_TOPIC,
    CAMERA_INFO_TOPIC,
    MASK_TOPIC,
    RECORDED_TOPICS,
    LiveOptions,
    demo_environment,
    subscribed_topic,
    write_parameters,
)
from activesam_ros.demo.world.classes import ClassId
from activesam_ros.errors import RecordingError, UsageError

FRAMES = 8
TIMEOUT_S = 120.0
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(activesam: str, repository: Path, tmp_path: Path, ros_domain_id: int) -> Iterator[Start]:
    """Starts a small demo that writes to ``tmp_path``/out."""
    started: list[subprocess.Popen[str]] = []

    def launch(*options: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [
                *(activesam, "demo", "run"),
                *("--output", str(tmp_path / "out"), "--frames", str(FRAMES)),
                *("--size", "128x96", "--rate", "5", "--domain-id", str(ros_domain_id)),
                *options,
            ],
            cwd=repository,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield launch
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=TIMEOUT_S)


def processes_of(folder: Path, word: str = "") -> list[int]:
    """Ids of processes that have the folder, and the word, on their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue  # it has ended
        if str(folder) in line and word in line:
            found.append(int(entry.name))
    return found


def label_images(recording: Path, topic: str) -> dict[int, NDArray[np.uint8]]:
    """Stamp in nanoseconds -> mono8 image [H, W]."""
    images = {}
    with AnyReader([recording]) as reader:
        connections = [entry for entry in reader.connections if entry.topic == topic]
        for connection, _, data in reader.messages(connections):
            image: Any = reader.deserialize(data, connection.msgtype)
            stamp_ns = image.header.stamp.sec * 10**9 + image.header.stamp.nanosec
            images[stamp_ns] = image.data.reshape(image.height, image.width)
    return images


def accuracy_of(recorded: Path, drive: Path) -> tuple[float, float]:
    """mIoU over the classes that occur in a mask or a label image, and the pixel accuracy."""
    masks, truth = label_images(recorded, MASK_TOPIC), label_images(drive, "/ground_truth/labels")
    predicted = np.stack(list(masks.values()))
    labels = np.stack([truth[stamp_ns] for stamp_ns in masks])
    known = labels != ClassId.UNLABELLED
    pairs = [(known & (predicted == label), known & (labels == label)) for label in range(19)]
    iou = [(one & other).sum() / (one | other).sum() for one, other in pairs if (one | other).any()]
    return float(np.mean(iou)), float((predicted == labels)[known].mean())


def read_until(process: subprocess.Popen[str], sentence: str) -> str:
    """What the process prints up to the line with that sentence."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if sentence in line:
            return said
    pytest.fail(f"{sentence!r} is not in {said!r}")


def without_progress(errors: str) -> str:
    """What was printed to stderr, without the lines that a slow computer shows meanwhile."""
    progress = re.compile(r"activesam: .*( \.\.\.( \(\d+ s\))?| a second(; \d+ masks)?)")
    lines = errors.splitlines(keepends=True)
    return "".join(line for line in lines if not progress.fullmatch(line.rstrip("\n")))


def test_a_drive_goes_through_the_node_and_everything_is_there(
    start: Start, tmp_path: Path
) -> None:
    process = start("--untrained")
    printed, errors = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, without_progress(errors)) == (0, "")
    out = tmp_path / "out"
    summary = json.loads((out / "summary.json").read_text("utf-8"))

    frames = summary["frames"]
    assert frames["in"] == FRAMES
    assert 1 <= frames["out"] <= FRAMES
    assert frames["in"] == frames["out"] + frames["dropped"]
    assert sum(frames["drop_causes"].values()) == frames["dropped"]
    assert summary["latency_ms"]["p95"] >= summary["latency_ms"]["p50"] > 0
    assert 0 < summary["node_latency_ms"]["p50"] <= summary["latency_ms"]["p95"]
    assert summary["active_classes"]["vocabulary_size"] == 19
    assert sum(summary["active_classes"]["pixel_fraction"].values()) == pytest.approx(1, abs=1e-3)
    assert summary["label_topic"] == "/ground_truth/labels"
    assert summary["labelled_frames"] == frames["out"]
    assert summary["node_exit_code"] == 0

    # an untrained network says so wherever somebody looks
    assert summary["trained"] is False
    assert "THE WEIGHTS ARE RANDOM NUMBERS" in printed
    assert re.search(rf"^  frames in +{FRAMES} ", printed, re.MULTILINE)

    stamps: dict[str, list[int]] = {topic: [] for topic in RECORDED_TOPICS}
    with AnyReader([out / "recorded.mcap"]) as reader:
        for connection, _, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            stamp = message.header.stamp  # type: ignore[attr-defined]
            stamps[connection.topic].append(stamp.sec * 10**9 + stamp.nanosec)
    assert len(stamps[MASK_TOPIC]) == frames["out"]
    miou, pixel_accuracy = accuracy_of(out / "recorded.mcap", out / "drive.mcap")
    assert summary["miou"] == pytest.approx(miou)
    assert summary["pixel_accuracy"] == pytest.approx(pixel_accuracy)
    assert stamps[ACTIVE_CLASSES_TOPIC] == stamps[CAMERA_INFO_TOPIC] == stamps[MASK_TOPIC]
    assert all(stamps.values())

    overlays = sorted((out / "overlays").glob("*.png"))
    assert len(overlays) == min(frames["out"], 8)
    with Image.open(overlays[0]) as still:
        assert still.width == 2 * 128
    with Image.open(out / "demo.webp") as animation:
        assert animation.n_frames == frames["out"]  # type: ignore[attr-defined]
    assert processes_of(out) == []


def test_a_node_that_dies_ends_the_demo_in_one_sentence(start: Start, tmp_path: Path) -> None:
    process = start("--untrained", "--rate", "0.5")
    read_until(process, "the node is ready")
    (node,) = processes_of(tmp_path / "out", "segment_node")
    subprocess.run(["kill", "-KILL", str(node)], check=True)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    errors = without_progress(errors)
    assert errors.startswith("activesam: The node ended by signal 9 in the middle of the demo")
    assert errors.count("\n") == 1
    assert processes_of(tmp_path / "out") == []
    assert not (tmp_path / "out" / "summary.json").exists()


def test_ctrl_c_leaves_nobody_behind(start: Start, tmp_path: Path) -> None:
    process = start("--untrained", "--rate", "0.5")
    read_until(process, "starting node")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, without_progress(errors)) == (130, "activesam: interrupted.\n")
    assert processes_of(tmp_path / "out") == []


def test_a_node_that_cannot_be_configured_says_why(start: Start, tmp_path: Path) -> None:
    weights = tmp_path / "sam3.pt"
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    process = start("--weights", str(weights))
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert without_progress(errors).startswith("activesam: The node could not be configured: ")
    assert "git-lfs pointer" in errors
    assert processes_of(tmp_path / "out") == []


def live_options(folder: Path, image_topic: str = "/camera/image_raw") -> LiveOptions:
    return LiveOptions(
        bag=folder / "bag.mcap",
        image_topic=image_topic,
        compressed="jpeg" in image_topic or "compressed" in image_topic,
        topics=(),
        weights=folder / "weights",
        vocabulary="cityscapes",
        device="cpu",
        output=folder,
        recording=folder / "recorded.mcap",
        domain_id=42,
        localhost_only=True,
    )


def test_a_demo_stays_on_this_computer_whatever_the_shell_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "7")
    monkeypatch.setenv("ROS_STATIC_PEERS", "robot")
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    environment = demo_environment(live_options(tmp_path))
    assert environment["ROS_DOMAIN_ID"] == "42"
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert "ROS_STATIC_PEERS" not in environment
    assert "ROS_LOCALHOST_ONLY" not in environment
    monkeypatch.setenv("ROS_DISTRO", "humble")
    assert demo_environment(live_options(tmp_path))["ROS_LOCALHOST_ONLY"] == "1"


@pytest.mark.parametrize(
    ("topic", "heard"),
    [
        ("/camera/image_raw", "/camera/image_raw"),
        ("/camera/image_raw/compressed", "/camera/image_raw/compressed"),
        ("/camera/jpeg", "/camera/jpeg/compressed"),
    ],
)
def test_compressed_images_go_where_the_node_listens(
    tmp_path: Path, topic: str, heard: str
) -> None:
    options = live_options(tmp_path, topic)
    assert subscribed_topic(options) == heard
    parameters = yaml.safe_load(write_parameters(options).read_text("utf-8"))
    transport = parameters["/**"]["ros__parameters"]["image_transport"]
    assert transport == ("raw" if heard == "/camera/image_raw" else "compressed")


def test_method_and_settings_reach_the_node(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = ["--method", "activesam", "--set", "pinned=car,bus", "--set", "max_active=5"]
    chosen = options_from(parser.parse_args(["--output", str(tmp_path), *arguments]))
    options = dataclasses.replace(
        live_options(tmp_path), method=chosen.method, settings=chosen.settings
    )
    parameters = yaml.safe_load(write_parameters(options).read_text("utf-8"))["/**"]
    values = parameters["ros__parameters"]
    assert (values["method"], values["max_active"]) == ("activesam", 5)
    assert values["pinned"] == ["car", "bus"]


def test_of_a_recording_of_one_s_own_only_the_camera_is_played(tmp_path: Path) -> None:
    bag = tmp_path / "own.mcap"
    write_drive(DriveOptions(frames=1, width=64, height=64), bag, compressed=True)
    played = choose_topics(OwnRecording(bag))
    assert played.image_topic == "/camera/image_raw/compressed"
    assert played.compressed
    assert set(played.topics) == {played.image_topic, "/camera/camera_info", "/tf_static"}
    assert played.label_topic == "/ground_truth/labels"
    with pytest.raises(RecordingError, match="has no topic '/nowhere'"):
        choose_topics(OwnRecording(bag, image_topic="/nowhere"))
    with pytest.raises(UsageError, match="--frames 0"):
        choose_topics(OwnRecording(bag, frames=0))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--weights", "none.pt"), "no weights at none.pt"),
        (("--domain-id", "300"), "--domain-id 300 is out of range"),
        (("--image-topic", "/a"), "--image-topic is for a recording of your own"),
        (("--size", "large"), "'large' is not WIDTHxHEIGHT"),
        (("--output", __file__), "is a file; give a folder"),
    ],
)
def test_bad_arguments_are_refused_before_anything_starts(
    tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(["--output", str(tmp_path / "out"), *options])
    with pytest.raises(UsageError, match=sentence):
        run(args)
