"""The parameters of the node: its own options, the settings of the method, and those of cameras.

How to add one, and what follows from it, is in settings.py. A value or a combination that the node
alone refuses is refused here, as is a default that differs in the node.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from activesam_ros.errors import SettingsError
from activesam_ros.node.parameters.cameras import (
    CAMERA_ROWS,
    MAX_CAMERAS,
    MAX_RATE_HZ,
    TRANSPORTS,
    UNNAMED,
    CameraInput,
    CameraOptions,
    check_camera_names,
)
from activesam_ros.pipeline import DTYPES
from activesam_ros.segmentation.methods import Method, default_settings
from activesam_ros.setting_table import (
    Change,
    Setting,
    SettingValue,
    check_fields,
    setting,
    settings_of,
)
from activesam_ros.settings import AUTO, SETTINGS, Settings, current_names

RELIABILITIES = ("reliable", "best_effort")


@dataclass(frozen=True)
class NodeOptions:
    """The settings that only the node has.

    Raises SettingsError if a value has the wrong type or is out of range.
    """

    weights: str = setting(
        "",
        "Path of the network's weights, sam3.pt or a safetensors file. If empty, weights/sam3.pt "
        "is taken if it is there, else the demo weights, which a log line says.",
        change=Change.UNCONFIGURED,
    )
    config_file: str = setting(
        "",
        "Path of the JSON file with the network's dimensions. If empty, config.json beside the "
        "weights is taken, or the full size if there is none.",
        change=Change.UNCONFIGURED,
    )
    vocabulary: str = setting(
        "driving",
        "Name of a bundled vocabulary, or path of a YAML or text file.",
        change=Change.UNCONFIGURED,
    )
    classes: str = setting(
        "",
        "Class names in place of vocabulary: 'road, car, person', or with aliases "
        "'road; car, automobile; person'. Empty takes vocabulary.",
        change=Change.UNCONFIGURED,
    )
    vocabulary_folders: tuple[str, ...] = setting(
        (),
        "Folders whose vocabulary files a request may name: the preset of set_vocabulary, and the "
        "parameter vocabulary where it is changed after the start. Links are resolved. Without "
        "folders a request gives the name of a bundled vocabulary, or class names.",
        change=Change.START,
    )
    method: str = setting(
        Method.ACTIVESAM2.value,
        "Method of segmentation: activesam2 and activesam decode the active set of queries, full "
        "decodes all queries, segearth and sam3 are baselines. A method that the node starts with "
        "brings its published defaults, such as a confidence_threshold of 0.5 for a baseline; "
        "setting method later does not.",
        choices=tuple(method.value for method in Method),
        change=Change.UNCONFIGURED,
    )
    device: str = setting(
        "auto",
        "Device of the network: auto, cpu, cuda or cuda:N. auto takes the first GPU, or the CPU "
        "if there is none.",
        change=Change.UNCONFIGURED,
    )
    dtype: str = setting(
        "auto",
        "Data type of the network; auto takes bfloat16 on a GPU and float32 on a CPU.",
        choices=DTYPES,
        change=Change.UNCONFIGURED,
    )
    cache_dir: str = setting(
        "",
        "Folder for compiled vocabularies; empty takes the user's cache folder.",
        change=Change.UNCONFIGURED,
    )
    cpu_threads: int = setting(
        0,
        "Number of CPU threads that the network may use; 0 takes all cores that the process may "
        "use but one, which is left to others.",
        between=(0, 1024),
        unit="threads",
        change=Change.UNCONFIGURED,
    )
    warm_up: bool = setting(
        True,
        "Whether to segment blank images while configuring. Then the first frame is as fast as "
        "later ones, and a lack of memory shows before the robot moves.",
        change=Change.UNCONFIGURED,
    )
    cameras: tuple[str, ...] = setting(
        (),
        "Names of up to eight cameras. Each has the parameters <name>.topic, <name>.transport and "
        "<name>.max_rate_hz, and its outputs under ~/<name>/. Without names there is one camera: "
        "its topic is image, and its outputs are under ~/.",
        change=Change.START,
    )
    camera_batch: int = setting(
        1,
        "Largest number of images, each of another camera, that are encoded at once when several "
        "wait.",
        between=(1, MAX_CAMERAS),
        unit="images",
        change=Change.UNCONFIGURED,
    )
    max_rate_hz: float = setting(
        0.0,
        "Largest number of images per second that are taken from a camera; 0 sets no limit.",
        between=(0.0, MAX_RATE_HZ),
        unit="Hz",
    )
    image_transport: str = setting(
        "raw",
        "raw subscribes to the topic image, compressed to image/compressed.",
        choices=TRANSPORTS,
        change=Change.UNCONFIGURED,
    )
    image_reliability: str = setting(
        "auto",
        "Reliability of the image subscription; auto takes the reliability that the publisher "
        "offers.",
        choices=("auto", *RELIABILITIES),
        change=Change.UNCONFIGURED,
    )
    output_reliability: str = setting(
        "reliable",
        "Reliability of the mask publishers; reliable also serves best-effort subscribers.",
        choices=RELIABILITIES,
        change=Change.UNCONFIGURED,
    )
    keep_all: bool = setting(
        False,
        "For evaluation: segment every image, in order, and keep waiting images in memory. "
        "Requires 0 for max_image_age_ms, max_rate_hz and max_latency_ms.",
        change=Change.UNCONFIGURED,
    )
    keep_all_mib: int = setting(
        1024,
        "With keep_all: memory for waiting images. An image that does not fit is dropped and "
        "counted, and the diagnostics report an error.",
        between=(1, 1_048_576),
        unit="MiB",
        change=Change.UNCONFIGURED,
    )
    max_latency_ms: float = setting(
        0.0,
        "Latency budget: the target for the time from receiving an image to publishing its mask. "
        "When frames take longer, the node does less, one step at a time, and goes back to full "
        "quality later. 0 sets no budget.",
        between=(0.0, 600_000.0),
        unit="ms",
    )
    budget_preview_interval: int = setting(
        8,
        "First step of the latency budget: each query is previewed or decoded only once in this "
        "many frames; with streaming, preview_interval is multiplied by this. 1 skips the step.",
        between=(1, 1000),
        unit="frames",
    )
    budget_max_active: int = setting(
        10,
        "Second step of the latency budget: largest number of active queries, not counting pinned "
        "ones. A value of max_active or more skips the step.",
        between=(1, 65535),
        unit="queries",
    )
    budget_resolution: int = setting(
        0,
        "Third step of the latency budget: side length of the square that is decoded. 0 takes two "
        "thirds of resolution; a value of resolution or more skips the step.",
        between=(0, 4032),
        unit="px",
        change=Change.UNCONFIGURED,
    )
    max_image_age_ms: float = setting(
        0.0,
        "An image is dropped and counted if its stamp is older than this when its turn comes; 0 "
        "accepts any age. Set use_sim_time to use this with recordings.",
        between=(0.0, 3_600_000.0),
        unit="ms",
    )
    image_timeout_s: float = setting(
        2.0,
        "The diagnostics warn if no image has arrived, or no mask was published, for this long.",
        between=(0.05, 3600.0),
        unit="s",
    )
    warn_latency_ms: float = setting(
        1000.0,
        "The diagnostics warn if the 95th percentile of the latency is above this; 0 turns the "
        "warning off.",
        between=(0.0, 600_000.0),
        unit="ms",
    )
    error_after_s: float = setting(
        10.0,
        "The diagnostics report an error if a warning lasts this long.",
        between=(0.0, 3600.0),
        unit="s",
    )
    diagnostics_period_s: float = setting(
        1.0,
        "Time between two diagnostics messages.",
        between=(0.05, 60.0),
        unit="s",
    )
    enabled: bool = setting(
        True,
        "Whether images are received and segmented; the service enable sets this parameter.",
    )
    overlay_opacity: float = setting(
        0.5,
        "Opacity of the class colours over the image in the overlay.",
        between=(0.0, 1.0),
    )
    overlay_jpeg_quality: int = setting(
        80,
        "JPEG quality of the compressed overlay.",
        between=(1, 100),
    )
    autostart: bool = setting(
        True,
        "Whether the node configures and activates itself; otherwise a lifecycle manager does.",
        change=Change.START,
    )

    def __post_init__(self) -> None:
        check_fields(self, OPTIONS)
        check_camera_names(self.cameras)


OPTIONS: tuple[Setting, ...] = settings_of(NodeOptions)
NODE_DEFAULTS: dict[str, SettingValue] = {"streaming": True, "compile": AUTO}
"""Defaults that differ in the node, as it segments the frames of a camera for a long time."""
PARAMETERS: tuple[Setting, ...] = (
    *OPTIONS,
    *(
        dataclasses.replace(row, default=NODE_DEFAULTS.get(row.name, row.default))
        for row in SETTINGS
    ),
)
"""All parameters but those of named cameras."""


@dataclass(frozen=True)
class NodeParameters:
    """The values of all parameters.

    Raises SettingsError if keep_all is set beside a parameter that leaves out images.
    """

    options: NodeOptions = field(default_factory=NodeOptions)
    settings: Settings = field(default_factory=lambda: Settings().replace(NODE_DEFAULTS))
    cameras: tuple[CameraOptions, ...] = ()

    def __post_init__(self) -> None:
        if not self.options.keep_all:
            return
        limits = {
            "max_image_age_ms": self.options.max_image_age_ms,
            "max_rate_hz": self.options.max_rate_hz,
            "max_latency_ms": self.options.max_latency_ms,
            **{f"{camera.name}.max_rate_hz": camera.max_rate_hz for camera in self.cameras},
        }
        for name, value in limits.items():
            if value > 0:
                raise SettingsError(
                    f"{name}={value:g} would leave out images or parts of them, which keep_all "
                    f"forbids; set {name} to 0 or keep_all to false."
                )

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> NodeParameters:
        """``values`` over the defaults of the node and of the method that they name.

        Raises SettingsError for an unknown name or a bad value.
        """
        given = {name: values[name] for name in ("method", "cameras") if name in values}
        first = NodeOptions(**given)  # type: ignore[arg-type]
        return cls(
            settings=default_settings(Method(first.method)).replace(NODE_DEFAULTS),
            cameras=tuple(CameraOptions(name) for name in first.cameras),
        ).replace(values)

    @property
    def rows(self) -> dict[str, Setting]:
        """The row of each parameter, by name."""
        cameras = (row for camera in self.cameras for row in camera.rows)
        return {row.name: row for row in (*PARAMETERS, *cameras)}

    @property
    def values(self) -> dict[str, SettingValue]:
        """The value of each parameter, by name."""
        cameras = {
            f"{camera.name}.{row.name}": getattr(camera, row.name)
            for camera in self.cameras
            for row in CAMERA_ROWS
        }
        return {**vars(self.options), **vars(self.settings), **cameras}

    def replace(self, values: Mapping[str, object]) -> NodeParameters:
        """A copy with ``values`` in place.

        Raises SettingsError for an unknown name or a bad value.
        """
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
        """The cameras to subscribe to: the named ones, or the unnamed one if there are none."""
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
