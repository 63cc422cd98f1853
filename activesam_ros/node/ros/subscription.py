"""A subscription that follows the QoS profile of its publishers."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from rclpy.callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

from activesam_ros.node.ros.qos import Endpoint, endpoints, profile_for, subscription_conflicts

# Messages one subscription may be ahead of another while both exist.
REMEMBERED_MESSAGES = 256
# From ROS 2 Iron on rclpy also tells when a message was sent.
_TELLS_WHEN_SENT = hasattr(Subscription, "CallbackType")

# Stamp [ns], time of sending [ns] or None, checksum of the bytes where that time is unknown.
_Key: TypeAlias = tuple[int, int | None, int | None]


def stamp_ns(message: Any) -> int:
    """The stamp of a message's header [ns]."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


class CopyFilter:
    """Tells the copies of one message apart from messages that have the same stamp.

    While several subscriptions to a topic exist, each of them delivers every message. Stamps may
    recur (a driver that sends zeros, a recording that is played again), so a message is known by
    its stamp and the time it was sent, or by its stamp and its bytes where that time is unknown.
    Of messages that even so look the same, as many pass as the subscription delivered that
    delivered most of them.
    """

    def __init__(self) -> None:
        # By message, the oldest first: how often each subscription delivered it.
        self._deliveries: dict[_Key, dict[int, int]] = {}

    def is_copy(self, subscription: int, message: Any, sent_ns: int | None) -> bool:
        """Whether another subscription has delivered this message before.

        subscription: the number of the one that delivers it now. sent_ns: None where the middleware
        does not tell.
        """
        key = (stamp_ns(message), sent_ns, _checksum(message) if sent_ns is None else None)
        counts = self._deliveries.pop(key, {})
        passed = max(counts.values(), default=0)
        counts[subscription] = counts.get(subscription, 0) + 1
        self._deliveries[key] = counts
        if len(self._deliveries) > REMEMBERED_MESSAGES:
            del self._deliveries[next(iter(self._deliveries))]
        return counts[subscription] <= passed

    def begin_change(self) -> None:
        """A subscription is made or destroyed: from here on others deliver the same messages.

        So messages known by their bytes are forgotten. Those known by the time they were sent stay,
        as publishers with transient local durability send old messages again.
        """
        self._deliveries = {
            key: counts for key, counts in self._deliveries.items() if key[1] is not None
        }


@dataclass(frozen=True)
class _Numbered:
    """A subscription, its number from 1 in the order in which they are made, and its profile."""

    number: int
    profile: QoSProfile
    subscription: Subscription


