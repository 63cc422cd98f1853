"""Write a demo drive as a ROS 2 recording in MCAP; the file appears when it is complete."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer

from activesam_ros.demo.drive.options import DriveOptions
from activesam_ros.demo.drive.sequence import Drive, DriveFrame, frames_in_order
from activesam_ros.demo.rendering.camera import PinholeCamera
from activesam_ros.demo.world.classes import VOCABULARY_NAME
from activesam_ros.errors import OutputError, RecordingError, UsageError, os_reason
from activesam_ros.output_files import check_output_file
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.recordings.recorded_frames import open_recording
from activesam_ros.recordings.serialization import (
    COMPRESSED_IMAGE,
    IMAGE,
    VOCABULARY,
    new,
    ros2_types,
    vocabulary_message,
)
from activesam_ros.recordings.serialization import header as header_message

CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"
TF_TYPE = "tf2_msgs/msg/TFMessage"
VOCABULARY_VERSION = 1
VEHICLE_FRAME = "base_link"
JPEG_QUALITY = 92
# Humble and all later distributions read metadata of this version.
METADATA_VERSION: Final = 8
SINGLE_FILE_SUFFIX = ".mcap"
# As long as what the name of the hidden folder adds to the output's.
_PARTIAL_SUFFIX = "." * 10


@dataclass(frozen=True, slots=True)
class CameraTopics:
    """Topic and frame names of one camera."""

    namespace: str
    labels: str

    @classmethod
    def of_camera(cls, index: int) -> CameraTopics:
        """Names of camera ``index``: ``camera``, then ``camera_1`` and so on."""
        suffix = f"_{index}" if index else ""
        return cls(f"camera{suffix}", f"/ground_truth{suffix}/labels")

    @property
    def image(self) -> str:
        return f"/{self.namespace}/image_raw"

    @property
    def compressed_image(self) -> str:
        return f"{self.image}/compressed"

    @property
    def camera_info(self) -> str:
        return f"/{self.namespace}/camera_info"

    @property
    def optical_frame(self) -> str:
        return f"{self.namespace}_optical"


VOCABULARY_TOPIC = "/ground_truth/vocabulary"


def write_drive(
    options: DriveOptions,
    output: Path,
    compressed: bool = False,
    overwrite: bool = False,
    advance: Callable[[], object] = lambda: None,
) -> None:
    """Render the drive of ``options`` and record it.

    If ``output`` ends in .mcap, it becomes one file; without a suffix it becomes a rosbag2 folder
    with metadata.yaml. Nothing has that name before the recording is complete. compressed: write
    JPEG images on ``image_raw/compressed``. advance: called after each frame.

    Raises UsageError if ``output`` cannot be written, or exists and ``overwrite`` is not set.
    """
    output = output.absolute()
    _check_output(output, overwrite)
    drive = Drive(options)
    with _partial_folder(output) as partial:
        bag = partial / output.stem
        writer = Writer(bag, version=METADATA_VERSION, storage_plugin=StoragePlugin.MCAP)
        with writer:
            recorder = _Recorder(writer, drive, compressed)
            recorder.write_static()
            for frame in frames_in_order(drive):
                recorder.write_frame(frame)
                advance()
        single_file = output.suffix == SINGLE_FILE_SUFFIX
        _move(bag / f"{bag.name}.mcap" if single_file else bag, output, partial / "replaced")


def _check_output(output: Path, overwrite: bool) -> None:
    if output.suffix not in ("", SINGLE_FILE_SUFFIX):
        raise UsageError(
            f"The output {output.name} must end in {SINGLE_FILE_SUFFIX} (one file) or have no "
            "suffix (a rosbag2 folder)."
        )
    if not os.path.isdir(output):
        check_output_file(output, longest_suffix=_PARTIAL_SUFFIX)
    if not output.exists():
        return
    if not overwrite:
        raise UsageError(f"The output {output} exists; choose another name, or overwrite it.")
    if not _is_drive(output):
        raise OutputError(
            f"The output {output} is no demo drive and is not overwritten; choose another name."
        )


def _is_drive(path: Path) -> bool:
    """Whether it is a recording with the labels that a demo drive has."""
    try:
        topics = open_recording(path).image_topics
    except RecordingError:
        return False
    return CameraTopics.of_camera(0).labels in {topic.name for topic in topics}


@contextmanager
def _partial_folder(output: Path) -> Iterator[Path]:
    """A hidden folder on the same file system as ``output``, deleted at the end."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    except OSError as error:
        raise UsageError(f"The output {output} cannot be written: {os_reason(error)}.") from None
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _move(source: Path, target: Path, replaced: Path) -> None:
    """Move ``source`` to ``target``; a folder there moves away first, to ``replaced``."""
    if target.is_dir():
        os.replace(target, replaced)
    os.replace(source, target)


