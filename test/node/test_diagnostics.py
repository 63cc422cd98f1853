"""States and levels by the stated limits."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from activesam_ros.node.diagnostics import (
    CameraView,
    Escalation,
    Health,
    NetworkView,
    Severity,
    camera_health,
    memory_values,
    network_health,
    status_message,
)
from activesam_ros.node.node_status import NodeStatus, network_status_name, node_statuses
from activesam_ros.node.parameters.options import NodeOptions
from activesam_ros.node.statistics import Percentiles, StatisticsSnapshot

OPTIONS = NodeOptions(image_timeout_s=2.0, warn_latency_ms=100.0)
FLOWING = StatisticsSnapshot(
    received=50,
    segmented=48,
    drops={"superseded": 1},
    problems={},
    rate_in_hz=10.0,
    rate_out_hz=9.6,
    latency_ms={"latency": Percentiles(40.0, 90.0)},
    active_classes=7,
    running_s=5.0,
    since_received_s=0.1,
    since_segmented_s=0.2,
    last_drop=None,
)
NOTHING = replace(
    FLOWING, received=0, segmented=0, latency_ms={}, since_received_s=None, since_segmented_s=None
)
VIEW = CameraView(
    name="image",
    topic="/camera/image_raw",
    publishers=1,
    source_conflicts=(),
    reader_conflicts=(),
    running=True,
    enabled=True,
    statistics=FLOWING,
)
SILENT = replace(FLOWING, since_received_s=2.1)
REJECTING = replace(
    FLOWING, last_drop="wrong_step", problems={"wrong_step": "step 3"}, drops={"wrong_step": 4}
)


@pytest.mark.parametrize(
    ("view", "level", "state", "message"),
    [
        (VIEW, Severity.OK, "active", "9.6 masks/s"),
        (replace(VIEW, running=False), Severity.OK, "inactive", "activate"),
        (replace(VIEW, enabled=False), Severity.OK, "disabled", "enable"),
        (
            replace(VIEW, statistics=replace(NOTHING, running_s=1.0)),
            Severity.OK,
            "waiting_image",
            "/camera/image_raw",
        ),
        (
            replace(VIEW, publishers=0, statistics=NOTHING),
            Severity.WARN,
            "waiting_image",
            "nobody publishes it",
        ),
        (
            replace(VIEW, publishers=0, statistics=NOTHING, absence_advice="Published are /a."),
            Severity.WARN,
            "waiting_image",
            "Published are /a.",
        ),
        (
            replace(VIEW, source_conflicts=("/cam is best_effort",), statistics=NOTHING),
            Severity.ERROR,
            "waiting_image",
            "/cam is best_effort",
        ),
        (
            replace(VIEW, source_conflicts=("/cam is best_effort",), statistics=SILENT),
            Severity.ERROR,
            "stale",
            "/cam is best_effort",
        ),
        (
            replace(VIEW, reader_conflicts=("/rviz asks",), statistics=SILENT),
            Severity.WARN,
            "stale",
            "no image on /camera/image_raw for 2.1 s",
        ),
        (replace(VIEW, reader_conflicts=("/rviz asks",)), Severity.WARN, "active", "/rviz asks"),
        (replace(VIEW, source_conflicts=("/cam 2",)), Severity.WARN, "active", "/cam 2"),
        (
            replace(VIEW, statistics=SILENT),
            Severity.WARN,
            "stale",
            "no image on /camera/image_raw for 2.1 s",
        ),
        (replace(VIEW, statistics=REJECTING), Severity.WARN, "rejected", "rejected: step 3"),
        (
            replace(VIEW, statistics=replace(FLOWING, since_segmented_s=8.0)),
            Severity.WARN,
            "active",
            "no mask for 8.0 s",
        ),
        (
            replace(
                VIEW,
                statistics=replace(FLOWING, latency_ms={"latency": Percentiles(50.0, 101.0)}),
            ),
            Severity.WARN,
            "active",
            "101 ms is above warn_latency_ms=100",
        ),
    ],
)
def test_levels(view: CameraView, level: Severity, state: str, message: str) -> None:
    health = camera_health(view, OPTIONS)
    assert (health.severity, health.state) == (level, state)
    assert message in health.message
    assert dict(health.values)["state"] == state


@pytest.mark.parametrize("cause", ["no_room", "lost"])
@pytest.mark.parametrize(("running", "enabled"), [(True, True), (False, True), (True, False)])
def test_an_image_lost_with_keep_all_stays_an_error(
    running: bool, enabled: bool, cause: str
) -> None:
    """Nothing that comes later makes the evaluation complete: not even the recording's end."""
    lost = replace(SILENT, problems={cause: "keep_all_mib is full"}, drops={cause: 3})
    health = camera_health(
        replace(VIEW, statistics=lost, running=running, enabled=enabled), OPTIONS
    )
    assert (health.severity, health.state) == (Severity.ERROR, "rejected")
    assert "keep_all_mib is full" in health.message


def test_conflicts_of_both_sides_are_listed() -> None:
    view = replace(VIEW, source_conflicts=("/cam",), reader_conflicts=("/rviz",))
    values = dict(camera_health(view, OPTIONS).values)
    assert (values["qos_conflict_1"], values["qos_conflict_2"]) == ("/cam", "/rviz")


