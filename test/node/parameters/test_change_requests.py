"""Requests to change parameters are answered, whatever happens while they are put to use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import rclpy
import torch
from rclpy.node import Node
from rclpy.parameter import Parameter

from activesam_ros.errors import SettingsError
from activesam_ros.node.parameters.change_requests import LiveParameters
from activesam_ros.node.parameters.declare import declare_parameters
from activesam_ros.node.parameters.options import NodeParameters


@pytest.fixture
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node that was started with the arguments of the test."""
    context = rclpy.Context()
    rclpy.init(args=getattr(request, "param", []), context=context)
    node = Node("live", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.mark.parametrize(
    "error",
    [
        SettingsError("max_active=7 does not fit"),
        torch.OutOfMemoryError("CUDA out of memory, 7 GiB"),
        MemoryError("no room for 7 bytes"),
        TypeError("7 is no tensor"),
    ],
)
def test_a_fault_while_parameters_change_is_an_answer(node: Node, error: Exception) -> None:
    def apply(parameters: NodeParameters) -> None:
        raise error

    live = LiveParameters(node, declare_parameters(node), lambda: True, apply)
    before = live.current
    (result,) = node.set_parameters([Parameter("max_active", value=7)])
    assert not result.successful
    assert str(error) in result.reason
    assert live.current is before
    assert node.get_parameter("max_active").value == before.settings.max_active


@pytest.mark.parametrize("node", [["--ros-args", "-p", "preview_source:=shared"]], indirect=True)
def test_the_old_name_of_a_setting_works_at_the_start_and_later(node: Node) -> None:
    live = LiveParameters(node, declare_parameters(node), lambda: True, lambda parameters: None)
    assert live.current.settings.preview_encoding == "shared"
    assert node.get_parameter("preview_encoding").value == "shared"
    (result,) = node.set_parameters([Parameter("preview_source", value="own")])
    assert result.successful
    assert live.current.settings.preview_encoding == "separate"
    (result,) = node.set_parameters([Parameter("preview_source", value="none")])
    assert "give one of separate, shared" in result.reason
    (result,) = node.set_parameters([Parameter("preview_source", value="")])
    assert result.successful, "as a dump of all parameters has it"
    assert live.current.settings.preview_encoding == "separate"


def test_a_method_that_is_set_later_says_which_defaults_it_does_not_bring(
    node: Node, capfd: pytest.CaptureFixture[str]
) -> None:
    live = LiveParameters(node, declare_parameters(node), lambda: False, lambda parameters: None)

    def set_and_read(**values: object) -> str:
        parameters = [Parameter(name, value=value) for name, value in values.items()]
        assert node.set_parameters_atomically(parameters).successful
        return capfd.readouterr().err

    told = set_and_read(method="segearth")
    assert "confidence_threshold stays 0.3; the default of segearth is 0.5" in told
    assert live.current.settings.confidence_threshold == 0.3
    assert set_and_read(max_active=7) == "", "the method has not changed"
    assert set_and_read(method="sam3", confidence_threshold=0.5) == ""
    told = set_and_read(method="activesam")
    assert "confidence_threshold stays 0.5; the default of activesam is 0.3" in told
