"""The header stamp of a serialised message, read and written without deserialising the rest."""

from __future__ import annotations

import struct
from typing import Any

_ENCAPSULATION_BYTES = 4
_STAMP_END = _ENCAPSULATION_BYTES + 8
_LITTLE_ENDIAN = 1
_NANOSECONDS = 1_000_000_000
_HEADER_TYPE = "std_msgs/Header"


def begins_with_header(message_class: Any) -> bool:
    """Whether the first field of a message class of rclpy is a std_msgs/Header."""
    return next(iter(message_class.get_fields_and_field_types().values()), "") == _HEADER_TYPE


def read_stamp_ns(data: bytes) -> int | None:
    """The stamp [ns] of a CDR message that begins with a header; None if it is too short."""
    if len(data) < _STAMP_END:
        return None
    seconds, nanoseconds = struct.unpack_from(_layout(data), data, _ENCAPSULATION_BYTES)
    return int(seconds) * _NANOSECONDS + int(nanoseconds)


def with_stamp(data: bytes, stamp_ns: int) -> bytes:
    """The message with another stamp; unchanged if it is too short to have one."""
    if len(data) < _STAMP_END:
        return data
    changed = bytearray(data)
    struct.pack_into(_layout(data), changed, _ENCAPSULATION_BYTES, *divmod(stamp_ns, _NANOSECONDS))
    return bytes(changed)


def _layout(data: bytes) -> str:
    return "<iI" if data[1] & _LITTLE_ENDIAN else ">iI"
