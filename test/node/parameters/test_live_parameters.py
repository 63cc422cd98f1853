"""Requests to change parameters are answered, whatever happens while they are put to use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import rclpy
import torch
from rclpy.node import Node
from rclpy.parameter import Parameter

from activesam_ros.errors import SettingsError
from activesam_ros.node.parameters.options import NodeParameters
from activesam_ros.node.parameters.parameters import LiveParameters, declare_parameters


@pytest.fixture
def node() -> Iterator[Node]:
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = Node("live", context=context, automatically_declare_parameters_from_overrides=True)
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
