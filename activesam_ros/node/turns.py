"""Callbacks that are called once, in a callback group, when its turn comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeAlias

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node

Callback: TypeAlias = Callable[[], None]


class Turns:
    """Calls callbacks once, each in the group it asks for; usable from any thread.

    By guard conditions that stay, not by timers: rclpy's executor stumbles over what is destroyed
    while it looks at it. It may serve a guard condition once too often, which does no harm here.
    """

    def __init__(self, node: Node, groups: Iterable[CallbackGroup]) -> None:
        self._waiting: dict[CallbackGroup, deque[Callback]] = {group: deque() for group in groups}
        self._guards = {
            group: node.create_guard_condition(partial(self._serve, waiting), group)
            for group, waiting in self._waiting.items()
        }

    def call(self, callback: Callback, group: CallbackGroup) -> None:
        """Call ``callback`` when none of ``group``, one of the groups given, is under way."""
        self._waiting[group].append(callback)
        self._guards[group].trigger()

    @staticmethod
    def _serve(waiting: deque[Callback]) -> None:
        while waiting:
            waiting.popleft()()
