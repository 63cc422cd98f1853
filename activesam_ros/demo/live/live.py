"""Run node, playback and recorder as three processes, from their start to a clean end."""

from __future__ import annotations

import os
import queue
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import yaml

from activesam_ros.demo.live.processes import Children, DemoError, Ended, is_clean_end
from activesam_ros.node.node_status import NodeStatus
from activesam_ros.node.playback.reports import PlaybackEvent, Report
from activesam_ros.segmentation.methods import Method
from activesam_ros.setting_table import SettingValue

NODE, PLAYBACK, RECORDER = "node", "playback", "recorder"
NODE_NAME = "/activesam"
MASK_TOPIC = f"{NODE_NAME}/semantic_mask"
CAMERA_INFO_TOPIC = f"{MASK_TOPIC}/camera_info"
ACTIVE_CLASSES_TOPIC = f"{NODE_NAME}/active_classes"
VOCABULARY_TOPIC = f"{NODE_NAME}/vocabulary"
DIAGNOSTICS_TOPIC = "/diagnostics"
RECORDED_TOPICS = (
    MASK_TOPIC,
    CAMERA_INFO_TOPIC,
    ACTIVE_CLASSES_TOPIC,
    VOCABULARY_TOPIC,
    DIAGNOSTICS_TOPIC,
)
COMPRESSED_SUFFIX = "/compressed"

# A small computer takes minutes to load a large network and compile a large vocabulary.
_START_TIMEOUT_S = 900.0
_FIRST_MASK_TIMEOUT_S = 120.0
_LAST_MASK_TIMEOUT_S = 15.0
_DIAGNOSTICS_TIMEOUT_S = 5.0
# The output of each process goes to a file of the demo, so ROS need not log to the user's home.
_ROS_ARGUMENTS = ("--ros-args", "--disable-external-lib-logs")
# Variables that could make processes look for each other elsewhere.
_NETWORK_VARIABLES = (
    "ROS_STATIC_PEERS",
    "ROS_DISCOVERY_SERVER",
    "ROS_LOCALHOST_ONLY",
    "FASTRTPS_DEFAULT_PROFILES_FILE",
    "FASTDDS_DEFAULT_PROFILES_FILE",
    "CYCLONEDDS_URI",
)


@dataclass(frozen=True)
class LiveOptions:
    """What is played to which node.

    compressed: whether the image topic holds CompressedImage. topics: those of the bag that are
    played, all if empty. output: folder for logs and parameters. recording: the file to write.
    max_frames: playback stops soon after this number of images. settings: by name, of the method.
    """

    bag: Path
    image_topic: str
    compressed: bool
    topics: tuple[str, ...]
    weights: Path
    vocabulary: str
    device: str
    output: Path
    recording: Path
    domain_id: int
    localhost_only: bool
    max_frames: int = sys.maxsize
    classes: str = ""
    method: Method = Method.ACTIVESAM2
    settings: Mapping[str, SettingValue] = field(default_factory=dict)


@dataclass
class LiveResult:
    """What happened to the images.

    images: number of published images. played: header stamp in ns -> time of publication; arrived:
    header stamp in ns -> time at which the mask arrived, both in ns on the monotonic clock.
    node_exit_code: exit code of the node after SIGINT.
    """

    images: int = 0
    node_exit_code: int = 0
    played: dict[int, int] = field(default_factory=dict)
    arrived: dict[int, int] = field(default_factory=dict)

    def latencies_ms(self) -> dict[int, float]:
        """Header stamp in ns -> time from the publication of an image to its mask's arrival."""
        return {
            stamp_ns: (arrived_ns - self.played[stamp_ns]) / 1e6
            for stamp_ns, arrived_ns in self.arrived.items()
            if stamp_ns in self.played
        }


class Progress(Protocol):
    """Is told what happens while a drive is played."""

    def playing(self) -> None:
        """The node is ready; playback starts."""
        ...

    def show(self, live: LiveResult) -> None:
        """An image was played or a mask arrived."""
        ...


