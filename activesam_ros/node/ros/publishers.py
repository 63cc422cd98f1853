"""Messages made of a segmentation, and the publishers that send them."""

from __future__ import annotations

import array
import copy
import sys
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
from activesam_ros.node.ros.qos import (
    KEEP_ALL_DEPTH,
    LATCHED,
    endpoints,
    publisher_conflicts,
    stream,
)
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.segmentation.overlay import draw_overlay
from activesam_ros.segmentation.result import Segmentation, Wanted

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:  # PyPI has no wheel of it; on a ROS distribution it is a dependency
    LabelInfo = None
    VisionClass = None

# A reader that is late by a few masks still gets every one.
OUTPUT_DEPTH = 5

Pixels: TypeAlias = "NDArray[np.uint8] | NDArray[np.uint16]"


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
    """``pixels``, [H, W] or BGR [H, W, 3], as a sensor_msgs/CompressedImage.

    codec: "png" or "jpeg". quality: of a JPEG, 1 to 100. The format is named as by image_transport.
    """
    flags = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, data = cv2.imencode(".jpg" if codec == "jpeg" else f".{codec}", pixels, flags)
    stored = "bgr8" if pixels.ndim == 3 else encoding
    return CompressedImage(
        header=header, format=f"{encoding}; {codec} compressed {stored}", data=byte_array(data)
    )


def byte_array(pixels: Pixels) -> array.array[int]:
    """The bytes of an array as an array.array, which a message takes without checking each byte."""
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(pixels).data.cast("B"))
    return data


def mask_encoding(labels: NDArray[np.uint8] | NDArray[np.uint16]) -> str:
    """The image encoding of labels [H, W]: mono8 for uint8, 16UC1 for uint16."""
    return "mono8" if labels.dtype == np.uint8 else "16UC1"


def active_classes_message(
    header: Header,
    result: Segmentation,
    vocabulary: Vocabulary,
    version: int,
    latency_ms: float,
    degradation: Step,
) -> ActiveClasses:
    """The active classes of a frame; a class that was not decoded has the presence 0.

    ``latency_ms`` is from receiving the image to its mask, ``degradation`` the budget's step.
    """
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


def vocabulary_message(
    header: Header, vocabulary: Vocabulary, version: int, background_id: int
) -> VocabularyMessage:
    """The whole vocabulary and the background, in the order of ids."""
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
            for entry in vocabulary.labels(background_id)
        ],
    )


