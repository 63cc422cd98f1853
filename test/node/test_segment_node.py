"""Transitions that fail: what the node tells of them, which rclpy keeps to itself."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import rclpy
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from activesam_ros.node.diagnostics import Severity, network_health
from activesam_ros.node.parameters.options import NodeParameters
from activesam_ros.node.segment_node import SegmentNode
from activesam_ros.node.session import Session


class BrokenNode(SegmentNode):
    """A node without a network whose session cannot do what ``broken`` names."""

    broken = ""

    def _make_session(self, parameters: NodeParameters) -> Session:
        def step(name: str) -> None:
            if name == self.broken:
                raise RuntimeError(f"no {name}")

        steps: dict[str, Any] = {
            name: lambda name=name: step(name) for name in ("activate", "deactivate", "close")
        }
        changes = SimpleNamespace(refuse=lambda: None)
        return cast("Session", SimpleNamespace(**steps, changes=changes))


@pytest.fixture
def node() -> Iterator[BrokenNode]:
    rclpy.init(args=["--ros-args", "-p", "autostart:=false"])
    node = BrokenNode()
    yield node
    node.destroy_node()
    rclpy.shutdown()


@pytest.mark.parametrize(
    ("broken", "transitions", "state", "failure"),
    [
        ("activate", ["activate"], "inactive", "Activating failed: no activate"),
        ("deactivate", ["activate", "deactivate"], "unconfigured", "Deactivating failed: no dea"),
        ("close", ["cleanup"], "unconfigured", "Cleaning up failed: no close"),
        ("close", ["shutdown"], "unconfigured", "Shutting down failed: no close"),
    ],
)
def test_a_transition_that_fails_is_told(
    node: BrokenNode,
    broken: str,
    transitions: list[str],
    state: str,
    failure: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    node.broken = broken
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    for transition in transitions:
        result = getattr(node, f"trigger_{transition}")()
    assert result != TransitionCallbackReturn.SUCCESS
    node._session = None  # it has no cameras to tell of
    health = network_health(node._network_view())
    assert (health.severity, health.state) == (Severity.ERROR, state)
    assert health.message.startswith(failure)
    log = capfd.readouterr().err
    assert failure in log
    assert f"RuntimeError: no {broken}" in log, "with its traceback"


def test_after_a_failure_the_node_can_be_configured_again(node: BrokenNode) -> None:
    node.broken = "close"
    node.trigger_configure()
    assert node.trigger_cleanup() == TransitionCallbackReturn.ERROR
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node._failure is None


@pytest.mark.parametrize(
    ("name", "value", "shown_as", "shown"),
    [
        ("preview_source", "shared", "preview_encoding", "shared"),
        ("preview_source", "own", "preview_encoding", "separate"),
        ("confidence_threshold", 1, "confidence_threshold", 1.0),
        ("max_active", 7.0, "max_active", 7),
        ("pinned", [], "pinned", [""]),
        ("pinned", ["car", " "], "pinned", ["car"]),
        ("max_latency_ms", 5, "max_latency_ms", 5.0),
    ],
)
def test_ros_shows_what_was_set_by_its_name_and_type(
    node: BrokenNode, name: str, value: Any, shown_as: str, shown: object
) -> None:
    result = node.set_parameters_atomically([Parameter(name, value=value)])
    assert result.successful, result.reason
    assert node.get_parameter(shown_as).value == shown


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"preview_source": "own", "preview_encoding": "shared"}, "give preview_encoding alone"),
        ({"resolutoin": 0}, "no parameter resolutoin. Did you mean resolution?"),
        ({"max_active": -2}, "max_active out of range"),
        ({"preview_source": "none"}, "preview_encoding='none' is unknown"),
    ],
)
def test_what_cannot_be_set_changes_nothing(
    node: BrokenNode, values: dict[str, Any], reason: str
) -> None:
    before = node._live.current
    changes = [Parameter(name, value=value) for name, value in values.items()]
    result = node.set_parameters_atomically([Parameter("enabled", value=False), *changes])
    assert not result.successful
    assert reason in result.reason
    assert node._live.current is before
    assert node.get_parameter("enabled").value is True