def _quality(durability: QosDurability, depth: int) -> Qos:
    forever = QosTime(2147483647, 4294967295)
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=depth,
        reliability=QosReliability.RELIABLE,
        durability=durability,
        deadline=forever,
        lifespan=forever,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=forever,
        avoid_ros_namespace_conventions=False,
    )


_STREAM = _quality(QosDurability.VOLATILE, 10)
_LATCHED = _quality(QosDurability.TRANSIENT_LOCAL, 1)


@dataclass(frozen=True, slots=True)
class _CameraConnections:
    image: Connection
    camera_info: Connection
    labels: Connection


class _Recorder:
    """Writes frames as messages with an open ``writer``."""

    def __init__(self, writer: Writer, drive: Drive, compressed: bool) -> None:
        self._writer = writer
        self._drive = drive
        self._compressed = compressed
        self._types = ros2_types()
        self._topics = [CameraTopics.of_camera(index) for index in range(len(drive.cameras))]
        self._tf = self._connect("/tf_static", TF_TYPE, _LATCHED)
        self._vocabulary = self._connect(VOCABULARY_TOPIC, VOCABULARY, _LATCHED)
        self._cameras = [self._connect_camera(topics) for topics in self._topics]

    def _connect(self, topic: str, msgtype: str, quality: Qos) -> Connection:
        return self._writer.add_connection(
            topic, msgtype, typestore=self._types, offered_qos_profiles=[quality]
        )

    def _connect_camera(self, topics: CameraTopics) -> _CameraConnections:
        image = (
            self._connect(topics.compressed_image, COMPRESSED_IMAGE, _STREAM)
            if self._compressed
            else self._connect(topics.image, IMAGE, _STREAM)
        )
        return _CameraConnections(
            image=image,
            camera_info=self._connect(topics.camera_info, CAMERA_INFO_TYPE, _STREAM),
            labels=self._connect(topics.labels, IMAGE, _STREAM),
        )

    def _write(self, connection: Connection, stamp_ns: int, message: object) -> None:
        data = self._types.serialize_cdr(message, connection.msgtype)
        self._writer.write(connection, stamp_ns, data)

    def write_static(self) -> None:
        """Write the poses of the cameras and the vocabulary, with the stamp of the first frame."""
        stamp_ns = self._drive.options.stamp_ns(0)
        transforms = [
            transform
            for camera, topics in zip(self._drive.cameras, self._topics, strict=True)
            for transform in self._transforms(stamp_ns, camera, topics)
        ]
        self._write(self._tf, stamp_ns, new(TF_TYPE, {"transforms": transforms}))
        vocabulary = load_vocabulary(VOCABULARY_NAME)
        self._write(
            self._vocabulary, stamp_ns, vocabulary_message(vocabulary, stamp_ns, VOCABULARY_VERSION)
        )

    def write_frame(self, frame: DriveFrame) -> None:
        """Write image, camera info and labels of every camera."""
        for index, (connections, topics, camera) in enumerate(
            zip(self._cameras, self._topics, self._drive.cameras, strict=True)
        ):
            header = header_message(frame.stamp_ns, topics.optical_frame)
            image = frame.images[index]
            message = (
                self._jpeg_message(header, image)
                if self._compressed
                else self._image_message(header, image, "rgb8")
            )
            labels = self._image_message(header, frame.labels[index], "mono8")
            self._write(connections.image, frame.stamp_ns, message)
            self._write(connections.camera_info, frame.stamp_ns, self._info(header, camera))
            self._write(connections.labels, frame.stamp_ns, labels)

    def _image_message(self, header: object, pixels: NDArray[np.uint8], encoding: str) -> object:
        height, width = pixels.shape[:2]
        return new(
            IMAGE,
            {
                "header": header,
                "height": height,
                "width": width,
                "encoding": encoding,
                "is_bigendian": 0,
                "step": pixels.size // height,
                "data": np.ascontiguousarray(pixels).reshape(-1),
            },
        )

    def _jpeg_message(self, header: object, image: NDArray[np.uint8]) -> object:
        encoded, data = cv2.imencode(
            ".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        )
        if not encoded:
            raise UsageError(
                f"This OpenCV cannot write JPEG ({image.shape}); leave the images raw."
            )
        return new(COMPRESSED_IMAGE, {"header": header, "format": "jpeg", "data": data.reshape(-1)})

    def _info(self, header: object, camera: PinholeCamera) -> object:
        intrinsics = camera.intrinsics
        region = new(
            "sensor_msgs/msg/RegionOfInterest",
            {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False},
        )
        return new(
            CAMERA_INFO_TYPE,
            {
                "header": header,
                "height": camera.height,
                "width": camera.width,
                "distortion_model": "plumb_bob",
                "d": np.zeros(5),
                "k": intrinsics.reshape(-1),
                "r": np.eye(3).reshape(-1),
                "p": np.hstack([intrinsics, np.zeros((3, 1))]).reshape(-1),
                "binning_x": 0,
                "binning_y": 0,
                "roi": region,
            },
        )

    def _transforms(
        self, stamp_ns: int, camera: PinholeCamera, topics: CameraTopics
    ) -> list[object]:
        mounted = self._transform(
            header_message(stamp_ns, VEHICLE_FRAME),
            topics.namespace,
            (0.0, 0.0, camera.mount_height_m),
            _yaw_pitch_quaternion(camera.yaw_rad, camera.pitch_rad),
        )
        # REP 103: the link has x forward and z up, the optical frame z forward and y down.
        optical = self._transform(
            header_message(stamp_ns, topics.namespace),
            topics.optical_frame,
            (0.0, 0.0, 0.0),
            (-0.5, 0.5, -0.5, 0.5),
        )
        return [mounted, optical]

    def _transform(
        self,
        header: object,
        child: str,
        translation: tuple[float, float, float],
        rotation: tuple[float, float, float, float],
    ) -> object:
        x, y, z = translation
        qx, qy, qz, qw = rotation
        return new(
            "geometry_msgs/msg/TransformStamped",
            {
                "header": header,
                "child_frame_id": child,
                "transform": new(
                    "geometry_msgs/msg/Transform",
                    {
                        "translation": new("geometry_msgs/msg/Vector3", {"x": x, "y": y, "z": z}),
                        "rotation": new(
                            "geometry_msgs/msg/Quaternion", {"x": qx, "y": qy, "z": qz, "w": qw}
                        ),
                    },
                ),
            },
        )


def _yaw_pitch_quaternion(yaw_rad: float, pitch_rad: float) -> tuple[float, float, float, float]:
    """Quaternion (x, y, z, w) of a yaw about z, then a pitch about the new y."""
    cos_yaw, sin_yaw = math.cos(yaw_rad / 2), math.sin(yaw_rad / 2)
    cos_pitch, sin_pitch = math.cos(pitch_rad / 2), math.sin(pitch_rad / 2)
    return (-sin_yaw * sin_pitch, cos_yaw * sin_pitch, sin_yaw * cos_pitch, cos_yaw * cos_pitch)
