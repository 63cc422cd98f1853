"""The node's own parameters, and the one table of all parameters: these and the method's settings.

ROS descriptors, ``config/activesam.yaml`` and the table in the documentation are all generated
from :data:`PARAMETERS`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from activesam_ros.errors import SettingsError
from activesam_ros.node.parameters.cameras import (
    MAX_CAMERAS,
    MAX_RATE_HZ,
    TRANSPORTS,
    UNNAMED,
    CameraInput,
    CameraOptions,
    check_camera_names,
)
from activesam_ros.node.parameters.rows import (
    Change,
    Parameter,
    ParameterValue,
    from_setting,
    option,
    rows_of,
)
from activesam_ros.pipeline import DTYPES
from activesam_ros.segmentation.baselines import Method, default_settings
from activesam_ros.settings import AUTO, SETTINGS, Settings, SettingValue, current_names

RELIABILITIES = ("reliable", "best_effort")


@dataclass(frozen=True)
class NodeOptions:
    """What the node needs to know beyond the method's settings; validated on construction.

    Raises SettingsError when a value has the wrong type or is out of range.
    """

    weights: str = option(
        "",
        "Path of the network's weights, sam3.pt or a safetensors file; has to be given.",
    )
    config_file: str = option(
        "",
        "Path of the JSON file with the network's dimensions; empty takes config.json beside the "
        "weights, else the full size.",
    )
    vocabulary: str = option(
        "driving",
        "Name of a bundled vocabulary, or path of a YAML or text file.",
    )
    method: str = option(
        Method.ACTIVESAM.value,
        "How frames are segmented: the pruned method, the same without pruning, or a baseline. "
        "The baselines segearth and sam3 were published with confidence_threshold 0.5.",
        choices=tuple(method.value for method in Method),
    )
    device: str = option(
        "auto",
        "auto, cpu, cuda or cuda:N; auto takes the first GPU where there is one.",
    )
    dtype: str = option(
        "auto",
        "Precision of the network; auto takes bfloat16 on a GPU and float32 on a CPU.",
        choices=DTYPES,
    )
    cache_dir: str = option(
        "",
        "Folder of compiled vocabularies; empty takes the user's cache folder.",
    )
    cpu_threads: int = option(
        0,
        "CPU threads the network may use; 0 takes all cores but one, so that others are served.",
        minimum=0,
        maximum=1024,
        unit="threads",
    )
    warm_up: bool = option(
        True,
        "Segment a blank image while configuring, so that the first frame is no slower than others "
        "and missing memory shows before the robot moves.",
    )
    cameras: tuple[str, ...] = option(
        (),
        "Names of up to eight cameras, each with parameters of its own: <name>.topic, "
        "<name>.transport, <name>.max_rate_hz. Outputs are under ~/<name>/. Without names the one "
        "camera is the topic image, with its outputs under ~/.",
        change=Change.START,
    )
    camera_batch: int = option(
        1,
        "Images of different cameras that are encoded at once when several wait.",
        minimum=1,
        maximum=MAX_CAMERAS,
        unit="images",
    )
    max_rate_hz: float = option(
        0.0,
        "Most images a second taken from a camera; 0 takes all there is time for.",
        minimum=0.0,
        maximum=MAX_RATE_HZ,
        unit="Hz",
        change=Change.LIVE,
    )
    image_transport: str = option(
        "raw",
        "raw subscribes to image, compressed to image/compressed.",
        choices=TRANSPORTS,
    )
    image_reliability: str = option(
        "auto",
        "Reliability asked of the image's publisher; auto takes what the publisher offers.",
        choices=("auto", *RELIABILITIES),
    )
    output_reliability: str = option(
        "reliable",
        "Reliability the masks are offered with; reliable serves every subscriber.",
        choices=RELIABILITIES,
    )
    keep_all: bool = option(
        False,
        "For evaluation: every image is segmented, in order; those that wait are kept in memory. "
        "Needs max_image_age_ms, max_rate_hz and max_latency_ms at 0.",
    )
    keep_all_mib: int = option(
        1024,
        "Memory for images that wait with keep_all; what does not fit is dropped, counted, and an "
        "error in the diagnostics.",
        minimum=1,
        maximum=1_048_576,
        unit="MiB",
    )
    max_latency_ms: float = option(
        0.0,
        "Latency budget, from receiving an image to its mask; under load the node leaves out more, "
        "step by step, and takes it back later. 0 leaves out nothing.",
        minimum=0.0,
        maximum=600_000.0,
        unit="ms",
        change=Change.LIVE,
    )
    budget_preview_interval: int = option(
        8,
        "First step of the latency budget: every class is previewed once in so many frames, with "
        "streaming in so many times preview_interval; 1 skips the step.",
        minimum=1,
        maximum=1000,
        unit="frames",
        change=Change.LIVE,
    )
    budget_max_active: int = option(
        10,
        "Second step: at most so many active queries, pinned ones beside them; max_active or more "
        "skips the step.",
        minimum=1,
        maximum=65535,
        unit="queries",
        change=Change.LIVE,
    )
    budget_resolution: int = option(
        0,
        "Third step: side of the square that is decoded; 0 takes two thirds of the resolution, the "
        "resolution or more skips the step.",
        minimum=0,
        maximum=4032,
        unit="px",
    )
    max_image_age_ms: float = option(
        0.0,
        "Images whose stamp is older than this when their turn comes are dropped and counted; "
        "0 takes any. With recordings set use_sim_time.",
        minimum=0.0,
        maximum=3_600_000.0,
        unit="ms",
        change=Change.LIVE,
    )
    image_timeout_s: float = option(
        2.0,
        "Diagnostics warn when no image, or no usable one, came for this long.",
        minimum=0.05,
        maximum=3600.0,
        unit="s",
        change=Change.LIVE,
    )
    warn_latency_ms: float = option(
        1000.0,
        "Diagnostics warn when the 95th percentile of the latency is above this; 0 never does.",
        minimum=0.0,
        maximum=600_000.0,
        unit="ms",
        change=Change.LIVE,
    )
    error_after_s: float = option(
        10.0,
        "A warning that lasts this long becomes an error.",
        minimum=0.0,
        maximum=3600.0,
        unit="s",
        change=Change.LIVE,
    )
    diagnostics_period_s: float = option(
        1.0,
        "Time between two diagnostics messages.",
        minimum=0.05,
        maximum=60.0,
        unit="s",
        change=Change.LIVE,
    )
    enabled: bool = option(
        True,
        "Whether images are received and segmented, the same as the service enable.",
        change=Change.LIVE,
    )
    overlay_opacity: float = option(
        0.5,
        "How much of the class colours covers the image in the overlay.",
        minimum=0.0,
        maximum=1.0,
        change=Change.LIVE,
    )
    overlay_jpeg_quality: int = option(
        80,
        "JPEG quality of the compressed overlay.",
        minimum=1,
        maximum=100,
        change=Change.LIVE,
    )
    autostart: bool = option(
        True,
        "Whether the node configures and activates itself; otherwise a lifecycle manager does.",
        change=Change.START,
    )

    def __post_init__(self) -> None:
        for row in OPTIONS:
            object.__setattr__(self, row.name, row.check(getattr(self, row.name)))
        check_camera_names(self.cameras)
        if self.keep_all:
            for name in ("max_image_age_ms", "max_rate_hz", "max_latency_ms"):
                if getattr(self, name) > 0:
                    raise SettingsError(
                        f"{name}={getattr(self, name):g} would leave out images or parts of them, "
                        f"which keep_all forbids; set {name} to 0 or keep_all to false."
                    )


OPTIONS: tuple[Parameter, ...] = rows_of(NodeOptions)
NODE_DEFAULTS: dict[str, SettingValue] = {"streaming": True, "compile": AUTO}
"""Settings whose default is another in the node: a camera's frames follow each other, for long."""
PARAMETERS: tuple[Parameter, ...] = (
    *OPTIONS,
    *(
        dataclasses.replace(row, default=NODE_DEFAULTS.get(row.name, row.default))
        for row in map(from_setting, SETTINGS)
    ),
)
"""Every parameter but those of named cameras."""