class CameraPublishers:
    """The outputs of one camera. They publish only while the node is active.

    ``header`` is always the image's own: the outputs of a frame have its stamp and frame_id.
    """

    def __init__(self, node: LifecycleNode, options: NodeOptions, prefix: str = "") -> None:
        """``prefix`` stands between the node's name and the names of the topics."""
        self._node = node
        self._prefix = prefix
        self._topics: dict[str, tuple[Any, QoSProfile]] = {}
        self._publishers: list[Any] = []
        depth = KEEP_ALL_DEPTH if options.keep_all else OUTPUT_DEPTH
        profile = stream(options.output_reliability, depth)
        self._mask = self._publisher(Image, "semantic_mask", profile)
        self._mask_png = self._publisher(CompressedImage, "semantic_mask/compressed", profile)
        self._camera_info = self._publisher(CameraInfo, "semantic_mask/camera_info", profile)
        self._active_classes = self._publisher(ActiveClasses, "active_classes", profile)
        self._confidence = self._publisher(Image, "confidence", profile)
        self._overlay = self._publisher(Image, "overlay", profile)
        self._overlay_jpeg = self._publisher(CompressedImage, "overlay/compressed", profile)

    @property
    def mask_topic(self) -> str:
        """The full name of the masks' topic, remapping included."""
        return str(self._mask.topic_name)

    def _publisher(self, message_type: Any, name: str, profile: QoSProfile) -> Any:
        publisher = self._node.create_lifecycle_publisher(
            message_type, f"~/{self._prefix}{name}", profile
        )
        self._topics[publisher.topic_name] = (message_type, profile)
        self._publishers.append(publisher)
        return publisher

    def destroy(self) -> None:
        """Destroy the publishers; nothing may be published from here on."""
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)

    def wanted(self) -> Wanted:
        """What the segmenter must compute beyond the mask, because somebody subscribes to it."""
        return Wanted(confidence=self._confidence.get_subscription_count() > 0)

    def conflicts(self) -> tuple[str, ...]:
        """A sentence for each subscriber that cannot be reached."""
        return tuple(
            sentence
            for topic, (message_type, profile) in self._topics.items()
            for sentence in publisher_conflicts(
                topic,
                type_name(message_type),
                profile,
                endpoints(self._node.get_subscriptions_info_by_topic(topic)),
            )
        )

    def publish_mask(self, header: Header, labels: Pixels) -> None:
        """The mask, labels [H, W]."""
        self._mask.publish(image_message(header, labels, mask_encoding(labels)))

    def publish_camera_info(self, header: Header, camera_info: Any | None) -> None:
        """The camera_info of the mask's source with exactly the mask's header; nothing for None."""
        if camera_info is not None:
            info = copy.copy(camera_info)
            info.header = header
            self._camera_info.publish(info)

    def publish_compressed_mask(self, header: Header, labels: Pixels) -> None:
        """The mask as a PNG, encoded only while somebody subscribes."""
        if self._mask_png.get_subscription_count():
            encoding = mask_encoding(labels)
            self._mask_png.publish(compressed_message(header, labels, encoding, "png", None))

    def publish_confidence(self, header: Header, confidence: NDArray[np.uint8] | None) -> None:
        """The best class score of every pixel [H, W]; nothing for None, when it was not wanted."""
        if confidence is not None:
            self._confidence.publish(image_message(header, confidence, "mono8"))

    def publish_active_classes(self, message: ActiveClasses) -> None:
        """Which classes were decoded, made by :func:`active_classes_message`."""
        self._active_classes.publish(message)

    def publish_overlay(
        self,
        header: Header,
        image: NDArray[np.uint8],
        labels: Pixels,
        vocabulary: Vocabulary,
        options: NodeOptions,
    ) -> None:
        """The image [H, W, 3] under its class colours, drawn only while somebody subscribes."""
        raw = self._overlay.get_subscription_count() > 0
        jpeg = self._overlay_jpeg.get_subscription_count() > 0
        if not raw and not jpeg:
            return
        picture = draw_overlay(
            image, labels, vocabulary.palette, options.overlay_opacity
        )  # [H, W, 3]
        if raw:
            self._overlay.publish(image_message(header, picture, "rgb8"))
        if jpeg:
            bgr = np.ascontiguousarray(picture[..., ::-1])
            self._overlay_jpeg.publish(
                compressed_message(header, bgr, "rgb8", "jpeg", options.overlay_jpeg_quality)
            )


class VocabularyPublishers:
    """The meaning of the labels, one for all cameras; late subscribers get it too."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._vocabulary = node.create_publisher(VocabularyMessage, "~/vocabulary", LATCHED)
        self._label_info: Any | None = None
        if LabelInfo is not None:
            self._label_info = node.create_publisher(LabelInfo, "~/label_info", LATCHED)

    def destroy(self) -> None:
        """Destroy the publishers; nothing may be published from here on."""
        self._node.destroy_publisher(self._vocabulary)
        if self._label_info is not None:
            self._node.destroy_publisher(self._label_info)

    def publish(
        self,
        stamp: Time,
        vocabulary: Vocabulary,
        version: int,
        background_id: int,
        threshold: float,
    ) -> None:
        """Publish what labels mean from here on; ``threshold`` is the confidence_threshold."""
        header = Header(stamp=stamp)
        self._vocabulary.publish(vocabulary_message(header, vocabulary, version, background_id))
        if self._label_info is not None:
            self._label_info.publish(
                LabelInfo(
                    header=header,
                    threshold=threshold,
                    class_map=[
                        VisionClass(class_id=entry.id, class_name=entry.name)
                        for entry in vocabulary.labels(background_id)
                    ],
                )
            )


def type_name(message_type: Any) -> str:
    """``package/msg/Name`` of a message class."""
    return f"{message_type.__module__.partition('.')[0]}/msg/{message_type.__name__}"
