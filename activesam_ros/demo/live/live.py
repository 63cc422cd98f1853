"""Node, playback and recorder as three processes on one computer, from start to clean end."""

from __future__ import annotations

import os
import queue
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import yaml

from activesam_ros.demo.live.processes import Children, DemoError, Ended
from activesam_ros.node.playback.reports import PlaybackEvent, Report

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

# Loading a large network and compiling a large vocabulary takes minutes on a small computer [s].
_START_TIMEOUT_S = 900.0
_FIRST_MASK_TIMEOUT_S = 120.0
_LAST_MASK_TIMEOUT_S = 15.0
_DIAGNOSTICS_TIMEOUT_S = 5.0
_CONFIGURING_FAILED = re.compile(r"Configuring failed: (.*)")
_DROPPED = "was dropped ("
# What a process says is in its log here; files in the user's home would be left behind.
_ROS_ARGUMENTS = ("--ros-args", "--disable-external-lib-logs")
# What could lead discovery elsewhere.
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

    topics: played topics of the bag, all where empty. compressed: whether the image topic holds
    CompressedImage. max_frames: playing stops soon after so many images. recording: the file to
    write.
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


@dataclass
class LiveResult:
    """What happened to the images, by header stamp [ns], as times on the monotonic clock [ns].

    images: how many were published. played: when each was published. arrived: when its mask came.
    node_exit_code: how the node ended when asked to.
    """

    images: int = 0
    node_exit_code: int = 0
    played: dict[int, int] = field(default_factory=dict)
    arrived: dict[int, int] = field(default_factory=dict)

    def latencies_ms(self) -> dict[int, float]:
        """From the publication of each image to the arrival of its mask, by stamp."""
        return {
            stamp: (arrived - self.played[stamp]) / 1e6
            for stamp, arrived in self.arrived.items()
            if stamp in self.played
        }


class Progress(Protocol):
    """Who looks on while a drive is played."""

    def playing(self) -> None:
        """The node is ready and the first image is on its way."""
        ...

    def show(self, live: LiveResult) -> None:
        """An image was played or a mask came."""
        ...


def run_live(options: LiveOptions, progress: Progress) -> LiveResult:
    """Start the three, play, wait for the last mask and end them.

    Raises DemoError when one of them fails. A result without masks is returned as it is.
    """
    environment = demo_environment(options)
    with Children(options.output, environment) as children:
        return _Run(options, children, progress).run()


def demo_environment(options: LiveOptions) -> dict[str, str]:
    """This process's environment in the demo's ROS domain, on this computer alone where wanted."""
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
    # Humble knows no range; its successors call this one deprecated.
    if options.localhost_only and inherited.get("ROS_DISTRO") == "humble":
        environment["ROS_LOCALHOST_ONLY"] = "1"
    return environment


class _Run:
    """One run: what has been reported so far, and what is waited for."""

    def __init__(self, options: LiveOptions, children: Children, progress: Progress) -> None:
        self._options = options
        self._children = children
        self._progress = progress
        self._result = LiveResult()
        self._subscribed: set[str] = set()
        self._recorded_ns: dict[str, int] = {}
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
            if code != 0:
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
        # The node tells its vocabulary when it begins to listen.
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while VOCABULARY_TOPIC not in self._recorded_ns or MASK_TOPIC not in self._subscribed:
            if not self._take(deadline_s):
                raise DemoError(
                    f"The node was not ready within {_START_TIMEOUT_S:g} s: "
                    f"{self._children.last_words(NODE)}; see {self._children.log(NODE)}."
                )
            self._check_configuration()

    def _play(self) -> None:
        options = self._options
        heard = heard_topic(options)
        remapping = (
            ("-r", f"{options.image_topic}:={heard}") if heard != options.image_topic else ()
        )
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
            self._take(None)
            if not stopped and self._result.images >= options.max_frames:
                self._children.stop(PLAYBACK)
                stopped = True
        if not self._result.played:
            raise DemoError(f"{options.bag} has no image on {options.image_topic}.")

    def _await_last_mask(self) -> None:
        """Wait for the mask of the last image, which nothing newer can replace."""
        result = self._result
        last_ns = self._last_image_stamp_ns
        while last_ns not in result.arrived:
            newest_ns = max((*result.played.values(), *result.arrived.values()))
            if not self._take(newest_ns / 1e9 + self._patience_s()):
                return

    def _patience_s(self) -> float:
        """How long the next mask may take."""
        result = self._result
        if result.arrived:
            slowest_ms = max(result.latencies_ms().values(), default=0.0)
            return max(_LAST_MASK_TIMEOUT_S, 3 * slowest_ms / 1e3)
        if _DROPPED in self._node_log():
            return _LAST_MASK_TIMEOUT_S
        return _FIRST_MASK_TIMEOUT_S

    def _await_final_diagnostics(self) -> None:
        """Wait for counts that include the last mask."""
        deadline_s = time.monotonic() + _DIAGNOSTICS_TIMEOUT_S
        since_ns = time.monotonic_ns()
        while self._recorded_ns.get(DIAGNOSTICS_TOPIC, 0) < since_ns:
            if not self._take(deadline_s):
                return

    def _take(self, deadline_s: float | None) -> bool:
        """Wait for one happening and take note of it; False when the deadline came first."""
        timeout_s = None if deadline_s is None else max(deadline_s - time.monotonic(), 0.0)
        try:
            happening = self._children.happenings.get(timeout=timeout_s)
        except queue.Empty:
            return False
        if isinstance(happening, Ended):
            if happening.name != PLAYBACK or happening.code != 0:
                raise self._failure(happening.name, happening.code)
            self._finished = True
            return True
        self._note(happening)
        return True

    def _note(self, report: Report) -> None:
        if report.event is PlaybackEvent.FINISHED:
            self._finished = True
        elif report.event is PlaybackEvent.SUBSCRIBED:
            self._subscribed.add(report.topic)
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

    def _check_configuration(self) -> None:
        """A node that cannot be configured stays, for an operator to change what is wrong."""
        failure = _CONFIGURING_FAILED.search(self._node_log())
        if failure is not None:
            raise DemoError(f"The node could not be configured: {failure.group(1)}")

    def _node_log(self) -> str:
        return self._children.log(NODE).read_text(encoding="utf-8", errors="replace")

    def _failure(self, name: str, code: int) -> DemoError:
        how = f"with exit code {code}" if code >= 0 else f"by signal {-code}"
        return DemoError(
            f"The {name} ended {how} in the middle of the demo: {self._children.last_words(name)} "
            f"(everything it said is in {self._children.log(name)})"
        )


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", f"activesam_ros.node.{name}"]


def heard_topic(options: LiveOptions) -> str:
    """Where the node listens: compressed images are heard under their transport's name only."""
    if options.compressed and not options.image_topic.endswith(COMPRESSED_SUFFIX):
        return options.image_topic + COMPRESSED_SUFFIX
    return options.image_topic


def write_parameters(options: LiveOptions) -> Path:
    """Write the node's parameters where an operator can read them and start it the same way."""
    values: Mapping[str, object] = {
        "weights": str(options.weights),
        "vocabulary": options.vocabulary,
        "device": options.device,
        "image_transport": "compressed" if options.compressed else "raw",
        "cache_dir": str(options.output / "cache"),
    }
    path = options.output / "node_parameters.yaml"
    path.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}), encoding="utf-8")
    return path
