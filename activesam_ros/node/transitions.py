"""Lifecycle requests get an answer, whatever comes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode


def answer_every_transition(node: LifecycleNode, is_stopping: Callable[[], bool]) -> None:
    """Let ``change_state`` refuse what is not possible now, and everything while it stops.

    rclpy raises an error for an impossible transition and sends no response, so the caller would
    wait for ever.
    """
    for service in node.services:
        if service.srv_type is ChangeState:
            service.callback = _answering(node, service.callback, is_stopping)


def _answering(
    node: LifecycleNode, change: Callable[[Any, Any], Any], is_stopping: Callable[[], bool]
) -> Callable[[Any, Any], Any]:
    def answer(request: Any, response: Any) -> Any:
        refusal = "the node is shutting down" if is_stopping() else None
        if refusal is None:
            try:
                return change(request, response)
            except RuntimeError as error:  # rclpy has no narrower one
                refusal = str(error)
        wanted = request.transition.label or request.transition.id
        node.get_logger().error(f"The transition {wanted} is refused: {refusal}.")
        response.success = False
        return response

    return answer
