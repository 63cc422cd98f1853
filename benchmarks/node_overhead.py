"""What a 1080p frame costs the node outside the network, by step.

    python -m benchmarks.node_overhead --threads 2

deserialize: bytes to message, as the middleware does. convert: message to RGB. resize: RGB to the
network's input, for the preview and for decoding. publish: mask, camera_info and active classes to
a subscriber on this computer. Each round times every step. It prints medians of wall time and of
processor time of all threads, which other processes affect less.
"""

from __future__ import annotations

import argparse
import array
import statistics
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import rclpy
import torch
from rclpy.lifecycle import LifecycleNode
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from activesam_ros.allocator import keep_freed_memory
from activesam_ros.node.budget.degradation import Step
from activesam_ros.node.engine import use_cpu_threads
from activesam_ros.node.parameters.options import NodeOptions
from activesam_ros.node.ros.publishers import CameraPublishers, active_classes_message
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.recordings.compressed_images import compressed_to_rgb
from activesam_ros.recordings.image_encodings import load_converter, to_rgb
from activesam_ros.segmentation.device.transfer import Transfer
from activesam_ros.segmentation.pixels import network_pixels, upload
from activesam_ros.segmentation.result import ActiveClass, Reason, Segmentation

HEIGHT, WIDTH = 1080, 1920
RESOLUTIONS = (672, 1008)
# encoding -> rows, bytes per row
RAW = {
    "rgb8": (HEIGHT, WIDTH * 3),
    "bgr8": (HEIGHT, WIDTH * 3),
    "bgra8": (HEIGHT, WIDTH * 4),
    "mono16": (HEIGHT, WIDTH * 2),
    "bayer_rggb8": (HEIGHT, WIDTH),
    "yuv422_yuy2": (HEIGHT, WIDTH * 2),
    "nv12": (HEIGHT * 3 // 2, WIDTH),
}


def photograph() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """An image with structure: noise would make an unusually large JPEG."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    planes = [128 + 100 * np.sin(x / 37 + shift) * np.cos(y / 53) for shift in range(3)]
    return np.stack(planes, axis=2).astype(np.uint8)


def messages() -> dict[str, Any]:
    """A 1080p image message of each kind."""
    numbers = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for encoding, (rows, step) in RAW.items():
        data = array.array("B", numbers.integers(0, 256, rows * step, dtype=np.uint8).tobytes())
        found[encoding] = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=step, data=data)
    jpeg = cv2.imencode(".jpg", photograph())[1]
    found["jpeg"] = CompressedImage(format="jpeg", data=array.array("B", jpeg.tobytes()))
    return found


def result() -> Segmentation:
    """Labels of ten classes, in blocks."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    labels = ((x // 200 + y // 200) % 10).astype(np.uint8)
    classes = tuple(ActiveClass(n, f"class {n}", 0.5, 1, Reason.PREVIEWED) for n in range(10))
    return Segmentation(labels, (), (), classes, {})


def timed(times_ms: list[tuple[float, float]], call: Callable[..., Any], *arguments: Any) -> Any:
    """Call, and record the wall time and the processor time [ms]."""
    began = time.perf_counter(), time.process_time()
    value = call(*arguments)
    ended = time.perf_counter(), time.process_time()
    times_ms.append(((ended[0] - began[0]) * 1e3, (ended[1] - began[1]) * 1e3))
    return value


def main() -> None:
    """Measure and print a line for each kind of image."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    keep_freed_memory()  # as the node's process does
    use_cpu_threads(arguments.threads)
    rclpy.init()
    node = LifecycleNode("overhead")
    publishers = CameraPublishers(node, NodeOptions())
    listener = rclpy.create_node("listener")
    listener.create_subscription(Image, "overhead/semantic_mask", lambda message: None, 1)
    node.trigger_configure()
    node.trigger_activate()
    converter, labels, info = load_converter(), result(), CameraInfo(width=WIDTH, height=HEIGHT)
    vocabulary = load_vocabulary("driving")
    steps = ("deserialize", "convert", "resize", "publish")
    kinds = {name: (serialize_message(message), message) for name, message in messages().items()}
    times = {name: {step: list[tuple[float, float]]() for step in steps} for name in kinds}

    def convert(message: Any) -> Any:
        if isinstance(message, CompressedImage):
            return compressed_to_rgb(message, converter)
        return to_rgb(message, converter)

    def resize(image: Any) -> None:
        source = upload(image, Transfer(torch.device("cpu")))
        for resolution in RESOLUTIONS:
            network_pixels(source, resolution, torch.float32)

    def publish(header: Any) -> None:
        publishers.wanted()
        publishers.publish_mask(header, labels.labels)
        publishers.publish_camera_info(header, info)
        publishers.publish_active_classes(
            active_classes_message(header, labels, vocabulary, 1, 1.0, Step.NOTHING)
        )

    for _ in range(arguments.rounds):
        for name, (data, sample) in kinds.items():
            taken = times[name]
            message = timed(taken["deserialize"], deserialize_message, data, type(sample))
            image = timed(taken["convert"], convert, message)
            timed(taken["resize"], resize, image)
            timed(taken["publish"], publish, message.header)
    print(f"{arguments.threads} threads, {converter.name}, median of {arguments.rounds}")
    for kind, clock in enumerate(("wall time", "processor time")):
        print(f"{f'ms {clock}':22}" + "".join(f"{step:>13}" for step in (*steps, "sum")))
        for name, taken in times.items():
            medians = [statistics.median(pair[kind] for pair in taken[step]) for step in steps]
            row = (*medians, sum(medians))
            print(f"{name:22}" + "".join(f"{value:13.1f}" for value in row))
    publishers.destroy()
    node.destroy_node()
    listener.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