def parameter_named(name: str) -> Parameter | None:
    """The row of :data:`PARAMETERS` for ``name``, None for another name."""
    return next((row for row in PARAMETERS if row.name == name), None)


@dataclass(frozen=True)
class NodeParameters:
    """Every parameter's value: the node's options, those of cameras, and the method's settings."""

    options: NodeOptions = field(default_factory=NodeOptions)
    settings: Settings = field(default_factory=lambda: Settings().replace(NODE_DEFAULTS))
    cameras: tuple[CameraOptions, ...] = ()

    def __post_init__(self) -> None:
        for camera in self.cameras:
            if self.options.keep_all and camera.max_rate_hz > 0:
                raise SettingsError(
                    f"{camera.name}.max_rate_hz={camera.max_rate_hz:g} would leave out images, "
                    "which keep_all forbids; set it to 0 or keep_all to false."
                )

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> NodeParameters:
        """All parameters with ``values`` over the defaults of the method among them.

        Raises SettingsError on an unknown name or a bad value.
        """
        method = Method(str(_METHOD.check(values.get("method", _METHOD.default))))
        names = NodeOptions(cameras=values.get("cameras", ())).cameras  # type: ignore[arg-type]
        cameras = tuple(CameraOptions(name) for name in names)
        settings = default_settings(method).replace(NODE_DEFAULTS)
        return cls(settings=settings, cameras=cameras).replace(values)

    @property
    def rows(self) -> tuple[Parameter, ...]:
        """The table of all parameters, those of the named cameras among them."""
        return (*PARAMETERS, *(row for camera in self.cameras for row in camera.rows))

    def row(self, name: str) -> Parameter | None:
        """The table's row for ``name``, None for a parameter of somebody else."""
        return next((row for row in self.rows if row.name == name), None)

    def value(self, name: str) -> ParameterValue:
        """The value of a parameter of the table; raises KeyError for another name."""
        camera_name, dot, camera_field = name.partition(".")
        parts: list[object] = [self.options, self.settings]
        if dot:
            parts = [camera for camera in self.cameras if camera.name == camera_name]
        for part in parts:
            if hasattr(part, camera_field or name):
                value: ParameterValue = getattr(part, camera_field or name)
                return value
        raise KeyError(name)

    def replace(self, values: Mapping[str, object]) -> NodeParameters:
        """A copy with ``values`` in place; all are validated before any is taken."""
        values = current_names(values)
        own = {row.name for row in OPTIONS}
        options = {name: value for name, value in values.items() if name in own}
        others = {name: value for name, value in values.items() if name not in own}
        cameras = []
        for camera in self.cameras:
            taken = {row.name for row in camera.rows} & set(others)
            fields = {name.partition(".")[2]: others.pop(name) for name in taken}
            cameras.append(dataclasses.replace(camera, **fields))  # type: ignore[arg-type]
        return NodeParameters(
            options=dataclasses.replace(self.options, **options),  # type: ignore[arg-type]
            settings=self.settings.replace(others),
            cameras=tuple(cameras),
        )

    @property
    def inputs(self) -> tuple[CameraInput, ...]:
        """The cameras to subscribe to: the named ones, else the unnamed one."""
        options = self.options
        if not self.cameras:
            compressed = options.image_transport == "compressed"
            return (CameraInput(UNNAMED, UNNAMED, compressed, options.max_rate_hz, prefix=""),)
        return tuple(
            CameraInput(
                name=camera.name,
                topic=camera.topic or f"{camera.name}/image",
                compressed=(camera.transport or options.image_transport) == "compressed",
                max_rate_hz=camera.max_rate_hz or options.max_rate_hz,
                prefix=f"{camera.name}/",
            )
            for camera in self.cameras
        )


_METHOD = next(row for row in OPTIONS if row.name == "method")
