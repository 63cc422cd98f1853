"""From a segmentation to messages, and the publishers they leave by."""

from __future__ import annotations

import array
import copy
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import ColorRGBA, Header

from activesam_ros.msg import ActiveClass, ActiveClasses, VocabularyEntry
from activesam_ros.msg import Vocabulary as VocabularyMessage
from activesam_ros.node.budget.degradation import Step
from activesam_ros.node.parameters.options import NodeOptions
from activesam_ros.node.ros.camera import endpoints
from activesam_ros.node.ros.qos import LATCHED, publisher_conflicts, stream
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.segmentation.overlay import draw_overlay
from activesam_ros.segmentation.result import Segmentation, Wanted

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:  # no wheel has it; on a ROS distribution it is a dependency
    LabelInfo = None
    VisionClass = None

# A reader that is late by a few masks still gets each.
OUTPUT_DEPTH = 5
# With keep_all a reader may be late by many.
KEEP_ALL_DEPTH = 256

Pixels: TypeAlias = "NDArray[np.uint8] | NDArray[np.uint16]"
DrawOverlay: TypeAlias = Callable[
    [NDArray[np.uint8], Pixels, Mapping[int, tuple[int, int, int]], float], NDArray[np.uint8]
]


def image_message(header: Header, pixels: Pixels, encoding: str) -> Image:
    """``pixels`` [H, W] or [H, W, C] of any integer type as sensor_msgs/Image."""
    return Image(
        header=header,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(sys.byteorder == "big"),
        step=pixels.strides[0] if pixels.flags.c_contiguous else pixels[0].nbytes,
        data=byte_array(pixels),
    )


def compressed_message(
    header: Header, pixels: Pixels, encoding: str, codec: str, quality: int | None
) -> CompressedImage:
    """``pixels`` (BGR where coloured) as a PNG or JPEG, named as image_transport names them."""
    flags = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, data = cv2.imencode(".jpg" if codec == "jpeg" else f".{codec}", pixels, flags)
    stored = "bgr8" if pixels.ndim == 3 else encoding
    return CompressedImage(
        header=header, format=f"{encoding}; {codec} compressed {stored}", data=byte_array(data)
    )


def byte_array(pixels: Pixels) -> array.array[int]:
    """The bytes of an array in the type that messages take over without looking at each byte."""
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(pixels).data.cast("B"))
    return data


def mask_encoding(labels: NDArray[np.uint8] | NDArray[np.uint16]) -> str:
    """mono8 for eight-bit labels, 16UC1 for wider ones."""
    return "mono8" if labels.dtype == np.uint8 else "16UC1"


def active_classes_message(
    header: Header,
    result: Segmentation,
    vocabulary: Vocabulary,
    version: int,
    latency_ms: float,
    degradation: Step = Step.NOTHING,
) -> ActiveClasses:
    """The active classes of a frame; a class that was not decoded has presence 0."""
    return ActiveClasses(
        header=header,
        vocabulary_version=version,
        vocabulary_size=len(vocabulary.classes),
        classes=[
            ActiveClass(
                id=entry.id,
                name=entry.name,
                presence=entry.presence or 0.0,
                pixel_fraction=entry.pixels / result.labels.size,
                reason=int(entry.reason),
            )
            for entry in result.classes
        ],
        latency_ms=latency_ms,
        degradation=int(degradation),
    )


def vocabulary_message(header: Header, vocabulary: Vocabulary, version: int) -> VocabularyMessage:
    """The whole vocabulary in order of id."""
    return VocabularyMessage(
        header=header,
        version=version,
        entries=[
            VocabularyEntry(
                id=entry.id,
                name=entry.name,
                color=ColorRGBA(
                    r=entry.color[0] / 255, g=entry.color[1] / 255, b=entry.color[2] / 255, a=1.0
                ),
                pinned=entry.pinned,
            )
            for entry in sorted(vocabulary.classes, key=lambda entry: entry.id)
        ],
    )


