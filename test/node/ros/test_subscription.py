"""A subscription that changes its profile hands on every message once, whatever the stamps are."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

try:
    from rclpy.event_handler import UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import UnsupportedEventTypeError
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from activesam_ros.node.ros.subscription import CopyFilter, FollowingSubscription, stamp_ns

if TYPE_CHECKING:
    from test.node.conftest import Peer

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT


@dataclass
class FakeNode:
    """Takes note of subscriptions; its only publisher offers ``reliability``."""

    reliability: ReliabilityPolicy = BEST_EFFORT
    subscriptions: list[Callable[..., None]] = field(default_factory=list)
    destroyed: list[Callable[..., None]] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    tells_of_losses: bool = True

    def resolve_topic_name(self, topic: str) -> str:
        return f"/{topic}"

    def get_publishers_info_by_topic(self, topic: str) -> list[Any]:
        return [
            SimpleNamespace(
                node_namespace="/",
                node_name="camera",
                topic_type="sensor_msgs/msg/Image",
                qos_profile=QoSProfile(depth=1, reliability=self.reliability),
            )
        ]

    def create_subscription(
        self,
        message_type: Any,
        topic: str,
        callback: Callable[..., None],
        profile: QoSProfile,
        callback_group: Any,
        event_callbacks: Any,
    ) -> Callable[..., None]:
        if event_callbacks is not None and not self.tells_of_losses:
            raise UnsupportedEventTypeError("message lost")
        self.subscriptions.append(callback)
        self.events.append(event_callbacks)
        return callback

    def destroy_subscription(self, subscription: Callable[..., None]) -> None:
        self.destroyed.append(subscription)


class Rig:
    """A following subscription and what it hands on."""

    def __init__(self, tells_of_losses: bool = True) -> None:
        self.node = FakeNode(tells_of_losses=tells_of_losses)
        self.lost = 0
        self.received: list[Image] = []
        self.subscription = FollowingSubscription(
            self.node,  # type: ignore[arg-type]
            Image,
            "image",
            self.received.append,
            depth=256,
            reliability="auto",
            lost=self._lose,
        )

    def _lose(self, messages: int) -> None:
        self.lost += messages

    def switch(self, reliability: ReliabilityPolicy = RELIABLE) -> None:
        self.node.reliability = reliability
        self.subscription.follow()

    def deliver(self, subscription: int, message: Image, sent_ns: int) -> None:
        """Let a subscription, numbered from 0, deliver a message that was sent at that time."""
        hear = self.node.subscriptions[subscription]
        if len(inspect.signature(hear).parameters) == 2:
            hear(message, {"source_timestamp": sent_ns})
        else:
            hear(message)


def images(count: int, stamped: bool = True, alike: bool = False) -> list[Image]:
    """Images with stamps of their own, or all with the stamp zero; alike: of the same bytes."""
    found = [Image() for _ in range(count)]
    for place, image in enumerate(found):
        image.header.stamp.sec = place + 1 if stamped else 0
        image.data = [0 if alike else place]
    return found


TIMES_OF_SENDING = pytest.mark.parametrize("times_known", [True, False])
"""Humble, and some middlewares, do not tell when a message was sent: they report zero."""


@TIMES_OF_SENDING
@pytest.mark.parametrize("stamped", [True, False])
@pytest.mark.parametrize("follow", [True, False])
def test_a_recording_that_is_played_again_is_handed_on_each_time(
    stamped: bool, times_known: bool, follow: bool
) -> None:
    """Twelve images, three times; the publisher leaves and comes back, also with stamps of zero.

    Without ``follow`` it is back before the subscription has seen it leave.
    """
    rig = Rig()
    sent_ns = 0
    for _ in range(3):
        rig.received.clear()
        played = images(12, stamped)
        for image in played:
            sent_ns += 1
            alive = [
                number
                for number, hear in enumerate(rig.node.subscriptions)
                if hear not in rig.node.destroyed
            ]
            for number in reversed(alive):
                rig.deliver(number, image, sent_ns if times_known else 0)
        assert rig.received == played
        assert all(left is right for left, right in zip(rig.received, played, strict=True))
        if follow:
            rig.switch(RELIABLE)  # nobody publishes
            rig.switch(BEST_EFFORT)


@given(
    stamped=st.booleans(),
    times_known=st.booleans(),
    first_of_new=st.integers(0, 8),
    turns=st.lists(st.booleans(), max_size=24),
)
def test_every_image_is_handed_on_once(
    stamped: bool, times_known: bool, first_of_new: int, turns: list[bool]
) -> None:
    """The old subscription has every image, the new one those from ``first_of_new`` on."""
    rig = Rig()
    sent = images(8, stamped)
    rig.switch()
    waiting = {0: list(enumerate(sent)), 1: list(enumerate(sent))[first_of_new:]}
    for turn in [*turns, *[False] * 8, *[True] * 8]:
        if waiting[turn]:
            place, image = waiting[turn].pop(0)
            rig.deliver(int(turn), image, sent_ns=place + 1 if times_known else 0)
    assert len(rig.received) == 8
    assert {id(image) for image in rig.received} == {id(image) for image in sent}


@given(
    first_of_new=st.integers(0, 8),
    turns=st.lists(st.booleans(), max_size=24),
    after=st.integers(1, 8),
)
def test_images_that_nothing_tells_apart_are_as_many_as_were_sent(
    first_of_new: int, turns: list[bool], after: int
) -> None:
    """A simulator at rest: zero stamps, the same bytes, and nobody tells when they were sent."""
    rig = Rig()
    sent = images(8, stamped=False, alike=True)
    rig.switch()
    waiting = {0: 8, 1: 8 - first_of_new}
    for turn in [*turns, *[False] * 8, *[True] * 8]:
        if waiting[turn]:
            waiting[turn] -= 1
            rig.deliver(int(turn), sent[0], sent_ns=0)
    assert len(rig.received) == 8
    if first_of_new < 8:
        for _ in range(2):
            rig.subscription.follow()
        assert rig.node.destroyed == rig.node.subscriptions[:1]
        for _ in range(after):
            rig.deliver(1, sent[0], sent_ns=0)
        assert len(rig.received) == 8 + after


def test_a_message_that_three_subscriptions_deliver_is_handed_on_once() -> None:
    rig = Rig()
    (image,) = images(1)
    rig.switch(RELIABLE)
    rig.switch(BEST_EFFORT)
    for subscription in (2, 0, 1):
        rig.deliver(subscription, image, sent_ns=1)
    assert rig.received == [image]


def test_the_old_subscription_stays_until_the_new_one_has_delivered_for_a_while() -> None:
    rig = Rig()
    first, second = images(2)
    rig.deliver(0, first, sent_ns=1)
    rig.switch()
    for _ in range(3):
        rig.subscription.follow()
    assert rig.node.destroyed == [], "the new one may not have found the publisher"
    rig.deliver(1, second, sent_ns=2)
    rig.subscription.follow()
    assert rig.node.destroyed == [], "something may be queued"
    rig.subscription.follow()
    assert rig.node.destroyed == rig.node.subscriptions[:1]
    rig.subscription.close()
    assert rig.node.destroyed == rig.node.subscriptions
    rig.deliver(1, second, sent_ns=3)
    assert len(rig.received) == 2


@pytest.mark.parametrize("message_info", [True, False])
def test_where_the_time_of_sending_is_unknown_a_copy_is_known_by_its_bytes(
    message_info: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activesam_ros.node.ros.subscription._TELLS_WHEN_SENT", message_info)
    rig = Rig()
    first, second, third = images(3, stamped=False)
    rig.deliver(0, first, sent_ns=0)
    rig.switch()
    rig.deliver(1, first, sent_ns=0)  # sent again, as nothing from before the switch is a copy
    rig.deliver(0, second, sent_ns=0)
    rig.deliver(1, second, sent_ns=0)
    rig.deliver(1, third, sent_ns=0)
    assert rig.received == [first, first, second, third]


def test_over_dds_images_without_stamps_are_handed_on_once(peer: Peer) -> None:
    """A subscription made before its publisher switches to what the publisher offers."""
    received: list[int] = []
    node = Node("following", context=peer.node.context)
    peer.executor.add_node(node)
    topic = peer.name("image")
    subscription = FollowingSubscription(
        node,
        Image,
        topic,
        lambda image: received.append(image.height),
        depth=256,
        reliability="auto",
    )
    publisher = peer.node.create_publisher(Image, topic, 256)
    profiles: set[ReliabilityPolicy] = set()
    numbers = itertools.count(1)

    def publish_until(condition: Callable[[], bool]) -> None:
        def met() -> bool:
            publisher.publish(Image(height=next(numbers)))
            infos = peer.node.get_subscriptions_info_by_topic(topic)
            profiles.clear()
            profiles.update(info.qos_profile.reliability for info in infos)
            return condition()

        peer.wait_for(met, "a change of the subscriptions")

    publish_until(lambda: bool(received))
    assert profiles == {BEST_EFFORT}
    subscription.follow()
    publish_until(lambda: profiles == {BEST_EFFORT, RELIABLE})
    before = len(received)
    publish_until(lambda: len(received) >= before + 50)
    for _ in range(2):
        subscription.follow()
    publish_until(lambda: profiles == {RELIABLE})
    last = next(numbers)
    publisher.publish(Image(height=last))
    peer.wait_for(lambda: received[-1] == last, "the last image")
    assert sorted(received) == list(range(min(received), last + 1))
    subscription.close()
    peer.executor.remove_node(node)
    node.destroy_node()


def test_losses_are_told_of_the_newest_subscription_that_delivers() -> None:
    rig = Rig()
    first, second = images(2)
    rig.deliver(0, first, sent_ns=1)
    rig.node.events[0].message_lost(SimpleNamespace(total_count_change=3))
    rig.switch()
    rig.node.events[1].message_lost(SimpleNamespace(total_count_change=5))
    assert rig.lost == 3, "the older one may still deliver them"
    rig.deliver(1, second, sent_ns=2)
    rig.node.events[0].message_lost(SimpleNamespace(total_count_change=7))
    rig.node.events[1].message_lost(SimpleNamespace(total_count_change=2))
    assert rig.lost == 5
    rig.subscription.close()
    rig.node.events[1].message_lost(SimpleNamespace(total_count_change=1))
    assert rig.lost == 5


def test_a_middleware_that_does_not_tell_of_losses_is_heard_all_the_same() -> None:
    rig = Rig(tells_of_losses=False)
    (image,) = images(1)
    rig.deliver(0, image, sent_ns=1)
    assert rig.received == [image]
    assert rig.node.events == [None]


def test_one_subscription_never_delivers_copies() -> None:
    copies = CopyFilter()
    assert not any(copies.is_copy(1, Image(), sent_ns=None) for _ in range(1000))


def test_stamps_are_in_nanoseconds() -> None:
    image = Image()
    image.header.stamp.sec, image.header.stamp.nanosec = 7, 8
    assert stamp_ns(image) == 7_000_000_008
