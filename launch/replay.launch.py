"""Play a recording to the node activesam, both on the recording's time, until it ends.

Takes the arguments of segment.launch.py too; ``--show-args`` lists them all.
"""

import sys
from dataclasses import astuple
from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    Shutdown,
)
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from activesam_ros.errors import ActiveSamError
from activesam_ros.node.playback.replayed_camera import ReplayedCamera, replayed_camera
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

# Name, default, description; without a default the argument has to be given.
ARGUMENTS = (
    ("bag", None, "Recording: .mcap, .db3, or a rosbag2 folder."),
    ("image_topic", "", "Image topic of the recording; needless where there is one camera."),
    ("rate", "1.0", "Recorded seconds per second."),
    ("loop", "false", "Whether the recording begins anew at its end, until Ctrl-C."),
    ("await_timeout", "600.0", "Seconds the recording waits for the node to become active."),
)
SWITCHES = ("loop",)
SWITCH_VALUES = ("true", "false", "True", "False")
# Launch configurations that hold the chosen camera; the last two reach segment.launch.py.
RECORDED, TOPIC, TRANSPORT = "recorded_topic", "replayed_topic", "replayed_transport"


def choose_camera(context: LaunchContext) -> None:
    """Find the recorded camera; raises RuntimeError where there is none, or several."""
    value = context.launch_configurations
    try:
        camera = replayed_camera(Path(value["bag"]).expanduser(), value["image_topic"])
    except ActiveSamError as error:
        raise RuntimeError(str(error)) from error
    value[RECORDED], value[TOPIC], value[TRANSPORT] = astuple(camera)


def playback_action(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The playback, which ends when the node has segmented all it was sent."""
    value = context.launch_configurations
    camera = ReplayedCamera(value[RECORDED], value[TOPIC], value[TRANSPORT])
    node = "/".join(["", *filter(None, value["namespace"].split("/")), value["node_name"]])
    bag = Path(value["bag"]).expanduser()
    command = [sys.executable, "-m", "activesam_ros.node.playback", str(bag), "--clock"]
    command += ["--rate", value["rate"], "--await-timeout", value["await_timeout"]]
    command += ["--await-subscriber", camera.recorded_topic, "--await-segmented", node]
    command += ["--loop"] if value["loop"].lower() == "true" else []
    if camera.subscribed_topic != camera.recorded_topic:
        command += ["--ros-args", "-r", f"{camera.recorded_topic}:={camera.subscribed_topic}"]
    return [ExecuteProcess(cmd=command, name="playback", output="both", on_exit=end_of_playback)]


def end_of_playback(event: ProcessExited, context: LaunchContext) -> Shutdown | None:
    """What follows the end of the playback; raises RuntimeError where it failed."""
    if event.returncode != 0 and not context.is_shutdown:
        raise RuntimeError(f"the playback failed with exit status {event.returncode}, see above")
    return Shutdown(reason="the recording has ended")


def generate_launch_description() -> LaunchDescription:
    """What ``ros2 launch`` runs."""
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
    # The node first: its arguments, with their defaults, name what the playback waits for.
    return LaunchDescription([*declared, chosen, node, played])
