"""A camera as a process of its own, which tests kill or start again.

``python camera_process.py TOPIC RELIABILITY RATE_HZ PICTURE [STAMPS COUNT]`` publishes one picture.
STAMPS: ``now`` (the default), ``zero``, or ``recorded`` for 1 s, 2 s and so on: they recur when the
process runs again. With COUNT it waits for a subscription, publishes so many images and ends.
"""

from __future__ import annotations

import array
import itertools
import sys
import time

import cv2
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image


def main() -> None:
    """Publish; prints a line when it begins."""
    topic, reliability, rate_hz, picture, stamps, count = [*sys.argv[1:], "now", "0"][:6]
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
    while int(count) and not publisher.get_subscription_count():
        time.sleep(0.01)
    print("publishing", flush=True)
    for place in range(int(count)) if int(count) else itertools.count():
        if stamps == "now":
            message.header.stamp = node.get_clock().now().to_msg()
        elif stamps == "recorded":
            message.header.stamp.sec = place + 1
        publisher.publish(message)
        time.sleep(1 / float(rate_hz))


if __name__ == "__main__":
    main()
