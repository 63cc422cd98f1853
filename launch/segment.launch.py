"""Start the node activesam for a camera; ``--show-args`` lists the arguments.

The node configures and activates itself, also when it is started again after a crash.
"""

from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

# Name, default, description. If the default is empty, params_file or the node sets the value.
ARGUMENTS = (
    ("image_topic", "image", "Topic of the camera's images; a relative name is in the namespace."),
    ("image_transport", "", "raw, or compressed, which subscribes to IMAGE_TOPIC/compressed."),
    ("vocabulary", "", "Name of a bundled vocabulary, or path of a YAML or text file."),
    ("classes", "", "Class names in place of a vocabulary: 'road, car, person'."),
    ("weights", "", "Path of the network's weights, sam3.pt or a safetensors file."),
    ("method", "", "activesam, full, segearth or sam3."),
    ("device", "", "auto, cpu, cuda or cuda:N."),
    (
        "params_file",
        "",
        "Parameter file, such as config/activesam.yaml; arguments override it.",
    ),
    ("namespace", "", "Namespace of the node and its topics."),
    ("node_name", "activesam", "Name of the node, with which its topics and services begin."),
    ("autostart", "true", "Whether the node configures and activates itself, also after a crash."),
    ("use_sim_time", "false", "Whether the node takes the time from /clock, as with recordings."),
    ("log_level", "info", "debug, info, warn, error or fatal."),
    ("respawn", "true", "Whether to start the node again if it ends by itself."),
    ("respawn_delay", "2.0", "Seconds from its end to the new start."),
    ("rviz", "false", "Whether to open RViz with the image, the overlay and the mask."),
)
# Arguments that set the parameter of the same name.
PARAMETERS = ("image_transport", "vocabulary", "classes", "weights", "method", "device")
SWITCHES = ("autostart", "use_sim_time", "respawn", "rviz")
SWITCH_VALUES = ("true", "false", "True", "False")
# On Ctrl-C the node finishes its frame and then ends; on a CPU a frame takes long [s].
FRAME_IN_WORK_S = "30"
RVIZ_FILE = "config/rviz/activesam.rviz"
# The node's topics in RVIZ_FILE, relative to the node.
RVIZ_OUTPUTS = ("overlay", "overlay/compressed", "semantic_mask", "semantic_mask/compressed")


def node_action(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node; without respawn its end ends the launch."""
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
    """RViz with the node's topics, if requested; raises RuntimeError if rviz2 is missing."""
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
    # RViz comes first: if it is missing, nothing is started.
    actions = [OpaqueFunction(function=make) for make in (rviz_action, node_action)]
    return LaunchDescription([*declared, *actions])
