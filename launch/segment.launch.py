"""Start the node activesam on a camera; ``--show-args`` lists what can be set.

The node configures and activates itself, and so does one that is started again after a crash.
"""

from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

# Name, default, description. An empty default leaves the matter to params_file and to the node.
ARGUMENTS = (
    ("image_topic", "image", "Topic of the camera's images; relative names are in the namespace."),
    ("image_transport", "", "raw, or compressed to subscribe to IMAGE_TOPIC/compressed."),
    ("vocabulary", "", "Bundled vocabulary, or path of a YAML or text file."),
    ("weights", "", "Path of the network's weights, sam3.pt or a safetensors file."),
    ("method", "", "activesam, full, segearth or sam3."),
    ("device", "", "auto, cpu, cuda or cuda:N."),
    ("params_file", "", "YAML file of parameters, as config/activesam.yaml; arguments go over it."),
    ("namespace", "", "Namespace of the node and its topics."),
    ("node_name", "activesam", "Name of the node, which its topics and services begin with."),
    ("autostart", "true", "Whether the node configures and activates itself, after a crash too."),
    ("use_sim_time", "false", "true takes the time from /clock, as with recordings."),
    ("log_level", "info", "debug, info, warn, error or fatal."),
    ("respawn", "true", "Whether the node is started again when it ends by itself."),
    ("respawn_delay", "2.0", "Seconds between its end and a new start."),
    ("rviz", "false", "true opens RViz with the image, the overlay and the mask."),
)
# Arguments that are parameters of the same name.
PARAMETERS = ("image_transport", "vocabulary", "weights", "method", "device")
SWITCHES = ("autostart", "use_sim_time", "respawn", "rviz")
SWITCH_VALUES = ("true", "false", "True", "False")
# On Ctrl-C the node ends when the frame in work is done, which takes a CPU long.
FRAME_IN_WORK_S = "30"
RVIZ_FILE = "config/rviz/activesam.rviz"
# Topics of RVIZ_FILE that belong to the node, relative to it.
RVIZ_OUTPUTS = ("overlay", "overlay/compressed", "semantic_mask", "semantic_mask/compressed")


def node_action(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node with the arguments that were given; without respawning its end ends the launch."""
    value = context.launch_configurations
    switch = {name: value[name].lower() == "true" for name in SWITCHES}
    parameters: list[object] = [value["params_file"]] if value["params_file"] else []
    given = {name: value[name] for name in PARAMETERS if value[name]}
    own = {name: switch[name] for name in ("autostart", "use_sim_time")}
    parameters.append({**given, **own})
    return [
        Node(
            package="activesam_ros",
            executable="segment_node",
            namespace=value["namespace"],
            name=value["node_name"],
            parameters=parameters,
            remappings=[("image", value["image_topic"].removesuffix("/compressed"))],
            ros_arguments=["--log-level", value["log_level"]],
            respawn=switch["respawn"],
            respawn_delay=float(value["respawn_delay"]),
            sigterm_timeout=FRAME_IN_WORK_S,
            on_exit=None if switch["respawn"] else Shutdown(reason="the node has ended"),
            output="both",
        )
    ]


def rviz_action(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """RViz on the node's topics where it is asked for; raises RuntimeError without rviz2."""
    value = context.launch_configurations
    if value["rviz"].lower() != "true":
        return []
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        raise RuntimeError(
            "rviz:=true needs rviz2, which is not installed; install ros-<distribution>-rviz2, or "
            "leave rviz:=true out"
        ) from None
    image = value["image_topic"].removesuffix("/compressed")
    remappings = [(f"/image{suffix}", f"{image}{suffix}") for suffix in ("", "/compressed")]
    remappings += [(f"/activesam/{name}", f"{value['node_name']}/{name}") for name in RVIZ_OUTPUTS]
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            namespace=value["namespace"],
            arguments=["-d", str(Path(__file__).parent.parent / RVIZ_FILE)],
            parameters=[{"use_sim_time": value["use_sim_time"].lower() == "true"}],
            remappings=remappings,
            output="log",
        )
    ]


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
    # RViz first: where it is missing nothing is started.
    actions = [OpaqueFunction(function=make) for make in (rviz_action, node_action)]
    return LaunchDescription([*declared, *actions])
