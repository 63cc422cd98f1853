"""The parameters that a node is started with, as a parameter file gives them."""

from __future__ import annotations

from pathlib import Path

import pytest
import rclpy
import yaml
from rclpy.node import Node

from activesam_ros.errors import SettingsError
from activesam_ros.node.parameters.declare import declare_parameters
from activesam_ros.node.parameters.options import NodeParameters


def started_with(parameters: str, folder: Path) -> tuple[NodeParameters, dict[str, object]]:
    """What a node reads from a parameter file with this YAML, and what ROS shows then."""
    params_file = folder / "params.yaml"
    content = {"/**": {"ros__parameters": yaml.safe_load(parameters)}}
    params_file.write_text(yaml.safe_dump(content), "utf-8")
    context = rclpy.Context()
    rclpy.init(args=["--ros-args", "--params-file", str(params_file)], context=context)
    node = Node("declaring", context=context)
    try:
        declared = declare_parameters(node)
        shown = {name: node.get_parameter(name).value for name in declared.values}
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
    return declared, shown


def test_an_empty_list_is_a_list_without_names(tmp_path: Path) -> None:
    parameters, shown = started_with("{pinned: [], cameras: [], max_active: 7}", tmp_path)
    assert parameters == NodeParameters.from_mapping({"max_active": 7})
    assert [name for name in shown["pinned"] if name] == []  # type: ignore[attr-defined]
    assert shown["max_active"] == 7


def test_values_and_named_cameras_are_read(tmp_path: Path) -> None:
    text = "{pinned: [car], cameras: [front], front: {topic: /f}, preview_source: shared}"
    parameters, shown = started_with(text, tmp_path)
    assert parameters.settings.pinned == ("car",)
    assert parameters.inputs[0].topic == "/f"
    assert parameters.settings.preview_encoding == shown["preview_encoding"] == "shared"


def test_parameters_of_ros_itself_are_no_parameters_of_the_node(tmp_path: Path) -> None:
    text = "{use_sim_time: true, qos_overrides: {/clock: {subscription: {depth: 1}}}}"
    assert started_with(text, tmp_path)[0] == NodeParameters()


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ("confidence_treshold: 0.2", "confidence_treshold. Did you mean confidence_threshold?"),
        ("streaming: {enabled: true}", "streaming.enabled. Did you mean streaming?"),
        ("{cameras: [front], frnt: {topic: f}}", "frnt.topic. Did you mean front.topic?"),
        ("side: {topic: s}", "side.topic. If side is a camera, name side in cameras."),
        ("{resolutoin: 1, zzz: 1}", "mean resolution? There is no parameter zzz."),
        ("max_active: []", "max_active=[] is not an integer; give an integer from -1 to 65535"),
    ],
)
def test_what_nobody_reads_is_refused(tmp_path: Path, parameters: str, reason: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        started_with(parameters, tmp_path)
    assert reason in str(refusal.value)
