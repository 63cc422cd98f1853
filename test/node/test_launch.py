"""The launch files: what can be read of them everywhere, and real launches where launch_ros is."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rosbags.rosbag2 import Writer
from rosbags.typesys import Stores, get_typestore
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from activesam_ros.node.parameters.options import NodeParameters
from activesam_ros.node.playback.player import main as playback
from activesam_ros.node.process import EXIT_BAD_INPUT

if TYPE_CHECKING:
    from test.node.conftest import OpenCamera, Peer

FILES = ("segment.launch.py", "replay.launch.py")
TIMEOUT_S = 60
LAUNCHER = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

file, *pairs = sys.argv[1:]
arguments = [pair.split(":=", 1) for pair in pairs]
source = PythonLaunchDescriptionSource(file)
service = LaunchService(noninteractive=True)
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
)
sys.exit(service.run())
"""
IMAGE = "sensor_msgs/msg/Image"
START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000
FRAMES = 11
Launch: TypeAlias = "Callable[..., AbstractContextManager[Launched]]"


@dataclass(frozen=True)
class Launched:
    """A running launch file and what it wrote."""

    process: subprocess.Popen[bytes]
    log_file: Path

    def log(self) -> str:
        """All it wrote so far."""
        return self.log_file.read_text("utf-8")

    def started(self) -> list[int]:
        """Process ids of what it started, in order."""
        return [int(pid) for pid in re.findall(r"process started with pid \[(\d+)\]", self.log())]


@pytest.fixture
def launch(repository: Path, tmp_path: Path) -> Launch:
    """Launch a file with arguments; whatever it started is gone afterwards."""
    pytest.importorskip("launch_ros", reason="launch_ros is not installed")

    @contextmanager
    def run(file: str, **arguments: object) -> Iterator[Launched]:
        command = [sys.executable, "-c", LAUNCHER, str(repository / "launch" / file)]
        command += [f"{name}:={value}" for name, value in arguments.items()]
        log_file = tmp_path / "launch.txt"
        with log_file.open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        launched = Launched(process, log_file)
        try:
            yield launched
        finally:
            process.kill()
            process.wait()
            for pid in launched.started():
                if Path(f"/proc/{pid}").exists():
                    os.kill(pid, signal.SIGKILL)

    return run


@pytest.fixture
def small_network(golden: Path, small_vocabulary: Path, tmp_path: Path) -> dict[str, object]:
    """Launch arguments for the golden network, some by a params file."""
    params_file = tmp_path / "params.yaml"
    params_file.write_text(
        "/**:\n  ros__parameters:\n    hypernym_tokens: 0\n    keep_all: true\n    warm_up: false\n"
        "    vocabulary: no_such_vocabulary\n"
    )
    return {
        "weights": golden / "model.pt",
        "vocabulary": small_vocabulary,
        "params_file": params_file,
    }


