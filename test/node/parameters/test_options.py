"""The table of parameters, and values that the node refuses."""

from __future__ import annotations

from typing import Any

import pytest

from activesam_ros.errors import SettingsError
from activesam_ros.node.parameters.cameras import CAMERA_ROWS, CameraInput, CameraOptions
from activesam_ros.node.parameters.options import (
    OPTIONS,
    PARAMETERS,
    NodeOptions,
    NodeParameters,
)
from activesam_ros.setting_table import Change, Setting
from activesam_ros.settings import SETTINGS, Settings


def test_every_setting_and_option_is_a_parameter_once() -> None:
    names = [row.name for row in PARAMETERS]
    assert len(names) == len(set(names))
    assert {setting.name for setting in SETTINGS} < set(names)
    assert {"weights", "vocabulary", "device", "image_transport", "enabled"} < set(names)


@pytest.mark.parametrize("row", [*PARAMETERS, *CAMERA_ROWS], ids=lambda row: row.name)
def test_every_parameter_is_described_and_its_default_is_valid(row: Setting) -> None:
    assert row.description.endswith(".")
    assert row.check(row.default) == row.default
    if row.kind in ("int", "float"):
        assert row.minimum is not None
        assert row.maximum is not None
        for outside in (row.minimum - 1, row.maximum + 1, "text", None, True):
            with pytest.raises(SettingsError, match=row.name):
                row.check(outside)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_transport": "theora"}, "image_transport='theora' is unknown; give one of raw"),
        ({"method": "sam4"}, "activesam, activesam2, full, segearth, sam3"),
        ({"enabled": 1}, "enabled=1 is not a truth value"),
        ({"weights": 5}, "weights=5 is not a text"),
        ({"overlay_opacity": 1.5}, "overlay_opacity=1.5 is out of range; give a number"),
        ({"confidence_threshold": "high"}, "confidence_threshold='high' is not a number"),
        ({"no_such": 1}, "no_such"),
        ({"cameras": ["front", "front"]}, "'front' twice"),
        ({"cameras": ["front/left"]}, "'front/left', which cannot be part of a topic"),
        ({"cameras": ["front__left"]}, "single underscores"),
        ({"cameras": [f"camera{number}" for number in range(9)]}, "9 names; one node serves up to"),
        ({"cameras": ["front"], "front.topic": "/a b"}, "front.topic='/a b' is no topic"),
        ({"cameras": ["front"], "front.topic": "a//b"}, "is no topic; use letters"),
        ({"cameras": ["front"], "front.topic": "/cam/0"}, "begin no part with a digit"),
        ({"cameras": ["front"], "front.max_rate_hz": -1.0}, r"front\.max_rate_hz=-1.0 is out of"),
        ({"cameras": ["front"], "front.transport": "theora"}, 'give one of "", raw, compressed'),
        ({"cameras": ["front"], "rear.topic": "rear"}, r"rear\.topic"),
        ({"keep_all": True, "max_image_age_ms": 5.0}, "max_image_age_ms=5 .* keep_all forbids"),
        ({"keep_all": True, "max_rate_hz": 5.0}, "max_rate_hz=5 .* keep_all forbids"),
        ({"keep_all": True, "max_latency_ms": 5.0}, "max_latency_ms=5 .* keep_all forbids"),
        (
            {"keep_all": True, "cameras": ["a"], "a.max_rate_hz": 5.0},
            r"a\.max_rate_hz=5 .* keep_all forbids",
        ),
    ],
)
def test_bad_values_are_named_with_their_bound(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        NodeParameters.from_mapping(values)


def test_replacing_takes_options_and_settings() -> None:
    before = NodeParameters()
    after = before.replace({"enabled": False, "max_active": 7, "pinned": ["car"]})
    assert after.options == NodeOptions(enabled=False)
    expected = Settings(max_active=7, pinned=("car",), streaming=True, compile="auto")
    assert after.settings == expected
    assert before == NodeParameters()


def test_without_names_there_is_one_camera_at_the_top() -> None:
    parameters = NodeParameters.from_mapping({"cameras": [""], "max_rate_hz": 5})
    assert parameters == NodeParameters(options=NodeOptions(max_rate_hz=5.0))
    assert parameters.inputs == (CameraInput("image", "image", False, 5.0, prefix=""),)


def test_named_cameras_have_parameters_of_their_own() -> None:
    parameters = NodeParameters.from_mapping(
        {
            "cameras": ["front", "left_2"],
            "front.topic": "/cameras/front/image_raw",
            "front.max_rate_hz": 3,
            "left_2.transport": "compressed",
            "max_rate_hz": 10.0,
        }
    )
    assert parameters.inputs == (
        CameraInput("front", "/cameras/front/image_raw", False, 3.0, prefix="front/"),
        CameraInput("left_2", "left_2/image", True, 10.0, prefix="left_2/"),
    )
    assert parameters.values["front.max_rate_hz"] == 3.0
    assert parameters.rows["left_2.transport"].change is Change.UNCONFIGURED
    after = parameters.replace({"left_2.max_rate_hz": 1, "max_active": 7})
    assert [camera.max_rate_hz for camera in after.cameras] == [3.0, 1.0]
    assert after.options == parameters.options
    with pytest.raises(SettingsError, match=r"front\.topic"):
        NodeParameters().replace({"front.topic": "x"})
    assert CameraOptions("front").rows[0].name == "front.topic"


@pytest.mark.parametrize("topic", ["", "image", "/a_1/image_raw", "~/image", "{node}/b", "a/_b"])
def test_topics_of_ros_are_topics_of_cameras(topic: str) -> None:
    values = {"cameras": ["front"], "front.topic": topic}
    assert NodeParameters.from_mapping(values).inputs[0].topic == (topic or "front/image")


def test_a_baseline_begins_with_its_published_threshold() -> None:
    assert NodeParameters.from_mapping({"method": "segearth"}).settings.confidence_threshold == 0.5
    given = NodeParameters.from_mapping({"method": "segearth", "confidence_threshold": 0.3})
    assert given.settings.confidence_threshold == 0.3


def test_what_shapes_the_network_does_not_change_while_it_runs() -> None:
    rows = NodeParameters().rows
    for name in ("weights", "device", "resolution", "neighbor_tokens", "image_transport"):
        assert rows[name].change is Change.UNCONFIGURED
    for name in ("confidence_threshold", "max_active", "pinned", "enabled", "overlay_opacity"):
        assert rows[name].change is Change.LIVE


def test_options_are_checked_when_made() -> None:
    assert NodeOptions(max_image_age_ms=5).max_image_age_ms == 5.0
    with pytest.raises(SettingsError, match="cpu_threads=-1"):
        NodeOptions(cpu_threads=-1)
    assert {row.name for row in OPTIONS} == set(NodeOptions.__dataclass_fields__)
