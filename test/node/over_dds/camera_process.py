"""A camera as a process of its own, for tests that kill it or start it again.

``python camera_process.py TOPIC RELIABILITY RATE_HZ PICTURE`` publishes one picture until its end,
and stamps it with the time. With ``STAMPS COUNT`` behind these it plays a recording of COUNT images
and ends. STAMPS is ``zero``, or ``recorded`` for 1 s, 2 s and so on, which recur when it is played
again. Before that, until a line comes on stdin, it publishes images of the frame ``greeting``: a
best-effort publisher cannot know that it is heard.
"""

from __future__ import annotations

import array
import select
import sys
import time

import cv2
import rclpy
from builtin_interfaces.msg import Time
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
    print("publishing", flush=True)

    def publish(stamp: Time) -> None:
        message.header.stamp = stamp
        publisher.publish(message)
        time.sleep(1 / float(rate_hz))

    while stamps == "now":
        publish(node.get_clock().now().to_msg())
    message.header.frame_id = "greeting"
    while not select.select([sys.stdin], [], [], 0)[0]:
        publish(Time())
    message.header.frame_id = reliability
    for place in range(int(count)):
        publish(Time(sec=place + 1 if stamps == "recorded" else 0))


if __name__ == "__main__":
    main()