def tables(repository: Path, file: str) -> dict[str, Any]:
    """The constants of a launch file, read without running it."""
    constants = {}
    for node in ast.parse((repository / "launch" / file).read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            constants[node.targets[0].id] = ast.literal_eval(node.value)
    return constants


def strings(repository: Path, file: str) -> list[str]:
    """Every text in a launch file."""
    tree = ast.parse((repository / "launch" / file).read_text("utf-8"))
    constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [value for value in constants if isinstance(value, str)]


@pytest.mark.parametrize("file", FILES)
def test_every_argument_has_a_description(repository: Path, file: str) -> None:
    constants = tables(repository, file)
    names = [name for name, _, _ in constants["ARGUMENTS"]]
    assert len(names) == len(set(names))
    assert set(constants["SWITCHES"]) <= set(names)
    for name, default, description in constants["ARGUMENTS"]:
        assert default is None or isinstance(default, str), name
        assert description.endswith("."), name


def test_arguments_that_are_parameters_are_known_to_the_node(repository: Path) -> None:
    constants = tables(repository, "segment.launch.py")
    names = [name for name, _, _ in constants["ARGUMENTS"]]
    rows = NodeParameters().rows
    for name in (*constants["TEXTS"], *constants["TRUTHS"], "autostart"):
        assert name in names
        assert (rows[name].kind == "text") == (name in constants["TEXTS"])


def test_the_node_s_exit_status_for_bad_parameters_is_known(repository: Path) -> None:
    assert tables(repository, "segment.launch.py")["EXIT_BAD_INPUT"] == EXIT_BAD_INPUT


def test_the_replay_gives_arguments_that_exist(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {name for name, _, _ in tables(repository, "segment.launch.py")["ARGUMENTS"]}
    assert {"image_topic", "image_transport", "use_sim_time", "respawn"} <= names
    given = {text for text in strings(repository, "replay.launch.py") if text.startswith("--")}
    with pytest.raises(SystemExit):
        playback(["--help"])
    options = capsys.readouterr().out
    assert given - {"--ros-args"}
    assert {name for name in given - {"--ros-args"} if name not in options} == set()


def test_rviz_shows_topics_that_the_launch_file_remaps(repository: Path) -> None:
    constants = tables(repository, "segment.launch.py")
    config = yaml.safe_load((repository / constants["RVIZ_FILE"]).read_text("utf-8"))
    displays = config["Visualization Manager"]["Displays"]
    assert {display["Class"] for display in displays} == {"rviz_default_plugins/Image"}
    shown = [display["Topic"]["Value"] for display in displays]
    outputs = [f"/activesam/{name}" for name in constants["RVIZ_OUTPUTS"]]
    assert sorted(shown) == sorted(["/image", "/image/compressed", *outputs])
    on = [display["Topic"]["Value"] for display in displays if display["Enabled"]]
    assert sorted(on) == ["/activesam/overlay", "/activesam/semantic_mask", "/image"]


def test_a_launched_node_segments_and_comes_back_after_a_crash(
    launch: Launch,
    small_network: dict[str, object],
    namespace: str,
    peer: Peer,
    open_camera: OpenCamera,
    photo: NDArray[np.uint8],
) -> None:
    place = {"image_topic": "camera/image_raw", "namespace": namespace, "respawn_delay": 0.1}
    with launch("segment.launch.py", **small_network, **place) as launched:
        camera = open_camera(Image, "camera/image_raw")
        camera.first_mask(lambda stamp_ns: peer.image(photo, stamp_ns))
        (pid,) = launched.started()
        os.kill(pid, signal.SIGKILL)
        peer.wait_for(lambda: len(launched.started()) == 2, "a new process")
        peer.wait_for(camera.publisher.get_subscription_count, "its subscription")
        camera.first_mask(lambda stamp_ns: peer.image(photo, stamp_ns))
        launched.process.send_signal(signal.SIGINT)
        assert launched.process.wait(TIMEOUT_S) == 0
        assert "process has finished cleanly" in launched.log()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"method": "no_such_method", "respawn": "false"}, "method='no_such_method' is unknown"),
        ({"log_level": "loud"}, "loud"),
        ({"params_file": "max_active: -2"}, "max_active=-2 is out of range"),
        ({"params_file": "streaming: {enabled: true}"}, "Did you mean streaming?"),
        ({"keep_all": "perhaps"}, "keep_all='perhaps' is not a truth value"),
    ],
)
def test_parameters_that_can_never_work_end_the_launch(
    launch: Launch, arguments: dict[str, str], reason: str, tmp_path: Path
) -> None:
    if "params_file" in arguments:
        params_file = tmp_path / "params.yaml"
        params_file.write_text(f"/**:\n  ros__parameters:\n    {arguments['params_file']}\n")
        arguments = {"params_file": str(params_file)}
    with launch("segment.launch.py", **arguments, respawn_delay=0.1) as launched:
        assert launched.process.wait(TIMEOUT_S) == 1
        assert reason in launched.log()
        assert "cannot be started with these parameters" in launched.log()
        assert len(launched.started()) == 1


@pytest.mark.parametrize(
    ("file", "arguments", "reason"),
    [
        ("segment.launch.py", {"respawn": "perhaps"}, '"perhaps" is not valid'),
        ("replay.launch.py", {}, "missing required argument 'bag'"),
        ("replay.launch.py", {"bag": "/no/such.mcap"}, "There is no recording /no/such.mcap."),
        ("segment.launch.py", {"params_file": "~/no.yaml"}, "there is no parameter file ~/no.yaml"),
    ],
)
def test_a_bad_argument_starts_nothing(
    launch: Launch, file: str, arguments: dict[str, str], reason: str
) -> None:
    with launch(file, **arguments) as launched:
        assert launched.process.wait(TIMEOUT_S) == 1
        assert reason in launched.log()
        assert launched.started() == []


def test_rviz_is_asked_for_where_it_is_missing(launch: Launch) -> None:
    packages = pytest.importorskip("ament_index_python.packages")
    if "rviz2" in packages.get_packages_with_prefixes():
        pytest.skip("rviz2 is installed")
    with launch("segment.launch.py", rviz="true") as launched:
        assert launched.process.wait(TIMEOUT_S) == 1
        assert "install ros-<distribution>-rviz2" in launched.log()
        assert launched.started() == []


