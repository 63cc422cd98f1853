"""A node that playing waits for, known by diagnostics that come now and then."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from activesam_ros.errors import UsageError
from activesam_ros.node.node_status import CameraStatus, NodeStatus
from activesam_ros.node.playback.awaited_node import (
    SETTLED_S,
    AwaitedNode,
    WaitingFrames,
    left_out,
)
from activesam_ros.node.playback.command import StopFlag

TIMEOUT_S = 30.0
HINT = "To segment every image set keep_all to true, or play more slowly."
FRONT = CameraStatus("front", "/front", 1, received=5, segmented=4, dropped={}, problems={})
REAR = replace(FRONT, name="rear", topic="/rear")
ACTIVE = NodeStatus("/robot/activesam", "active", "", 0, (FRONT, REAR))


@pytest.mark.parametrize(
    ("reports", "is_over"),
    [
        ([], False),
        ([(3, 0.0)], False),
        ([(0, 0.0)], False),
        ([(0, 0.0), (0, SETTLED_S / 2)], False),
        ([(0, 0.0), (0, SETTLED_S / 2), (0, SETTLED_S)], True),
        ([(0, 0.0), (1, SETTLED_S / 2), (0, SETTLED_S)], False),
        ([(2, 0.0), (0, 1.0), (1, 1.1), (0, 9.0), (0, 9.0 + SETTLED_S)], True),
    ],
)
def test_it_is_over_when_nothing_waited_for_a_while(
    reports: list[tuple[int, float]], is_over: bool
) -> None:
    waiting = WaitingFrames(heard_s=0.0)
    for frames, now_s in reports:
        waiting.hear(frames, now_s)
    assert waiting.over == is_over


def front(received: int, segmented: int, **causes: int) -> NodeStatus:
    """The node after that many images of the camera front since ACTIVE."""
    camera = replace(
        FRONT,
        received=FRONT.received + received,
        segmented=FRONT.segmented + segmented,
        dropped=causes,
        problems={"wrong_step": "The step is 3."} if "wrong_step" in causes else {},
    )
    return replace(ACTIVE, cameras=(camera, REAR))


@pytest.mark.parametrize(
    ("now", "played", "sentence"),
    [
        (ACTIVE, {}, ""),
        (ACTIVE, {"/elsewhere": 3}, ""),
        (front(3, 3), {"/front": 3}, ""),
        (front(9, 3, rate_limited=6), {"/front": 9}, ""),
        (front(3, 3), {"/front": 3, "/rear": 1}, f"0 of 1 images of /rear: 1 not received. {HINT}"),
        (front(2, 2), {"/front": 3}, f"2 of 3 images of /front: 1 not received. {HINT}"),
        (
            front(3, 1, superseded=2),
            {"/front": 3},
            f"1 of 3 images of /front: 2 superseded. {HINT}",
        ),
        (
            front(3, 1, wrong_step=2, rate_limited=0),
            {"/front": 3},
            "1 of 3 images of /front: 2 wrong_step. The step is 3.",
        ),
        (
            replace(ACTIVE, state="unconfigured", cameras=()),
            {"/front": 4},
            f"0 of 4 images of /front: 4 not received. {HINT}",
        ),
    ],
)
def test_what_became_of_images_that_are_not_segmented(
    now: NodeStatus, played: dict[str, int], sentence: str
) -> None:
    assert left_out(ACTIVE, now, played) == sentence


def message(status: NodeStatus) -> DiagnosticArray:
    """The diagnostics of a node with this status."""

    def made(name: str, level: bytes, text: str, values: dict[str, object]) -> DiagnosticStatus:
        entries = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        return DiagnosticStatus(name=name, level=level, message=text, values=entries)

    name = status.node.lstrip("/")
    level = DiagnosticStatus.ERROR if status.failure else DiagnosticStatus.OK
    network: dict[str, object] = {"state": status.state, "frames_waiting": status.frames_waiting}
    found = [made(f"{name}: network", level, status.failure, network)]
    for camera in status.cameras:
        values: dict[str, object] = {
            "topic": camera.topic,
            "publishers": camera.publishers,
            "frames_received": camera.received,
            "frames_segmented": camera.segmented,
            **{f"dropped_{cause}": count for cause, count in camera.dropped.items()},
            **{f"problem_{cause}": text for cause, text in camera.problems.items()},
        }
        found.append(made(f"{name}: {camera.name}", DiagnosticStatus.OK, "", values))
    return DiagnosticArray(status=found)


@pytest.fixture
def context() -> Iterator[rclpy.Context]:
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    yield context
    rclpy.shutdown(context=context)


@contextmanager
def told(
    context: rclpy.Context, *statuses: NodeStatus
) -> Iterator[tuple[AwaitedNode, list[NodeStatus]]]:
    """A node that tells the statuses of a list one after the other, and the last one for ever."""
    teller, hearer = (Node(name, context=context) for name in ("teller", "hearer"))
    publisher = teller.create_publisher(DiagnosticArray, "/diagnostics", 10)
    stop = threading.Event()
    waiting = list(statuses)

    def tell() -> None:
        while not stop.wait(0.05):
            publisher.publish(message(waiting[0]))
            if len(waiting) > 1 and publisher.get_subscription_count():
                waiting.pop(0)

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        with closing(AwaitedNode(hearer, "robot/activesam")) as awaited:
            yield awaited, waiting
    finally:
        stop.set()
        thread.join()
        teller.destroy_node()
        hearer.destroy_node()


def test_it_is_awaited_until_it_is_active_and_knows_the_publisher(context: rclpy.Context) -> None:
    starting = (
        replace(ACTIVE, node="/activesam"),
        replace(ACTIVE, state="configuring", cameras=()),
        replace(ACTIVE, cameras=(replace(FRONT, publishers=0), REAR)),
    )
    with told(context, *starting, ACTIVE) as (awaited, _):
        assert awaited.await_active({"/front", "/other"}, TIMEOUT_S, StopFlag())
        awaited.await_segmented({"/front": 0, "/other": 3}, StopFlag())


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (
            replace(ACTIVE, state="unconfigured", failure="Configuring failed: no x.", cameras=()),
            "/robot/activesam cannot segment. Configuring failed: no x.",
        ),
        (replace(ACTIVE, cameras=(REAR,)), "subscribes to /rear. Nothing of that is played: /fro"),
        (
            replace(ACTIVE, cameras=(replace(FRONT, topic=""),)),
            "subscribes to no image topic, as enabled is false",
        ),
    ],
)
def test_what_cannot_segment_is_not_awaited(
    context: rclpy.Context, status: NodeStatus, reason: str
) -> None:
    with (
        told(context, replace(ACTIVE, state="configuring", cameras=()), status) as (awaited, _),
        pytest.raises(UsageError, match=reason),
    ):
        awaited.await_active({"/front"}, TIMEOUT_S, StopFlag())


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (replace(ACTIVE, node="/activesam"), "no diagnostics within 1 s"),
        (replace(ACTIVE, state="inactive"), "not become active within 1 s; it is inactive"),
        (
            replace(ACTIVE, cameras=(replace(FRONT, publishers=0),)),
            "not found the publisher of the images within 1 s",
        ),
    ],
)
def test_what_does_not_become_active_in_time_is_named(
    context: rclpy.Context, status: NodeStatus, reason: str
) -> None:
    with told(context, status) as (awaited, _), pytest.raises(UsageError, match=reason):
        awaited.await_active({"/front"}, 1.0, StopFlag())


def test_the_end_comes_when_every_image_is_segmented(context: rclpy.Context) -> None:
    segmenting = replace(front(3, 2), frames_waiting=1)
    with told(context, ACTIVE) as (awaited, statuses):
        assert awaited.await_active({"/front"}, TIMEOUT_S, StopFlag())
        statuses.extend([segmenting, front(3, 3)])
        awaited.await_segmented({"/front": 3}, StopFlag())


def test_the_end_is_a_failure_when_nothing_waits_and_images_are_missing(
    context: rclpy.Context,
) -> None:
    segmenting = replace(front(3, 1, superseded=1), frames_waiting=1)
    with told(context, ACTIVE) as (awaited, statuses):
        assert awaited.await_active({"/front"}, TIMEOUT_S, StopFlag())
        statuses.extend([segmenting, front(3, 2, superseded=1)])
        with pytest.raises(UsageError, match="/robot/activesam segmented 2 of 3 images"):
            awaited.await_segmented({"/front": 3}, StopFlag())


def test_a_signal_ends_the_wait(context: rclpy.Context) -> None:
    with told(context, ACTIVE) as (awaited, _), StopFlag() as stop:
        assert awaited.await_active({"/front"}, TIMEOUT_S, stop)
        threading.Timer(0.2, signal.raise_signal, (signal.SIGINT,)).start()
        awaited.await_segmented({"/front": 3}, stop)
        assert not awaited.await_active({"/front"}, TIMEOUT_S, stop)