class FollowingSubscription:
    """A subscription with the QoS profile that its publishers offer.

    When the offered profile changes, a new subscription is made beside the old one. Both are heard
    until the new one has delivered for a while, so that no message is lost; each message is handed
    on once.
    """

    def __init__(
        self,
        node: Node,
        message_type: Any,
        topic: str,
        receive: Callable[[Any], None],
        *,
        depth: int,
        reliability: str,
        unknown: str = "best_effort",
        lost: Callable[[int], None] | None = None,
    ) -> None:
        """Subscribe.

        receive: gets every message, one at a time, in a thread of the executor. reliability: as for
        :func:`profile_for`. unknown: the reliability while nobody publishes. lost: gets the number
        of messages that were lost on their way, where the middleware tells.
        """
        self.topic = node.resolve_topic_name(topic)
        self._node = node
        self._message_type = message_type
        self._type_name = f"sensor_msgs/msg/{message_type.__name__}"
        self._receive = receive
        self._lost = lost
        self._depth = depth
        self._reliability = reliability
        self._unknown = unknown
        self._group: CallbackGroup = MutuallyExclusiveCallbackGroup()
        self._changing = threading.Lock()
        self._hearing = threading.Lock()
        self._closed = False
        self._made = 0
        self._open = 0  # subscriptions that may deliver
        # Numbers of the newest subscription that has delivered: now, and at the last follow().
        self._heard = 0
        self._heard_before = 0
        self._copies = CopyFilter()
        self._subscriptions: list[_Numbered] = []
        self.follow()

    def publishers(self) -> tuple[Endpoint, ...]:
        """Who publishes the topic now."""
        return endpoints(self._node.get_publishers_info_by_topic(self.topic))

    def follow(self) -> tuple[str, ...]:
        """Take the profile the publishers offer now; returns a sentence for each unheard publisher.

        Has to be called periodically.
        """
        publishers = self.publishers()
        same_type = [entry for entry in publishers if entry.message_type == self._type_name]
        profile = profile_for(same_type, self._reliability, self._depth, unknown=self._unknown)
        with self._changing:
            if self._closed:
                return ()
            if not self._subscriptions or not _same(self._subscriptions[-1].profile, profile):
                self._subscribe(profile)
            self._destroy_replaced()
        return subscription_conflicts(self.topic, self._type_name, profile, publishers)

    def close(self) -> None:
        """Receive nothing from here on."""
        with self._changing:
            with self._hearing:
                self._closed = True
            for entry in self._subscriptions:
                self._node.destroy_subscription(entry.subscription)
            self._subscriptions = []

    def _subscribe(self, profile: QoSProfile) -> None:
        self._made += 1
        number = self._made

        def hear(message: Any) -> None:
            self._hear(number, message, None)

        def hear_with_info(message: Any, info: Any) -> None:
            # Middlewares that do not know the time report zero.
            self._hear(number, message, info["source_timestamp"] or None)

        callback: Any = hear_with_info if _TELLS_WHEN_SENT else hear
        with self._hearing:
            self._open += 1
            self._copies.begin_change()
        subscription = self._create(callback, profile, self._loss_callback(number))
        self._subscriptions.append(_Numbered(number, profile, subscription))

    def _create(self, callback: Any, profile: QoSProfile, events: Any) -> Subscription:
        try:
            return self._node.create_subscription(
                self._message_type,
                self.topic,
                callback,
                profile,
                callback_group=self._group,
                event_callbacks=events,
            )
        except UnsupportedEventTypeError:  # this middleware does not tell of losses
            return self._create(callback, profile, None)

    def _loss_callback(self, number: int) -> SubscriptionEventCallbacks | None:
        lost = self._lost
        if lost is None:
            return None

        def tell(event: Any) -> None:
            with self._hearing:
                counts = number == self._heard and not self._closed
            if counts:  # what an older one loses the newer one may deliver
                lost(event.total_count_change)

        return SubscriptionEventCallbacks(message_lost=tell)

    def _hear(self, number: int, message: Any, sent_ns: int | None) -> None:
        with self._hearing:
            if self._closed:
                return
            self._heard = max(self._heard, number)
            # Alone, a subscription delivers no copies, and the bytes need not be read.
            alone = self._open == 1 and sent_ns is None
            copy = not alone and self._copies.is_copy(number, message, sent_ns)
        if not copy:
            self._receive(message)

    def _destroy_replaced(self) -> None:
        """Destroy subscriptions that a newer one has replaced.

        A subscription that has delivered stays until a newer one delivers and another follow() has
        passed, so that its queue is heard. Of those that have not delivered, the newest two stay:
        the newest may not have found its publisher yet.
        """
        with self._hearing:
            heard = self._heard
        newest = self._subscriptions[-2:]
        kept = [
            entry
            for entry in self._subscriptions
            if self._heard_before <= entry.number <= heard
            or (entry.number > heard and entry in newest)
        ]
        if len(kept) < len(self._subscriptions):
            for entry in self._subscriptions:
                if entry not in kept:
                    self._node.destroy_subscription(entry.subscription)
            self._subscriptions = kept
            with self._hearing:
                self._open = len(kept)
                self._copies.begin_change()
        self._heard_before = heard


def _checksum(message: Any) -> int:
    """A checksum of an image's bytes; 0 for a message that has none."""
    return zlib.crc32(getattr(message, "data", b""))


def _same(left: QoSProfile, right: QoSProfile) -> bool:
    return bool(left.reliability == right.reliability and left.durability == right.durability)
