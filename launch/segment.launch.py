"""Start the node activesam for a camera; ``--show-args`` lists the arguments.

The node configures and activates itself, also when it is started again after a crash.
"""

from functools import partial
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.events.process import ProcessExited
from launch_ros.actions import Node

from activesam_ros.resources import user_path
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

# Name, default, description. If the default is empty, params_file or the node sets the value.
ARGUMENTS = (
    ("image_topic", "image", "Topic of the camera's images; a relative name is in the namespace."),
    ("image_transport", "", "raw, or compressed, which subscribes to IMAGE_TOPIC/compressed."),
    ("vocabulary", "", "Name of a bundled vocabulary, or path of a YAML or text file."),
    ("classes", "", "Class names in place of a vocabulary: 'road, car, person'."),
    ("weights", "", "Path of the network's weights, sam3.pt or a safetensors file."),
    ("method", "", "activesam2 (default), activesam, full, segearth or sam3."),
    ("device", "", "auto, cpu, cuda or cuda:N."),
    (
        "params_file",
        "",
        "Parameter file, such as config/activesam.yaml; arguments override it.",
    ),
    ("namespace", "", "Namespace of the node and its topics."),
    ("node_name", "activesam", "Name of the node, with which its topics and services begin."),
    ("keep_all", "", "true to segment every image, also if the network is slower than the camera."),
    ("autostart", "true", "Whether the node configures and activates itself, also after a crash."),
    ("use_sim_time", "false", "Whether the node takes the time from /clock, as with recordings."),
    ("log_level", "info", "debug, info, warn, error or fatal."),
    ("respawn", "true", "Whether to start the node again if it ends by itself."),
    ("respawn_delay", "2.0", "Seconds from its end to the new start."),
    ("rviz", "false", "Whether to open RViz with the image, the overlay and the mask."),
)
# Arguments that set the parameter of the same name, if they are given.
TEXTS = ("image_transport", "vocabulary", "classes", "weights", "method", "device")
TRUTHS = ("keep_all",)
SWITCHES = ("autostart", "use_sim_time", "respawn", "rviz")
SWITCH_VALUES = ("true", "false", "True", "False")
# The node's exit status for arguments and parameters that can never work.
EXIT_BAD_INPUT = 2
# On Ctrl-C the node finishes its frame and then ends; on a CPU a frame takes long [s].
FRAME_IN_WORK_S = "30"
RVIZ_FILE = "config/rviz/activesam.rviz"
# The node's topics in RVIZ_FILE, relative to the node.
RVIZ_OUTPUTS = ("overlay", "overlay/compressed", "semantic_mask", "semantic_mask/compressed")


def node_action(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node; raises RuntimeError if the parameter file is missing."""
    value = context.launch_configurations
    switch = {name: value[name].lower() == "true" for name in SWITCHES}
    parameters: list[object] = []
    if value["params_file"]:
        params_file = user_path(value["params_file"])
        if not params_file.is_file():  # launch_ros only warns
            raise RuntimeError(f"there is no parameter file {value['params_file']}")
        parameters.append(str(params_file))
    given: dict[str, object] = {name: value[name] for name in TEXTS if value[name]}
    for name in TRUTHS:
        if value[name]:  # the node refuses any other text
            given[name] = {"true": True, "false": False}.get(value[name].lower(), value[name])
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
            on_exit=partial(end_of_node, respawns=switch["respawn"]),
            output="both",
        )
    ]


def end_of_node(event: ProcessExited, context: LaunchContext, *, respawns: bool) -> Shutdown | None:
    """End the launch with the node unless it is started again.

    Raises RuntimeError, which makes the exit status of the launch 1, if the node has failed.
    """
    if context.is_shutdown:
        return None
    if event.returncode == EXIT_BAD_INPUT:
        raise RuntimeError("the node cannot be started with these parameters, see above")
    if respawns:
        return None
    if event.returncode != 0:
        raise RuntimeError(f"the node has ended with exit status {event.returncode}, see above")
    return Shutdown(reason="the node has ended")


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
