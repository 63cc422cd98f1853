"""Writes an MCAP recording anew, its images a quarter as wide and high, nothing else changed.

    python shrink.py RECORDING.mcap SMALL.mcap

Schemas, channels, times, sequence numbers, metadata and the compression of messages stay as the
recorder wrote them.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import zstandard
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer
from rosbags.typesys import Stores, get_typestore

ZSTD = b"\x28\xb5\x2f\xfd"
TYPES = get_typestore(Stores.ROS2_JAZZY)
JPEG_QUALITY = 90


def shrunk(data: bytes, message_type: str) -> bytes:
    """The CDR of an image message with a quarter of its width and height."""
    message: Any = TYPES.deserialize_cdr(data, message_type)
    if message_type.endswith("CompressedImage"):
        picture = cv2.imdecode(message.data, cv2.IMREAD_UNCHANGED)
        assert picture is not None
        small = cv2.resize(picture, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        _, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        fields = {"data": encoded.reshape(-1)}
    else:
        pixels = message.data.reshape(message.height, message.width, -1)
        small = cv2.resize(pixels, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        height, width = small.shape[:2]
        fields = {
            "height": height,
            "width": width,
            "step": small.size // height,
            "data": np.ascontiguousarray(small).reshape(-1),
        }
    return bytes(TYPES.serialize_cdr(dataclasses.replace(message, **fields), message_type))


def main() -> None:
    with Path(sys.argv[1]).open("rb") as source, Path(sys.argv[2]).open("wb") as target:
        reader = make_reader(source)
        header = reader.get_header()
        writer = Writer(target, compression=CompressionType.NONE)
        writer.start(profile=header.profile, library=header.library)
        channels: dict[int, int] = {}
        for schema, channel, message in reader.iter_messages():
            assert schema is not None
            if channel.id not in channels:
                channels[channel.id] = writer.register_channel(
                    channel.topic,
                    channel.message_encoding,
                    writer.register_schema(schema.name, schema.encoding, schema.data),
                    channel.metadata,
                )
            data = message.data
            kind = schema.name.rsplit("/", 1)[-1]
            if kind in ("Image", "CompressedImage"):
                compressed = data[:4] == ZSTD
                plain = zstandard.decompress(data) if compressed else data
                small = shrunk(plain, f"sensor_msgs/msg/{kind}")
                data = zstandard.compress(small) if compressed else small
            writer.add_message(
                channels[channel.id],
                message.log_time,
                data,
                message.publish_time,
                message.sequence,
            )
        for metadata in reader.iter_metadata():
            writer.add_metadata(metadata.name, metadata.metadata)
        writer.finish()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
