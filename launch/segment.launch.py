"""Start the node activesam on a camera; ``--show-args`` lists what can be set.

The node configures and activates itself, and so does one that is started again after a crash.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
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
    ("use_sim_time", "false", "true takes the time from /clock, as with recordings."),
    ("log_level", "info", "debug, info, warn, error or fatal."),
    ("respawn", "true", "Whether the node is started again when it ends by itself."),
    ("respawn_delay", "2.0", "Seconds between its end and a new start."),
)
# Arguments that are parameters of the same name.
PARAMETERS = ("image_transport", "vocabulary", "weights", "method", "device")


def node_action(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node with the arguments that were given."""
    value = context.launch_configurations
    parameters: list[object] = [value["params_file"]] if value["params_file"] else []
    given = {name: value[name] for name in PARAMETERS if value[name]}
    parameters.append({**given, "use_sim_time": is_true("use_sim_time", value["use_sim_time"])})
    return [
        Node(
            package="activesam_ros",
            executable="segment_node",
            namespace=value["namespace"],
            name=value["node_name"],
            parameters=parameters,
            remappings=[("image", value["image_topic"].removesuffix("/compressed"))],
            ros_arguments=["--log-level", value["log_level"]],
            respawn=is_true("respawn", value["respawn"]),
            respawn_delay=float(value["respawn_delay"]),
            output="both",
        )
    ]


def is_true(name: str, text: str) -> bool:
    """The truth value that ``text`` means; raises ValueError."""
    if text.lower() in ("true", "1", "yes", "on"):
        return True
    if text.lower() in ("false", "0", "no", "off"):
        return False
    raise ValueError(f"{name}:={text} is not a truth value; give true or false")


def generate_launch_description() -> LaunchDescription:
    """What ``ros2 launch`` runs."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, default, description in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=node_action)])