def run_live(options: LiveOptions, progress: Progress) -> LiveResult:
    """Start the processes, play, wait for the last mask and end them.

    Raises DemoError when a process fails. A result may have no masks.
    """
    environment = demo_environment(options)
    with Children(options.output, environment) as children:
        return _Run(options, children, progress).run()


def demo_environment(options: LiveOptions) -> dict[str, str]:
    """The environment of the child processes: ROS domain, and which computers may take part."""
    inherited = {
        name: value for name, value in os.environ.items() if name not in _NETWORK_VARIABLES
    }
    environment = {
        **inherited,
        "ROS_DOMAIN_ID": str(options.domain_id),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST" if options.localhost_only else "SUBNET",
        "RCUTILS_COLORIZED_OUTPUT": "0",
        "PYTHONUNBUFFERED": "1",
    }
    # Humble does not know the discovery range; later distributions deprecate this variable.
    if options.localhost_only and inherited.get("ROS_DISTRO") == "humble":
        environment["ROS_LOCALHOST_ONLY"] = "1"
    return environment


class _Run:
    """One run: starts the processes and waits for what they report."""

    def __init__(self, options: LiveOptions, children: Children, progress: Progress) -> None:
        self._options = options
        self._children = children
        self._progress = progress
        self._result = LiveResult()
        self._subscribed: set[str] = set()
        self._recorded_ns: dict[str, int] = {}
        self._status: NodeStatus | None = None
        self._finished = False
        self._last_image_stamp_ns: int | None = None

    def run(self) -> LiveResult:
        self._start()
        self._progress.playing()
        self._play()
        self._await_last_mask()
        self._await_final_diagnostics()
        for name in (PLAYBACK, RECORDER):
            code = self._children.stop(name)
            if not is_clean_end(code):
                raise self._failure(name, code)
        self._result.node_exit_code = self._children.stop(NODE)
        return self._result

    def _start(self) -> None:
        options = self._options
        self._children.start(
            RECORDER,
            [
                *_module("playback.recorder"),
                *("--output", str(options.recording), "--report"),
                *(word for topic in RECORDED_TOPICS for word in ("--topic", topic)),
                *_ROS_ARGUMENTS,
            ],
            reports=True,
        )
        self._children.start(
            NODE,
            [
                *_module("segment_node"),
                *(*_ROS_ARGUMENTS, "--params-file", str(write_parameters(options))),
                *("-r", f"image:={options.image_topic.removesuffix(COMPRESSED_SUFFIX)}"),
            ],
        )
        # The node publishes its vocabulary when it subscribes to the images.
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while VOCABULARY_TOPIC not in self._recorded_ns or MASK_TOPIC not in self._subscribed:
            if not self._handle_next(deadline_s):
                raise DemoError(
                    f"The node was not ready within {_START_TIMEOUT_S:g} s: "
                    f"{self._children.last_words(NODE)}; see {self._children.log(NODE)}."
                )
            # The process stays after a failure, so that an operator can correct a parameter.
            if self._status is not None and self._status.failure:
                raise DemoError(f"The node could not be configured: {self._status.failure}")

    def _play(self) -> None:
        options = self._options
        subscribed = subscribed_topic(options)
        is_remapped = subscribed != options.image_topic
        remapping = ("-r", f"{options.image_topic}:={subscribed}") if is_remapped else ()
        self._children.start(
            PLAYBACK,
            [
                *_module("playback"),
                *(str(options.bag), "--report", "--await-subscriber", options.image_topic),
                *(word for topic in options.topics for word in ("--topic", topic)),
                *(*_ROS_ARGUMENTS, *remapping),
            ],
            reports=True,
        )
        stopped = False
        while not self._finished:
            self._handle_next(None)
            if not stopped and self._result.images >= options.max_frames:
                self._children.stop(PLAYBACK)
                stopped = True
        if not self._result.played:
            raise DemoError(f"{options.bag} has no image on {options.image_topic}.")

    def _await_last_mask(self) -> None:
        """Wait for the mask of the last image, which no newer image can replace."""
        result = self._result
        last_ns = self._last_image_stamp_ns
        while last_ns not in result.arrived:
            newest_ns = max((*result.played.values(), *result.arrived.values()))
            if not self._handle_next(newest_ns / 1e9 + self._mask_timeout_s()):
                return

    def _mask_timeout_s(self) -> float:
        """The longest time to wait for the next mask."""
        result = self._result
        if result.arrived:
            slowest_ms = max(result.latencies_ms().values(), default=0.0)
            return max(_LAST_MASK_TIMEOUT_S, 3 * slowest_ms / 1e3)
        fails = self._status is not None and self._status.frames_unusable > 0
        return _LAST_MASK_TIMEOUT_S if fails else _FIRST_MASK_TIMEOUT_S

    def _await_final_diagnostics(self) -> None:
        """Wait for diagnostics whose counts include the last mask."""
        deadline_s = time.monotonic() + _DIAGNOSTICS_TIMEOUT_S
        since_ns = time.monotonic_ns()
        while self._recorded_ns.get(DIAGNOSTICS_TOPIC, 0) < since_ns:
            if not self._handle_next(deadline_s):
                return

    def _handle_next(self, deadline_s: float | None) -> bool:
        """Wait for one event and handle it; returns False if the deadline comes first."""
        timeout_s = None if deadline_s is None else max(deadline_s - time.monotonic(), 0.0)
        try:
            event = self._children.events.get(timeout=timeout_s)
        except queue.Empty:
            return False
        if isinstance(event, Ended):
            if event.name != PLAYBACK or event.code != 0:
                raise self._failure(event.name, event.code)
            self._finished = True
            return True
        self._handle_report(event)
        return True

    def _handle_report(self, report: Report) -> None:
        if report.event is PlaybackEvent.FINISHED:
            self._finished = True
        elif report.event is PlaybackEvent.SUBSCRIBED:
            self._subscribed.add(report.topic)
        elif report.event is PlaybackEvent.NODE_STATUS:
            if report.status is not None and report.status.node == NODE_NAME:
                self._status = report.status
        elif report.event is PlaybackEvent.RECORDED:
            self._recorded_ns[report.topic] = report.monotonic_ns
            if report.topic == MASK_TOPIC and report.stamp_ns is not None:
                self._result.arrived.setdefault(report.stamp_ns, report.monotonic_ns)
                self._progress.show(self._result)
        elif report.topic == self._options.image_topic and report.stamp_ns is not None:
            self._result.images += 1
            self._result.played.setdefault(report.stamp_ns, report.monotonic_ns)
            self._last_image_stamp_ns = report.stamp_ns
            self._progress.show(self._result)

    def _failure(self, name: str, code: int) -> DemoError:
        how = f"with exit code {code}" if code >= 0 else f"by signal {-code}"
        return DemoError(
            f"The {name} ended {how} in the middle of the demo: {self._children.last_words(name)} "
            f"(its log is {self._children.log(name)})"
        )


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", f"activesam_ros.node.{name}"]


def subscribed_topic(options: LiveOptions) -> str:
    """The topic that the node subscribes to; for compressed images it must end in /compressed."""
    if options.compressed and not options.image_topic.endswith(COMPRESSED_SUFFIX):
        return options.image_topic + COMPRESSED_SUFFIX
    return options.image_topic


def write_parameters(options: LiveOptions) -> Path:
    """Write the parameters of the node to a file, from which a user can start it the same way."""
    values: Mapping[str, object] = {
        "weights": str(options.weights),
        "vocabulary": options.vocabulary,
        "classes": options.classes,
        "method": options.method.value,
        "device": options.device,
        "image_transport": "compressed" if options.compressed else "raw",
        "cache_dir": str(options.output / "cache"),
        **{
            name: list(value) if isinstance(value, tuple) else value
            for name, value in options.settings.items()
        },
    }
    path = options.output / "node_parameters.yaml"
    path.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}), encoding="utf-8")
    return path
