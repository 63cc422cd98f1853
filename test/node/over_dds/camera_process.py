"""A camera as a process of its own, for tests that kill it: publishes one picture until its end.

``python camera_process.py TOPIC RELIABILITY RATE_HZ PICTURE`` stamps images with the time.
"""

from __future__ import annotations

import array
import sys
import time

import cv2
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image


def main() -> None:
    """Publish; prints a line when it begins."""
    topic, reliability, rate_hz, picture = sys.argv[1:]
    pixels = cv2.imread(picture)
    assert pixels is not None
    rclpy.init()
    node = rclpy.create_node("camera")
    profile = QoSProfile(depth=1, reliability=ReliabilityPolicy[reliability])
    publisher = node.create_publisher(Image, topic, profile)
    message = Image(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding="bgr8",
        step=pixels.shape[1] * 3,
        data=array.array("B", pixels.tobytes()),
    )
    message.header.frame_id = reliability
    print("publishing", flush=True)
    while True:
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)
        time.sleep(1 / float(rate_hz))


if __name__ == "__main__":
    main()
