"""Play a recording to the node activesam and end when all its images are segmented.

Node and playback run on the recording's time. The exit status is 1 if the node ends before the
recording is segmented, or segments fewer images than were played. The arguments of
segment.launch.py may be given too; ``--show-args`` lists all of them.
"""

import sys
from dataclasses import astuple
from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from activesam_ros.errors import ActiveSamError
from activesam_ros.node.playback.replayed_camera import ReplayedCamera, replayed_camera
from activesam_ros.resources import user_path
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

# Name, default, description. An argument without a default is required.
ARGUMENTS = (
    ("bag", None, "Recording to play: .mcap, .db3, or a rosbag2 folder."),
    ("image_topic", "", "Image topic of the recording; may be left out if there is one camera."),
    ("rate", "1.0", "Recorded seconds per second."),
    ("loop", "false", "Whether to play the recording again and again, until Ctrl-C."),
    ("await_timeout", "600.0", "Seconds to wait for the node to become active."),
)
SWITCHES = ("loop",)
SWITCH_VALUES = ("true", "false", "True", "False")
# Launch configurations with the chosen camera; the last two are passed to segment.launch.py.
RECORDED, TOPIC, TRANSPORT = "recorded_topic", "replayed_topic", "replayed_transport"


def choose_camera(context: LaunchContext) -> None:
    """Choose the recorded camera; raises RuntimeError if there is none, or several."""
    value = context.launch_configurations
    try:
        camera = replayed_camera(user_path(value["bag"]), value["image_topic"])
    except ActiveSamError as error:
        raise RuntimeError(str(error)) from error
    value[RECORDED], value[TOPIC], value[TRANSPORT] = astuple(camera)


def playback_action(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The playback, which ends when the node has segmented all images that it was sent."""
    value = context.launch_configurations
    camera = ReplayedCamera(value[RECORDED], value[TOPIC], value[TRANSPORT])
    node = "/".join(["", *filter(None, value["namespace"].split("/")), value["node_name"]])
    bag = user_path(value["bag"])
    command = [sys.executable, "-m", "activesam_ros.node.playback", str(bag), "--clock"]
    command += ["--rate", value["rate"], "--await-timeout", value["await_timeout"]]
    command += ["--await-subscriber", camera.recorded_topic, "--await-segmented", node]
    command += ["--loop"] if value["loop"].lower() == "true" else []
    if camera.subscribed_topic != camera.recorded_topic:
        command += ["--ros-args", "-r", f"{camera.recorded_topic}:={camera.subscribed_topic}"]
    return [ExecuteProcess(cmd=command, name="playback", output="both", on_exit=end_of_playback)]


def end_of_playback(event: ProcessExited, context: LaunchContext) -> Shutdown | None:
    """End the launch after the playback; raises RuntimeError if the playback failed."""
    if event.returncode != 0 and not context.is_shutdown:
        raise RuntimeError(f"the playback failed with exit status {event.returncode}, see above")
    return Shutdown(reason="the recording has ended")


def end_of_process(event: ProcessExited, context: LaunchContext) -> None:
    """Raise RuntimeError if it is the node that ends, before the playback."""
    if event.process_name.startswith("segment_node") and not context.is_shutdown:
        raise RuntimeError(
            f"the node ended with exit status {event.returncode} before the recording was segmented"
        )


def generate_launch_description() -> LaunchDescription:
    """The launch description that ``ros2 launch`` runs."""
    declared = [
        DeclareLaunchArgument(
            name,
            default_value=default,
            description=description,
            choices=SWITCH_VALUES if name in SWITCHES else None,
        )
        for name, default, description in ARGUMENTS
    ]
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(Path(__file__).with_name("segment.launch.py"))),
        launch_arguments=[
            ("image_topic", LaunchConfiguration(TOPIC)),
            ("image_transport", LaunchConfiguration(TRANSPORT)),
            ("use_sim_time", "true"),
            ("respawn", "false"),
        ],
    )
    chosen, played = (OpaqueFunction(function=make) for make in (choose_camera, playback_action))
    watch = RegisterEventHandler(OnProcessExit(on_exit=end_of_process))
    # The node comes first, because the playback waits for it by name, which is its argument.
    return LaunchDescription([*declared, chosen, watch, node, played])
