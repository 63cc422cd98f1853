"""Which profile is asked for, and which pairs cannot talk."""

from __future__ import annotations

import itertools

import pytest
from rclpy.duration import Duration
from rclpy.qos import (
    DurabilityPolicy,
    LivelinessPolicy,
    QoSProfile,
    ReliabilityPolicy,
)

from activesam_ros.node.ros.qos import (
    LATCHED,
    Endpoint,
    compatible,
    describe,
    profile_for,
    publisher_conflicts,
    stream,
    subscription_conflicts,
)

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
VOLATILE, TRANSIENT = DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL
IMAGE = "sensor_msgs/msg/Image"


def profile(
    reliability: ReliabilityPolicy = RELIABLE, durability: DurabilityPolicy = VOLATILE
) -> QoSProfile:
    return QoSProfile(depth=10, reliability=reliability, durability=durability)


def endpoint(offered: QoSProfile, message_type: str = IMAGE) -> Endpoint:
    return Endpoint("/cam", message_type, offered)


def test_sensor_data_while_nobody_publishes() -> None:
    wanted = profile_for([], "auto")
    assert (wanted.reliability, wanted.durability) == (BEST_EFFORT, VOLATILE)
    assert wanted.depth == 1
    patient = profile_for([], "auto", 9, unknown="reliable")
    assert (patient.reliability, patient.depth) == (RELIABLE, 9)
    followed = profile_for([endpoint(profile(BEST_EFFORT))], "auto", unknown="reliable")
    assert followed.reliability == BEST_EFFORT


@pytest.mark.parametrize(
    ("reliability", "durability"),
    list(itertools.product((RELIABLE, BEST_EFFORT), (VOLATILE, TRANSIENT))),
)
def test_one_publisher_is_taken_as_it_is(
    reliability: ReliabilityPolicy, durability: DurabilityPolicy
) -> None:
    wanted = profile_for([endpoint(profile(reliability, durability))], "auto")
    assert (wanted.reliability, wanted.durability) == (reliability, durability)


def test_several_publishers_are_all_heard() -> None:
    every = [
        endpoint(profile(reliability, durability))
        for reliability in (RELIABLE, BEST_EFFORT)
        for durability in (VOLATILE, TRANSIENT)
    ]
    for some in itertools.combinations(every, 2):
        wanted = profile_for(some, "auto")
        assert all(compatible(entry.profile, wanted) for entry in some)


def test_a_forced_reliability_stays() -> None:
    wanted = profile_for([endpoint(profile(BEST_EFFORT))], "reliable")
    assert wanted.reliability == RELIABLE
    sentences = subscription_conflicts("/image", IMAGE, wanted, [endpoint(profile(BEST_EFFORT))])
    assert len(sentences) == 1
    for words in ("/cam", "/image", "best_effort, volatile", "reliable, volatile", "auto"):
        assert words in sentences[0]


def test_another_type_on_the_topic_is_named() -> None:
    other = endpoint(profile(), "sensor_msgs/msg/CompressedImage")
    sentences = subscription_conflicts("/image", IMAGE, stream("best_effort"), [other])
    assert "sensor_msgs/msg/CompressedImage" in sentences[0]
    assert "image_transport" in sentences[0]


def test_subscribers_that_ask_for_more_are_named() -> None:
    asks = endpoint(LATCHED)
    sentences = publisher_conflicts("/mask", IMAGE, stream("reliable"), [asks, endpoint(profile())])
    assert len(sentences) == 1
    assert "reliable, transient_local" in sentences[0]
    assert publisher_conflicts("/mask", IMAGE, LATCHED, [asks]) == ()


def test_durations_of_none_and_for_ever_are_the_same() -> None:
    for endless in (0, 2**63 - 1, 9223372036854775807):
        asked = profile()
        asked.deadline = Duration(nanoseconds=endless)
        assert compatible(profile(), asked)
        assert describe(asked) == "reliable, volatile"


def test_a_deadline_must_be_offered() -> None:
    asked, offered = profile(), profile()
    asked.deadline = Duration(seconds=0.1)
    assert not compatible(offered, asked)
    assert "deadline 100 ms" in describe(asked)
    offered.deadline = Duration(seconds=0.05)
    assert compatible(offered, asked)
    offered.deadline = Duration(seconds=0.2)
    assert not compatible(offered, asked)


def test_manual_liveliness_must_be_offered() -> None:
    asked = profile()
    asked.liveliness = LivelinessPolicy.MANUAL_BY_TOPIC
    assert not compatible(profile(), asked)
    assert compatible(asked, profile())
