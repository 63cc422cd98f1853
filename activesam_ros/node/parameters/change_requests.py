"""Check a request to change parameters while the node runs, and answer it.

:class:`LiveParameters` checks the request and hands the new values to the node, where
node/live_changes.py puts them to use. ``set_parameters_atomically`` changes all of its parameters
or none; ``set_parameters`` is a request for each parameter.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from activesam_ros.errors import ActiveSamError, SettingsError, shortened
from activesam_ros.node.parameters.declare import given_names, refuse_unknown, to_ros
from activesam_ros.node.parameters.options import NodeParameters
from activesam_ros.segmentation.methods import Method, default_settings
from activesam_ros.setting_table import OLD_NAMES, Change
from activesam_ros.settings import SETTINGS


class LiveParameters:
    """The values in force; answers ROS requests to change them."""

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

    def as_declared(self, changes: Iterable[Parameter]) -> list[Parameter]:
        """``changes`` by current names, with values in the types that the parameters have.

        So ROS shows a value under its current name, 1 may stand for 1.0, and [] for no names. A
        value that cannot be used stays as it is, and is refused when it is set. Raises
        SettingsError for a parameter that does not exist or is given by two names.
        """
        values = {change.name: change.value for change in changes}
        refuse_unknown(values, self._current.rows.keys() | OLD_NAMES.keys())
        return [self._declared(name, value) for name, value in given_names(values).items()]

    def _declared(self, name: str, value: object) -> Parameter:
        row = self._current.rows.get(name)
        if row is not None:
            with contextlib.suppress(SettingsError):
                value = to_ros(row.check([] if value is None else value))
        return Parameter(name, value=value)

    def _on_set(self, changes: Iterable[Any]) -> SetParametersResult:
        known = self._current.rows.keys() | OLD_NAMES.keys()
        try:
            values = given_names(
                {change.name: change.value for change in changes if change.name in known}
            )
            self._refuse_restarts(values)
            wanted = self._current.replace(values)
            if wanted != self._current:
                self._apply(wanted)
        except ActiveSamError as error:
            return SetParametersResult(successful=False, reason=shortened(str(error)))
        except Exception as error:  # noqa: BLE001 - if it escaped, the caller would wait for ever
            self._logger.error("".join(traceback.format_exception(error)).rstrip())
            reason = shortened(f"{type(error).__name__}: {error}")
            return SetParametersResult(successful=False, reason=reason)
        for note in _kept_defaults(self._current, wanted):
            self._logger.warning(note)
        self._current = wanted
        return SetParametersResult(successful=True)

    def _refuse_restarts(self, values: Mapping[str, object]) -> None:
        """Raise SettingsError if a value changes that may not change while configured."""
        if not self._is_configured():
            return
        for name, value in values.items():
            row = self._current.rows[name]
            if row.change is not Change.LIVE and row.check(value) != self._current.values[name]:
                raise SettingsError(
                    f"{name} may change only while the node is unconfigured; start the node with "
                    f"{name}:={value}, or clean it up, set {name} and configure it."
                )


def _kept_defaults(before: NodeParameters, wanted: NodeParameters) -> list[str]:
    """A sentence for each setting whose default the method has and the node does not take."""
    old, new = Method(before.options.method), Method(wanted.options.method)
    return [
        f"method is {new.value} now, but {row.name} stays {wanted.values[row.name]}; the default "
        f"of {new.value} is {getattr(default_settings(new), row.name)}."
        for row in SETTINGS
        if getattr(default_settings(new), row.name)
        not in (getattr(default_settings(old), row.name), wanted.values[row.name])
    ]
