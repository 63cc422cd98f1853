"""Declare the node's parameters to ROS, from the table, and read what they were started with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from activesam_ros.errors import SettingsError, did_you_mean
from activesam_ros.node.parameters.cameras import CAMERA_ROWS
from activesam_ros.node.parameters.options import NodeParameters
from activesam_ros.setting_table import OLD_NAMES, Change, Setting
from activesam_ros.settings import current_names

# An empty list of texts has no type in ROS; blank names do not count.
_NO_NAMES = [""]
# Parameters that ROS itself defines, and the beginning of the names of others.
_BUILT_IN = ("use_sim_time", "start_type_description_service")
_BUILT_IN_PREFIX = "qos_overrides."


def declare_parameters(node: Node) -> NodeParameters:
    """Declare every parameter and return its value.

    Raises SettingsError for a parameter that does not exist, and for the first bad value.
    """
    given = _overrides(node)
    # The names of the cameras decide which parameters there are.
    cameras = {"cameras": given["cameras"]} if "cameras" in given else {}
    rows = NodeParameters.from_mapping(cameras).rows
    refuse_unknown(given, rows.keys() | OLD_NAMES.keys())
    parameters = NodeParameters.from_mapping(
        {name: value for name, value in given_names(given).items() if name in rows}
    )
    descriptions = {name: descriptor(row) for name, row in rows.items()}
    for old, name in OLD_NAMES.items():
        text = f"Deprecated: the old name of {name}. Empty if it is not given."
        descriptions[old] = ParameterDescriptor(name=old, description=text)
    for name, description in descriptions.items():
        # The value is checked and converted: 1 may stand for 1.0.
        value = to_ros(parameters.values.get(name, ""))
        node.declare_parameter(name, value, description, ignore_override=True)
    return parameters


def _overrides(node: Node) -> dict[str, object]:
    """The parameters that the node was started with, from parameter files and the command line.

    rclpy can declare them by itself, but raises an error for an empty list, which has no type.
    """
    with node.handle:
        given = node.handle.get_parameters(Parameter)
    empty = Parameter.Type.NOT_SET
    return {name: [] if entry.type_ == empty else entry.value for name, entry in given.items()}


def given_names(values: Mapping[str, object]) -> dict[str, object]:
    """``values`` by current names; an old name without a value is left out."""
    given = {name: value for name, value in values.items() if value != "" or name not in OLD_NAMES}
    return current_names(given)


def descriptor(row: Setting) -> ParameterDescriptor:
    """The row's description and range, which ``ros2 param describe`` shows."""
    constraints = [f"may change {row.change.value}"]
    number = row.kind in ("int", "float")
    if row.choices:
        constraints.insert(0, f"{'or' if number else 'one of'} {', '.join(row.choices)}")
    unit = f" [{row.unit}]" if row.unit else ""
    result = ParameterDescriptor(
        name=row.name,
        description=f"{row.description}{unit}",
        additional_constraints="; ".join(constraints),
        read_only=row.change is Change.START,
        dynamic_typing=number and bool(row.choices),
    )
    if row.minimum is None or row.maximum is None:
        return result
    if row.kind == "int":
        low, high = int(row.minimum), int(row.maximum)
        result.integer_range = [IntegerRange(from_value=low, to_value=high, step=0)]
    else:
        low_float, high_float = float(row.minimum), float(row.maximum)
        result.floating_point_range = [
            FloatingPointRange(from_value=low_float, to_value=high_float, step=0.0)
        ]
    return result


def to_ros(value: object) -> object:
    """A value of the table as ROS holds it."""
    return (list(value) or list(_NO_NAMES)) if isinstance(value, tuple) else value


def refuse_unknown(names: Iterable[str], known: set[str]) -> None:
    """Raise SettingsError for the names that are neither ``known`` nor ROS's own."""
    camera_fields = [row.name for row in CAMERA_ROWS]
    refusals = []
    for name in names:
        if name in known or name in _BUILT_IN or name.startswith(_BUILT_IN_PREFIX):
            continue
        owner, _, field = name.rpartition(".")
        hint = did_you_mean(name, known)
        if owner and field in camera_fields and not hint:
            hint = f" If {owner} is a camera, name {owner} in cameras."
        refusals.append(f"There is no parameter {name}.{hint}")
    if refusals:
        raise SettingsError(" ".join(refusals))
