"""Stamps in serialised messages, against rosbags' own serialisation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from activesam_ros.node.playback.header_stamp import begins_with_header, read_stamp_ns, with_stamp

TYPES = get_typestore(Stores.ROS2_JAZZY)
STAMPS = st.integers(0, (2**31 - 1) * 10**9)


def serialized(stamp_ns: int, frame_id: str, little_endian: bool) -> bytes:
    time_type = TYPES.types["builtin_interfaces/msg/Time"]
    header_type = TYPES.types["std_msgs/msg/Header"]
    stamp = time_type(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    message = header_type(stamp=stamp, frame_id=frame_id)
    return bytes(TYPES.serialize_cdr(message, "std_msgs/msg/Header", little_endian=little_endian))


@given(stamp_ns=STAMPS, other_ns=STAMPS, frame_id=st.text("abc", max_size=9), little=st.booleans())
def test_the_stamp_is_read_and_replaced_and_nothing_else(
    stamp_ns: int, other_ns: int, frame_id: str, little: bool
) -> None:
    data = serialized(stamp_ns, frame_id, little)
    assert read_stamp_ns(data) == stamp_ns
    assert with_stamp(data, other_ns) == serialized(other_ns, frame_id, little)


@pytest.mark.parametrize("length", [0, 1, 4, 11])
def test_bytes_too_short_for_a_header_have_no_stamp(length: int) -> None:
    data = serialized(5, "", True)[:length]
    assert read_stamp_ns(data) is None
    assert with_stamp(data, 7) == data


def test_only_types_that_begin_with_a_header_have_a_stamp() -> None:
    assert begins_with_header(Image)
    assert not begins_with_header(String)
    assert not begins_with_header(Header)
