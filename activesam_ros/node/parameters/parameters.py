"""The node's parameters over ROS: declared from the table, read, and changed all or nothing."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node

from activesam_ros.errors import ActiveSamError, SettingsError
from activesam_ros.node.parameters.cameras import CAMERA_ROWS
from activesam_ros.node.parameters.options import NodeParameters
from activesam_ros.node.parameters.rows import Change, Parameter
from activesam_ros.settings import OLD_NAMES, current_names

# A list of texts without any has no type in ROS; blank names do not count.
_NO_NAMES = [""]
_NEAR_MISS = 0.75
# What every node reads by itself.
_BUILT_IN = ("use_sim_time", "start_type_description_service")


def descriptor(row: Parameter) -> ParameterDescriptor:
    """The row's description and range, for ``ros2 param describe`` and the like."""
    constraints = [f"may change {row.change.value}"]
    if row.choices:
        number = row.kind in ("int", "float")
        constraints.insert(0, f"{'or' if number else 'one of'} {', '.join(row.choices)}")
    unit = f" [{row.unit}]" if row.unit else ""
    result = ParameterDescriptor(
        name=row.name,
        description=f"{row.description}{unit}",
        additional_constraints="; ".join(constraints),
        read_only=row.change is Change.START,
        dynamic_typing=row.kind in ("int", "float") and bool(row.choices),
    )
    if row.kind == "int" and row.minimum is not None and row.maximum is not None:
        result.integer_range = [
            IntegerRange(from_value=int(row.minimum), to_value=int(row.maximum), step=0)
        ]
    elif row.kind == "float" and row.minimum is not None and row.maximum is not None:
        result.floating_point_range = [
            FloatingPointRange(from_value=float(row.minimum), to_value=float(row.maximum), step=0.0)
        ]
    return result


def to_ros(value: object) -> object:
    """A value of the table as ROS holds it."""
    if isinstance(value, tuple):
        return list(value) or list(_NO_NAMES)
    return value


def declare_parameters(node: Node) -> NodeParameters:
    """Declare every parameter and read it; raises SettingsError naming the first bad value.

    The node must have been made with ``automatically_declare_parameters_from_overrides``: that is
    how names that nothing reads are known, which are warned about.
    """
    overrides = {name: node.get_parameter(name).value for name in node.get_parameters_by_prefix("")}
    # Which cameras there are says which parameters there are.
    named = {"cameras": overrides["cameras"]} if "cameras" in overrides else {}
    rows = NodeParameters.from_mapping(named).rows
    known = {row.name for row in rows}
    _warn_unknown(node, overrides, known | OLD_NAMES.keys())
    parameters = NodeParameters.from_mapping(
        {name: value for name, value in _current_names(overrides).items() if name in known}
    )
    for row in rows:
        if row.name in overrides:
            node.undeclare_parameter(row.name)
        value = to_ros(parameters.value(row.name))
        # The value given at the start is in there, checked; so 1 may stand for 1.0.
        node.declare_parameter(row.name, value, descriptor(row), ignore_override=True)
    for old, name in OLD_NAMES.items():
        if old in overrides:
            node.undeclare_parameter(old)
        description = f"Deprecated: the old name of {name}. Empty where it is not given."
        node.declare_parameter(
            old, "", ParameterDescriptor(description=description), ignore_override=True
        )
    return parameters


def _current_names(values: Mapping[str, object]) -> dict[str, object]:
    """``values`` under their current names, without old names that are left empty."""
    given = {name: value for name, value in values.items() if value != "" or name not in OLD_NAMES}
    return current_names(given)


def _warn_unknown(node: Node, names: Iterable[str], known: set[str]) -> None:
    camera_fields = [row.name for row in CAMERA_ROWS]
    for name in names:
        if name in known or name in _BUILT_IN:
            continue
        owner, _, field = name.rpartition(".")
        if owner and field in camera_fields:
            hint = f"; name {owner} in cameras."
        elif owner:
            continue  # of some plugin
        else:
            close = difflib.get_close_matches(name, known, n=1, cutoff=_NEAR_MISS)
            hint = f"; did you mean {close[0]}?" if close else "."
        node.get_logger().warning(f"There is no parameter {name}, its value is not used{hint}")


class LiveParameters:
    """Answers requests to change parameters: everything in a request is taken, or nothing."""

    def __init__(
        self,
        node: Node,
        current: NodeParameters,
        is_configured: Callable[[], bool],
        apply: Callable[[NodeParameters], None],
    ) -> None:
        """``apply`` puts checked values to use, or raises an ActiveSamError and changes nothing."""
        self._current = current
        self._is_configured = is_configured
        self._apply = apply
        self._logger = node.get_logger()
        node.add_on_set_parameters_callback(self._on_set)

    @property
    def current(self) -> NodeParameters:
        """The values in force."""
        return self._current

    def _on_set(self, changes: Iterable[Any]) -> SetParametersResult:
        known = {row.name for row in self._current.rows} | OLD_NAMES.keys()
        try:
            values = _current_names(
                {change.name: change.value for change in changes if change.name in known}
            )
            self._refuse_restarts(values)
            wanted = self._current.replace(values)
            if wanted != self._current:
                self._apply(wanted)
        except ActiveSamError as error:
            return SetParametersResult(successful=False, reason=str(error))
        except Exception as error:  # noqa: BLE001 - if it escaped, the caller would wait for ever
            self._logger.error("".join(traceback.format_exception(error)).rstrip())
            reason = f"{type(error).__name__}: {error}"
            return SetParametersResult(successful=False, reason=reason)
        self._current = wanted
        return SetParametersResult(successful=True)

    def _refuse_restarts(self, values: dict[str, Any]) -> None:
        if not self._is_configured():
            return
        for name, value in values.items():
            row = self._current.row(name)
            if row is None or row.change is Change.LIVE:
                continue
            if row.check(value) != self._current.value(name):
                raise SettingsError(
                    f"{name} is read-only while the node is configured: it needs a restart; start "
                    f"the node with {name}:={value}, or clean it up, set {name} and configure it."
                )
