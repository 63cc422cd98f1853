"""Quality of service: what to ask of publishers, and who cannot reach whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rclpy.duration import Duration
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSProfile,
    ReliabilityPolicy,
)

_ENDLESS_NS = 10**18

LATCHED = QoSProfile(
    depth=1,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""A state that late subscribers get: reliable and transient local."""


@dataclass(frozen=True)
class Endpoint:
    """The other side of a topic: its node's full name, its message type and its profile."""

    node: str
    message_type: str
    profile: QoSProfile


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
    """What to subscribe with so that every publisher is heard, as well as they allow.

    ``reliability`` "auto" takes what all publishers offer, and ``unknown``, which is sensor data's
    best effort, while there is none; durability is always theirs.
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
    """A sentence for each publisher whose images cannot reach our subscription."""
    sentences = []
    for publisher in publishers:
        if publisher.message_type != message_type:
            sentences.append(
                f"{publisher.node} publishes {publisher.message_type} on {topic}, but "
                f"{message_type} is subscribed; set image_transport or the image topic."
            )
        elif not compatible(publisher.profile, profile):
            sentences.append(
                f"{publisher.node} publishes {topic} as {describe(publisher.profile)}, but it is "
                f"subscribed as {describe(profile)}, so no image arrives; set image_reliability to "
                "auto, or change the publisher."
            )
    return tuple(sentences)


def publisher_conflicts(
    topic: str, message_type: str, profile: QoSProfile, subscribers: Sequence[Endpoint]
) -> tuple[str, ...]:
    """A sentence for each subscriber that our publisher cannot reach."""
    return tuple(
        f"{subscriber.node} subscribes to {topic} as {describe(subscriber.profile)}, but it is "
        f"published as {describe(profile)}, so nothing arrives there; set output_reliability to "
        "reliable, or ask for less in the subscriber."
        for subscriber in subscribers
        if subscriber.message_type == message_type and not compatible(profile, subscriber.profile)
    )


def describe(profile: QoSProfile) -> str:
    """Reliability and durability, and deadline and liveliness where they ask for something."""
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
    """Whether DDS lets the two talk: a publisher must offer what the subscription asks for.

    Unlike rclpy's own check it knows that no duration and an endless one are the same.
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
        and _lasts(publisher.deadline, subscription.deadline)
        and _lasts(publisher.liveliness_lease_duration, subscription.liveliness_lease_duration)
    )


def _lasts(offered: Duration, asked: Duration) -> bool:
    """Whether an offered period is as short as asked for."""
    if not _is_finite(asked):
        return True
    return _is_finite(offered) and offered.nanoseconds <= asked.nanoseconds


def _is_finite(duration: Duration) -> bool:
    """Middlewares report "none" as zero or as some centuries."""
    return bool(0 < duration.nanoseconds < _ENDLESS_NS)
