"""Parameter files that hold nothing for the node: told, and judged as ROS itself reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter

from activesam_ros.node.parameters.params_files import files_without_parameters

VALUES = "{ros__parameters: {max_active: 3}}"


@pytest.mark.parametrize(
    ("content", "is_read"),
    [
        (f"/**: {VALUES}", True),
        (f"/front/activesam: {VALUES}", True),
        (f"front: {{activesam: {VALUES}}}", True),
        (f"/front: {{activesam: {VALUES}, other: {VALUES}}}", True),
        (f"/*/activesam: {VALUES}", True),
        (f"/**/activesam: {VALUES}", True),
        (f"{{other: {VALUES}, /front/*: {VALUES}}}", True),
        (f"activesam: {VALUES}", False),
        (f"/*: {VALUES}", False),
        (f"/front/segment_node: {VALUES}", False),
        (f"/rear: {{activesam: {VALUES}}}", False),
    ],
)
def test_a_file_without_parameters_for_the_node_is_told(
    tmp_path: Path, content: str, is_read: bool
) -> None:
    params_file = tmp_path / "params.yaml"
    params_file.write_text(content, "utf-8")
    arguments = ["--ros-args", "--params-file", str(params_file)]
    sentences = files_without_parameters(["segment_node", *arguments], "/front/activesam")
    assert bool(sentences) == (not is_read)
    assert all("begin it with /front/activesam: or with /**:" in line for line in sentences)
    context = rclpy.Context()
    rclpy.init(args=arguments, context=context)
    node = Node("activesam", namespace="/front", context=context)
    with node.handle:
        assert ("max_active" in node.handle.get_parameters(Parameter)) == is_read
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_a_file_that_cannot_be_read_is_not_judged() -> None:
    assert files_without_parameters(["--params-file", "/no/such"], "/activesam") == ()
