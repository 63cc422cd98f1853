"""What the node reports on /diagnostics, and when it warns.

A camera that deserves a warning is WARN at once, and ERROR when that has lasted ``error_after_s``.
These are ERROR at once: a transition failed; no image arrives and a publisher's QoS profile or
message type does not fit; an image is lost in spite of keep_all. A step of the latency budget stays
a WARN.
"""

from __future__ import annotations

import enum
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from activesam_ros import __version__
from activesam_ros.node.budget import degradation
from activesam_ros.node.dropped_frames import LOST, NO_ROOM
from activesam_ros.node.node_status import (
    DROPPED,
    FRAMES_WAITING,
    PROBLEM,
    PUBLISHERS,
    RECEIVED,
    SEGMENTED,
    STATE,
    TOPIC,
)
from activesam_ros.node.parameters.options import NodeOptions
from activesam_ros.node.statistics import StatisticsSnapshot


class Severity(enum.IntEnum):
    """The ``level`` of a diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


class CameraState(enum.Enum):
    """Whether images of a camera arrive and are segmented."""

    INACTIVE = "inactive"
    DISABLED = "disabled"
    WAITING_IMAGE = "waiting_image"
    ACTIVE = "active"
    STALE = "stale"
    REJECTED = "rejected"


@dataclass(frozen=True)
class CameraView:
    """What the diagnostics know about a camera.

    topic: the resolved image topic. publishers: number of its publishers. source_conflicts: a
    sentence for each publisher whose images cannot arrive. reader_conflicts: one for each
    subscriber that the camera's outputs cannot reach. running: whether the node is active.
    absence_advice: what to do if nobody has published for a while, else empty.
    """

    name: str
    topic: str
    publishers: int
    source_conflicts: tuple[str, ...]
    reader_conflicts: tuple[str, ...]
    running: bool
    enabled: bool
    statistics: StatisticsSnapshot
    absence_advice: str = ""

    @property
    def conflicts(self) -> tuple[str, ...]:
        """All conflicts, those of the image first."""
        return self.source_conflicts + self.reader_conflicts


@dataclass(frozen=True)
class NetworkView:
    """What the diagnostics know about network and vocabulary; None if nothing is loaded.

    failure: why a transition failed. budget_level: the step of the latency budget in
    force. bucket_size: the size in use, which lack of memory makes smaller. frames_waiting: frames
    of all cameras that wait or are being segmented.
    """

    state: str
    failure: str | None
    device: str | None
    dtype: str | None
    method: str
    vocabulary: str | None
    vocabulary_version: int
    vocabulary_size: int
    cache_hit: bool | None
    converter: str
    signatures: str = "none"
    budget_level: degradation.BudgetLevel | None = None
    bucket_size: int = 0
    max_latency_ms: float = 0.0
    frames_waiting: int = 0


@dataclass(frozen=True)
class Health:
    """One status: severity, state, a sentence about it, and keys with their values."""

    severity: Severity
    state: str
    message: str
    values: tuple[tuple[str, str], ...]


class Escalation:
    """Makes an error of a warning that lasts."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._warning_since: float | None = None

    def apply(self, health: Health, error_after_s: float) -> Health:
        """``health``, with ERROR if it has been at least WARN for ``error_after_s`` on end."""
        if health.severity is Severity.OK:
            self._warning_since = None
            return health
        now = self._clock()
        if self._warning_since is None:
            self._warning_since = now
        if health.severity is Severity.WARN and now - self._warning_since >= error_after_s:
            return replace(health, severity=Severity.ERROR)
        return health


def camera_health(view: CameraView, options: NodeOptions) -> Health:
    """The status of a camera, before escalation."""
    severity, state, message = _judge_camera(view, options)
    return Health(severity, state.value, message, _camera_values(view, state))


def _judge_camera(view: CameraView, options: NodeOptions) -> tuple[Severity, CameraState, str]:
    statistics = view.statistics
    for cause in (NO_ROOM, LOST):  # a lost image makes an evaluation incomplete for good
        if cause in statistics.problems:
            return Severity.ERROR, CameraState.REJECTED, f"rejected: {statistics.problems[cause]}"
    if not view.running:
        return Severity.OK, CameraState.INACTIVE, "inactive: activate the node to segment images"
    if not view.enabled:
        return (
            Severity.OK,
            CameraState.DISABLED,
            "disabled: call the service enable to go on",
        )
    silent = _longer_than(statistics.since_received_s, statistics.running_s, options)
    if silent is not None:
        return _judge_silence(view, silent)
    if statistics.last_drop is not None:
        problem = statistics.problems[statistics.last_drop]
        return Severity.WARN, CameraState.REJECTED, f"rejected: {problem}"
    if statistics.received == 0:
        return Severity.OK, CameraState.WAITING_IMAGE, f"waiting for an image on {view.topic}"
    return _judge_flow(view, options)


def _judge_silence(view: CameraView, silent_s: float) -> tuple[Severity, CameraState, str]:
    first = view.statistics.since_received_s is None
    state = CameraState.WAITING_IMAGE if first else CameraState.STALE
    if view.source_conflicts:
        return Severity.ERROR, state, view.source_conflicts[0]
    if view.publishers == 0 and view.absence_advice:
        return Severity.WARN, state, view.absence_advice
    if view.publishers == 0:
        reason = "nobody publishes it; start the camera or set the image topic"
    else:
        reason = f"its publishers ({view.publishers}) send nothing; check the camera"
    return Severity.WARN, state, f"no image on {view.topic} for {silent_s:.1f} s: {reason}"