def test_a_replay_segments_everything_on_the_recordings_time_and_ends_with_it(
    launch: Launch,
    small_network: dict[str, object],
    namespace: str,
    peer: Peer,
    masks: list[Any],
    photo: NDArray[np.uint8],
    tmp_path: Path,
) -> None:
    bag = tmp_path / "drive"
    write_drive(bag, photo)
    clocks: list[Any] = []
    peer.node.create_subscription(Clock, "/clock", clocks.append, 10)
    times: list[Any] = []
    peer.node.create_subscription(DiagnosticArray, "/diagnostics", times.append, 10)
    strangers: list[Any] = []  # as RViz and `ros2 topic hz` are: nothing is played for them alone
    peer.node.create_subscription(Image, "/camera/image_raw", strangers.append, 10)
    with launch("replay.launch.py", bag=bag, **small_network, namespace=namespace) as launched:
        peer.wait_for(lambda: launched.process.poll() is not None, "the end of the launch")
        assert launched.process.returncode == 0
        assert "process[playback-2] was required" in launched.log()
        assert "Traceback" not in launched.log()
    stamps = [peer.stamp_of(mask) for mask in masks if mask.header.frame_id == "recorded"]
    # With keep_all those that still waited at the recording's end are there too.
    assert stamps == [START_NS + index * PERIOD_NS for index in range(FRAMES)]
    assert len(strangers) == FRAMES
    seconds = {message.clock.sec for message in clocks}
    assert seconds <= {START_NS // 10**9 + second for second in range(3)}
    assert START_NS // 10**9 in seconds
    assert {message.header.stamp.sec for message in times} & seconds, "the node took that time"


def test_a_replay_fails_with_the_node(
    launch: Launch, small_network: dict[str, object], photo: NDArray[np.uint8], tmp_path: Path
) -> None:
    bag = tmp_path / "drive"
    write_drive(bag, photo)
    network = {**small_network, "weights": "/no/such.pt"}
    with launch("replay.launch.py", bag=bag, **network) as launched:
        assert launched.process.wait(TIMEOUT_S) == 1
        assert "/activesam cannot segment. Configuring failed" in launched.log()


def test_a_replay_fails_when_the_node_is_killed(
    launch: Launch,
    small_network: dict[str, object],
    namespace: str,
    peer: Peer,
    masks: list[Any],
    photo: NDArray[np.uint8],
    tmp_path: Path,
) -> None:
    bag = tmp_path / "drive"
    write_drive(bag, photo)
    place = {"namespace": namespace, "rate": 0.1}
    with launch("replay.launch.py", bag=bag, **small_network, **place) as launched:
        before = len(masks)
        peer.wait_for(lambda: len(masks) > before, "a mask")
        os.kill(launched.started()[0], signal.SIGKILL)
        assert launched.process.wait(TIMEOUT_S) == 1
        assert "exit status -9" in launched.log()


def test_a_replay_fails_when_an_image_was_not_segmented(
    launch: Launch, small_network: dict[str, object], photo: NDArray[np.uint8], tmp_path: Path
) -> None:
    bag = tmp_path / "drive"
    write_drive(bag, photo, unusable=3)
    with launch("replay.launch.py", bag=bag, **small_network, keep_all="true") as launched:
        assert launched.process.wait(TIMEOUT_S) == 1
        assert f"/activesam segmented {FRAMES - 3} of {FRAMES} images" in launched.log()
        assert "3 wrong_step" in launched.log()


def write_drive(bag: Path, photo: NDArray[np.uint8], unusable: int = 0) -> None:
    """A recording of one camera, one second long; so many images at its end have a wrong step."""
    types = get_typestore(Stores.ROS2_JAZZY)
    with Writer(bag, version=8) as writer:
        topic = writer.add_connection("/camera/image_raw", IMAGE, typestore=types)
        for index in range(FRAMES):
            stamp_ns = START_NS + index * PERIOD_NS
            message = types.types[IMAGE](
                header=types.types["std_msgs/msg/Header"](
                    stamp=types.types["builtin_interfaces/msg/Time"](
                        sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9
                    ),
                    frame_id="recorded",
                ),
                height=photo.shape[0],
                width=photo.shape[1],
                encoding="rgb8",
                is_bigendian=0,
                step=photo.shape[1] * 3 if index < FRAMES - unusable else 1,
                data=photo.ravel(),
            )
            writer.write(topic, stamp_ns, types.serialize_cdr(message, IMAGE))