class CameraPublishers:
    """The outputs of one camera; they publish only while the node is active."""

    def __init__(
        self,
        node: LifecycleNode,
        options: NodeOptions,
        prefix: str = "",
        draw: DrawOverlay = draw_overlay,
    ) -> None:
        """``prefix`` stands before the names of the topics, after the node's own name."""
        self._node = node
        self._prefix = prefix
        self._draw = draw
        self._streams: dict[str, tuple[Any, QoSProfile]] = {}
        self._publishers: list[Any] = []
        profile = stream(
            options.output_reliability, KEEP_ALL_DEPTH if options.keep_all else OUTPUT_DEPTH
        )
        self._mask = self._stream(Image, "semantic_mask", profile)
        self._mask_png = self._stream(CompressedImage, "semantic_mask/compressed", profile)
        self._camera_info = self._stream(CameraInfo, "semantic_mask/camera_info", profile)
        self._active_classes = self._stream(ActiveClasses, "active_classes", profile)
        self._confidence = self._stream(Image, "confidence", profile)
        self._overlay = self._stream(Image, "overlay", profile)
        self._overlay_jpeg = self._stream(CompressedImage, "overlay/compressed", profile)

    def _stream(self, message_type: Any, name: str, profile: QoSProfile) -> Any:
        publisher = self._node.create_lifecycle_publisher(
            message_type, f"~/{self._prefix}{name}", profile
        )
        self._streams[publisher.topic_name] = (message_type, profile)
        self._publishers.append(publisher)
        return publisher

    def destroy(self) -> None:
        """Take every topic away."""
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)

    def wanted(self) -> Wanted:
        """What somebody listens to beyond the mask."""
        return Wanted(confidence=self._confidence.get_subscription_count() > 0)

    def conflicts(self) -> tuple[str, ...]:
        """A sentence for each subscriber that cannot be reached."""
        return tuple(
            sentence
            for topic, (message_type, profile) in self._streams.items()
            for sentence in publisher_conflicts(
                topic,
                type_name(message_type),
                profile,
                endpoints(self._node.get_subscriptions_info_by_topic(topic)),
            )
        )

    def publish_mask(self, header: Header, result: Segmentation, camera_info: Any | None) -> None:
        """The mask, what goes with it by its very stamp, and the confidence where computed."""
        encoding = mask_encoding(result.labels)
        self._mask.publish(image_message(header, result.labels, encoding))
        if camera_info is not None:
            info = copy.copy(camera_info)
            info.header = header
            self._camera_info.publish(info)
        if self._mask_png.get_subscription_count():
            self._mask_png.publish(compressed_message(header, result.labels, encoding, "png", None))
        if result.confidence is not None:
            self._confidence.publish(image_message(header, result.confidence, "mono8"))

    def publish_active_classes(
        self,
        header: Header,
        result: Segmentation,
        vocabulary: Vocabulary,
        version: int,
        latency_ms: float,
        degradation: Step,
    ) -> None:
        """Which classes were segmented; ``latency_ms`` from receiving the image to its mask."""
        self._active_classes.publish(
            active_classes_message(header, result, vocabulary, version, latency_ms, degradation)
        )

    def publish_overlay(
        self,
        header: Header,
        image: NDArray[np.uint8],
        result: Segmentation,
        vocabulary: Vocabulary,
        options: NodeOptions,
    ) -> None:
        """The coloured image, drawn only while somebody listens."""
        raw = self._overlay.get_subscription_count() > 0
        jpeg = self._overlay_jpeg.get_subscription_count() > 0
        if not raw and not jpeg:
            return
        palette = vocabulary.palette
        picture = self._draw(image, result.labels, palette, options.overlay_opacity)
        if raw:
            self._overlay.publish(image_message(header, picture, "rgb8"))
        if jpeg:
            bgr = np.ascontiguousarray(picture[..., ::-1])
            self._overlay_jpeg.publish(
                compressed_message(header, bgr, "rgb8", "jpeg", options.overlay_jpeg_quality)
            )


class VocabularyPublishers:
    """What labels mean, once for all cameras; late subscribers get it too."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._vocabulary = node.create_publisher(VocabularyMessage, "~/vocabulary", LATCHED)
        self._label_info: Any | None = None
        if LabelInfo is not None:
            self._label_info = node.create_publisher(LabelInfo, "~/label_info", LATCHED)

    def destroy(self) -> None:
        """Take the topics away."""
        self._node.destroy_publisher(self._vocabulary)
        if self._label_info is not None:
            self._node.destroy_publisher(self._label_info)

    def publish(self, stamp: Time, vocabulary: Vocabulary, version: int, threshold: float) -> None:
        """Tell everybody, late subscribers included, what the labels mean from here on."""
        header = Header(stamp=stamp)
        self._vocabulary.publish(vocabulary_message(header, vocabulary, version))
        if self._label_info is not None:
            self._label_info.publish(
                LabelInfo(
                    header=header,
                    threshold=threshold,
                    class_map=[
                        VisionClass(class_id=entry.id, class_name=entry.name)
                        for entry in sorted(vocabulary.classes, key=lambda entry: entry.id)
                    ],
                )
            )


def type_name(message_type: Any) -> str:
    """``package/msg/Name`` of a message class."""
    return f"{message_type.__module__.partition('.')[0]}/msg/{message_type.__name__}"