def _judge_flow(view: CameraView, options: NodeOptions) -> tuple[Severity, CameraState, str]:
    statistics = view.statistics
    if view.conflicts:
        return Severity.WARN, CameraState.ACTIVE, view.conflicts[0]
    behind = _longer_than(statistics.since_segmented_s, statistics.running_s, options)
    if behind is not None:
        return Severity.WARN, CameraState.ACTIVE, f"images come, but no mask for {behind:.1f} s"
    latency = statistics.latency_ms.get("latency")
    limit = options.warn_latency_ms
    if latency is not None and 0 < limit < latency.p95:
        return (
            Severity.WARN,
            CameraState.ACTIVE,
            f"latency p95 {latency.p95:.0f} ms is above warn_latency_ms={limit:g}",
        )
    return Severity.OK, CameraState.ACTIVE, f"{statistics.rate_out_hz:.1f} masks/s"


def _longer_than(since_s: float | None, running_s: float, options: NodeOptions) -> float | None:
    """The time since an event, or since the start if there was none, if it exceeds the timeout."""
    elapsed = running_s if since_s is None else since_s
    return elapsed if elapsed > options.image_timeout_s else None


def _camera_values(view: CameraView, state: CameraState) -> tuple[tuple[str, str], ...]:
    statistics = view.statistics
    latencies = [
        pair
        for stage, value in statistics.latency_ms.items()
        for pair in (
            (f"{stage}_ms_p50", f"{value.p50:.1f}"),
            (f"{stage}_ms_p95", f"{value.p95:.1f}"),
        )
    ]
    return (
        (STATE, state.value),
        (TOPIC, view.topic),
        (PUBLISHERS, str(view.publishers)),
        ("rate_in_hz", f"{statistics.rate_in_hz:.2f}"),
        ("rate_out_hz", f"{statistics.rate_out_hz:.2f}"),
        (RECEIVED, str(statistics.received)),
        (SEGMENTED, str(statistics.segmented)),
        ("frames_dropped", str(statistics.dropped)),
        ("frames_never_received", f"about {statistics.never_received}"),
        *((f"{DROPPED}{cause}", str(count)) for cause, count in sorted(statistics.drops.items())),
        *((f"{PROBLEM}{cause}", text) for cause, text in sorted(statistics.problems.items())),
        *((f"qos_conflict_{place}", text) for place, text in enumerate(view.conflicts, start=1)),
        *((f"failed_{name}", str(count)) for name, count in statistics.output_failures.items()),
        *((f"output_problem_{name}", text) for name, text in statistics.output_problems.items()),
        ("active_classes", str(statistics.active_classes)),
        *latencies,
    )


def network_health(view: NetworkView) -> Health:
    """The status of network and vocabulary."""
    step = None if view.budget_level is None else view.budget_level.step
    values = (
        (STATE, view.state),
        ("device", view.device or "none"),
        ("dtype", view.dtype or "none"),
        ("method", view.method),
        ("vocabulary", view.vocabulary or "none"),
        ("vocabulary_version", str(view.vocabulary_version)),
        ("vocabulary_size", str(view.vocabulary_size)),
        ("cache_hit", "unknown" if view.cache_hit is None else str(view.cache_hit).lower()),
        ("signatures", view.signatures),
        *memory_values(view.device),
        ("bucket_size", str(view.bucket_size)),
        ("max_latency_ms", f"{view.max_latency_ms:g}"),
        ("degradation", "nothing" if step is None else step.name.lower()),
        (FRAMES_WAITING, str(view.frames_waiting)),
        ("image_converter", view.converter),
        ("version", __version__),
        ("torch_version", str(torch.__version__)),
        ("python_version", platform.python_version()),
    )
    if view.failure is not None:
        return Health(Severity.ERROR, view.state, view.failure, values)
    if view.budget_level is not None and view.budget_level.step is not degradation.Step.NOTHING:
        text = f"to keep max_latency_ms={view.max_latency_ms:g}: {view.budget_level.describe()}"
        return Health(Severity.WARN, view.state, text, values)
    return Health(Severity.OK, view.state, view.state, values)


def memory_values(device: str | None) -> tuple[tuple[str, str], ...]:
    """Memory of the process and, with a GPU, memory that PyTorch uses there [MiB]."""
    values = [("memory_mib", f"{_resident_bytes() / 2**20:.0f}")]
    if device is not None and device.startswith("cuda"):
        allocated = torch.cuda.memory_allocated(device) / 2**20
        reserved = torch.cuda.memory_reserved(device) / 2**20
        values += [
            ("gpu_memory_mib", f"{allocated:.0f}"),
            ("gpu_memory_reserved_mib", f"{reserved:.0f}"),
        ]
    return tuple(values)


def _resident_bytes() -> int:
    """Resident memory of this process; 0 on a system without /proc."""
    statm = Path("/proc/self/statm")
    if not statm.is_file():
        return 0
    return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def status_message(name: str, hardware_id: str, health: Health) -> DiagnosticStatus:
    """``health`` as a diagnostic_msgs/DiagnosticStatus."""
    return DiagnosticStatus(
        level=bytes([health.severity]),
        name=name,
        message=health.message,
        hardware_id=hardware_id,
        values=_key_values(health.values),
    )


def _key_values(values: Sequence[tuple[str, str]]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value) for key, value in values]
