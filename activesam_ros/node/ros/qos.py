"""Quality of service: the profiles that are used, and which endpoints cannot communicate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.duration import Duration
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSProfile,
    ReliabilityPolicy,
)

# With keep_all: images that arrive while another callback runs, masks that a reader is late by.
KEEP_ALL_DEPTH = 256
# Longer durations mean "none".
_ENDLESS_NS = 10**18

LATCHED = QoSProfile(
    depth=1,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""For state that late subscribers get too: reliable and transient local."""


@dataclass(frozen=True)
class Endpoint:
    """Another node's publisher or subscription: full node name, message type and QoS profile."""

    node: str
    message_type: str
    profile: QoSProfile


def endpoints(infos: Sequence[Any]) -> tuple[Endpoint, ...]:
    """The endpoints of a topic, from rclpy's TopicEndpointInfo objects."""
    return tuple(
        Endpoint(
            node=f"{info.node_namespace.rstrip('/')}/{info.node_name}",
            message_type=info.topic_type,
            profile=info.qos_profile,
        )
        for info in infos
    )


def stream(reliability: str, depth: int = 1) -> QoSProfile:
    """A volatile profile of "reliable" or "best_effort" messages."""
    return QoSProfile(
        depth=depth,
        history=HistoryPolicy.KEEP_LAST,
        reliability=(
            ReliabilityPolicy.RELIABLE
            if reliability == "reliable"
            else ReliabilityPolicy.BEST_EFFORT
        ),
        durability=DurabilityPolicy.VOLATILE,
    )


def profile_for(
    publishers: Sequence[Endpoint],
    reliability: str,
    depth: int = 1,
    *,
    unknown: str = "best_effort",
) -> QoSProfile:
    """The strictest profile with which a subscription still receives from every publisher.

    reliability: "reliable", "best_effort", or "auto" for what all publishers offer. unknown: the
    reliability of "auto" while there is no publisher. Durability is always what all offer.
    """
    if reliability == "auto":
        reliable = all(
            entry.profile.reliability == ReliabilityPolicy.RELIABLE for entry in publishers
        )
        offered = "reliable" if reliable else "best_effort"
        reliability = offered if publishers else unknown
    profile = stream(reliability, depth)
    if publishers and all(
        entry.profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for entry in publishers
    ):
        profile.durability = DurabilityPolicy.TRANSIENT_LOCAL
    return profile


def subscription_conflicts(
    topic: str, message_type: str, profile: QoSProfile, publishers: Sequence[Endpoint]
) -> tuple[str, ...]:
    """A sentence for each publisher whose messages cannot reach our subscription."""
    sentences = []
    for publisher in publishers:
        if publisher.message_type != message_type:
            sentences.append(
                f"{publisher.node} publishes {publisher.message_type} on {topic}, but "
                f"this node subscribes to {message_type}; set image_transport or the image topic."
            )
        elif not compatible(publisher.profile, profile):
            sentences.append(
                f"{publisher.node} publishes {topic} as {describe(publisher.profile)}, but this "
                f"node subscribes as {describe(profile)}, so no image arrives; set "
                "image_reliability to auto, or change the publisher."
            )
    return tuple(sentences)


def publisher_conflicts(
    topic: str, message_type: str, profile: QoSProfile, subscribers: Sequence[Endpoint]
) -> tuple[str, ...]:
    """A sentence for each subscriber that our publisher cannot reach."""
    return tuple(
        f"{subscriber.node} subscribes to {topic} as {describe(subscriber.profile)}, but this node "
        f"publishes as {describe(profile)}, so nothing arrives there; set output_reliability to "
        "reliable, or ask for less in the subscriber."
        for subscriber in subscribers
        if subscriber.message_type == message_type and not compatible(profile, subscriber.profile)
    )


def describe(profile: QoSProfile) -> str:
    """Reliability and durability in words, and deadline and liveliness where they are set."""
    words = [profile.reliability.name.lower(), profile.durability.name.lower()]
    for name, duration in (
        ("deadline", profile.deadline),
        ("liveliness lease", profile.liveliness_lease_duration),
    ):
        if _is_finite(duration):
            words.append(f"{name} {duration.nanoseconds / 1e6:g} ms")
    if profile.liveliness == LivelinessPolicy.MANUAL_BY_TOPIC:
        words.append("manual liveliness")
    return ", ".join(words)


def compatible(publisher: QoSProfile, subscription: QoSProfile) -> bool:
    """Whether DDS connects the two: the publisher must offer what the subscription asks for.

    Unlike rclpy's own check, this one treats a duration of none and an infinite one alike.
    """
    return (
        not (
            publisher.reliability == ReliabilityPolicy.BEST_EFFORT
            and subscription.reliability == ReliabilityPolicy.RELIABLE
        )
        and not (
            publisher.durability == DurabilityPolicy.VOLATILE
            and subscription.durability == DurabilityPolicy.TRANSIENT_LOCAL
        )
        and not (
            subscription.liveliness == LivelinessPolicy.MANUAL_BY_TOPIC
            and publisher.liveliness != LivelinessPolicy.MANUAL_BY_TOPIC
        )
        and _short_enough(publisher.deadline, subscription.deadline)
        and _short_enough(
            publisher.liveliness_lease_duration, subscription.liveliness_lease_duration
        )
    )


def _short_enough(offered: Duration, asked: Duration) -> bool:
    """Whether the offered period is as short as the one asked for."""
    if not _is_finite(asked):
        return True
    return _is_finite(offered) and offered.nanoseconds <= asked.nanoseconds


def _is_finite(duration: Duration) -> bool:
    """Whether a duration is set; middlewares report "none" as zero or as some centuries."""
    return bool(0 < duration.nanoseconds < _ENDLESS_NS)