def test_a_limit_of_zero_never_warns() -> None:
    slow = replace(FLOWING, latency_ms={"latency": Percentiles(1e6, 1e6)})
    health = camera_health(replace(VIEW, statistics=slow), NodeOptions(warn_latency_ms=0.0))
    assert health.severity is Severity.OK


def test_values_tell_rates_drops_and_latencies() -> None:
    values = dict(camera_health(replace(VIEW, statistics=REJECTING), OPTIONS).values)
    assert values["rate_in_hz"] == "10.00"
    assert values["frames_received"] == "50"
    assert values["frames_dropped"] == "4"
    assert values["dropped_wrong_step"] == "4"
    assert values["problem_wrong_step"] == "step 3"
    assert values["latency_ms_p95"] == "90.0"


def test_a_warning_that_lasts_becomes_an_error() -> None:
    now_s = 0.0
    escalation = Escalation(lambda: now_s)
    warning = Health(Severity.WARN, "stale", "no image", ())
    fine = Health(Severity.OK, "active", "", ())
    assert escalation.apply(warning, 10.0).severity is Severity.WARN
    now_s = 9.9
    assert escalation.apply(warning, 10.0).severity is Severity.WARN
    now_s = 10.0
    assert escalation.apply(warning, 10.0).severity is Severity.ERROR
    assert escalation.apply(fine, 10.0) == fine
    assert escalation.apply(warning, 10.0).severity is Severity.WARN
    error = Health(Severity.ERROR, "waiting_image", "qos", ())
    assert escalation.apply(error, 100.0) == error


NETWORK = NetworkView(
    state="active",
    failure=None,
    device="cpu",
    dtype="float32",
    method="activesam",
    vocabulary="driving",
    vocabulary_version=2,
    vocabulary_size=40,
    cache_hit=True,
    converter="cv_bridge",
)


def test_network_values() -> None:
    health = network_health(NETWORK)
    values = dict(health.values)
    assert health.severity is Severity.OK
    assert values["vocabulary"] == "driving"
    assert values["vocabulary_version"] == "2"
    assert values["cache_hit"] == "true"
    assert float(values["memory_mib"]) > 0
    assert {"version", "torch_version", "device", "image_converter"} < set(values)


def test_a_failed_configuration_is_an_error_with_its_reason() -> None:
    health = network_health(replace(NETWORK, state="unconfigured", failure="no such file"))
    assert (health.severity, health.message) == (Severity.ERROR, "no such file")


def test_the_message_has_level_name_and_values() -> None:
    message = status_message("front/activesam: image", "cpu", camera_health(VIEW, OPTIONS))
    assert message.level == b"\x00"
    assert (message.name, message.hardware_id) == ("front/activesam: image", "cpu")
    assert {"key", "value"} <= set(message.values[0].get_fields_and_field_types())
    assert "gpu_memory_mib" not in dict(memory_values("cpu"))


def test_memory_is_counted_in_pages_of_the_computer_s_size(monkeypatch: pytest.MonkeyPatch) -> None:
    page_bytes = 65_536  # as on many 64-bit ARM computers
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": page_bytes}.__getitem__)
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    memory_mib = float(dict(memory_values("cpu"))["memory_mib"])
    assert memory_mib == pytest.approx(pages * page_bytes / 2**20, rel=0.5)


def test_another_process_reads_one_status_of_a_node_with_two_cameras() -> None:
    network = network_health(replace(NETWORK, frames_waiting=3))
    message = DiagnosticArray(
        status=[
            DiagnosticStatus(name="somebody: else", level=b"\x02"),
            status_message(network_status_name("/front/activesam"), "cpu", network),
            *(
                status_message(name, "cpu", camera_health(replace(VIEW, statistics=seen), OPTIONS))
                for name, seen in (
                    ("front/activesam: left", REJECTING),
                    ("front/activesam: right", FLOWING),
                    ("rear/activesam: left", REJECTING),
                )
            ),
        ]
    )
    (status,) = node_statuses(message)
    left, right = status.cameras
    assert status == NodeStatus("/front/activesam", "active", "", 3, (left, right))
    assert (left.name, left.topic, left.publishers) == ("left", VIEW.topic, VIEW.publishers)
    for camera, seen in ((left, REJECTING), (right, FLOWING)):
        assert (camera.received, camera.segmented) == (seen.received, seen.segmented)
        assert (camera.dropped, camera.problems) == (seen.drops, seen.problems)
    # the 4 images with a wrong step are unusable, the superseded one is not
    assert status.frames_unusable == 4


def test_another_process_reads_a_failure_and_takes_degradation_for_none() -> None:
    failure = "Configuring failed: There is no file x."
    health = network_health(replace(NETWORK, state="unconfigured", failure=failure))
    message = DiagnosticArray(status=[status_message(network_status_name("/a"), "", health)])
    assert node_statuses(message) == [NodeStatus("/a", "unconfigured", failure, 0)]
    message.status[0].level = DiagnosticStatus.WARN
    assert node_statuses(message)[0].failure == ""


def test_outputs_that_failed_beside_their_mask_are_shown() -> None:
    statistics = replace(
        FLOWING, output_failures={"overlay": 3}, output_problems={"overlay": "no room"}
    )
    values = dict(camera_health(replace(VIEW, statistics=statistics), OPTIONS).values)
    assert values["failed_overlay"] == "3"
    assert values["output_problem_overlay"] == "no room"
    assert values["frames_dropped"] == "1"
