"""What rclpy's callbacks lack: one that is called once, and an answer to every transition."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias

from lifecycle_msgs.srv import ChangeState
from rclpy.callback_groups import CallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node

Callback: TypeAlias = Callable[[], None]


class OneShotCallbacks:
    """Calls each callback once, in the callback group it is given with; usable from any thread.

    It uses guard conditions that are never destroyed. Timers would have to be destroyed after their
    one call, and rclpy's executor raises when an entity is destroyed while it waits for it. The
    executor may serve a guard condition once too often, which then finds nothing to call.
    """

    def __init__(self, node: Node, groups: Iterable[CallbackGroup]) -> None:
        """``groups``: all that :meth:`call` may be given."""
        self._waiting: dict[CallbackGroup, deque[Callback]] = {group: deque() for group in groups}
        self._guards = {
            group: node.create_guard_condition(partial(self._serve, waiting), group)
            for group, waiting in self._waiting.items()
        }

    def call(self, callback: Callback, group: CallbackGroup) -> None:
        """Call ``callback`` once as a callback of ``group``, after those that wait there."""
        self._waiting[group].append(callback)
        self._guards[group].trigger()

    @staticmethod
    def _serve(waiting: deque[Callback]) -> None:
        while waiting:
            waiting.popleft()()


def answer_every_transition(node: LifecycleNode, is_stopping: Callable[[], bool]) -> None:
    """Let the service ``change_state`` answer every request.

    It refuses transitions that are not possible, and all of them while the node stops. Without this
    rclpy raises an error and sends no response, so the caller waits for ever.
    """
    for service in node.services:
        if service.srv_type is ChangeState:
            service.callback = partial(_answer, node, service.callback, is_stopping)


def _answer(
    node: LifecycleNode,
    change_state: Callable[[Any, Any], Any],
    is_stopping: Callable[[], bool],
    request: Any,
    response: Any,
) -> Any:
    refusal = "the node is shutting down" if is_stopping() else None
    if refusal is None:
        try:
            return change_state(request, response)
        except Exception as error:  # noqa: BLE001 - if it escaped, there would be no answer
            # rclpy raises a RuntimeError for a transition that is not possible now.
            expected = isinstance(error, RuntimeError)
            refusal = str(error) if expected else "".join(traceback.format_exception(error))
    transition = request.transition.label or request.transition.id
    node.get_logger().error(f"The transition {transition} is refused: {refusal.rstrip()}.")
    response.success = False
    return response
