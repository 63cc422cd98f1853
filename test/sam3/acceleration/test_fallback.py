"""A fast way, a slow way, and what is known of the fast one."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch

from activesam_ros.sam3.acceleration.fallback import DisagreementError, Fallback


def counted(calls: list[str], name: str) -> Callable[[], str]:
    def call() -> str:
        calls.append(name)
        return name

    return call


def failing(calls: list[str], error: Exception) -> Callable[[], str]:
    def call() -> str:
        calls.append("fast")
        raise error

    return call


def refuse(result: str) -> None:
    raise DisagreementError(f"{result} is wrong")


def test_a_fast_way_that_works_is_taken_and_checked_once_for_each_kind() -> None:
    calls: list[str] = []
    checked: list[str] = []
    fallback = Fallback("slower (%s)")
    for kind in ("a", "b", "a", "b"):
        assert fallback.needs_check(kind) == (len(checked) < (1 if kind == "a" else 2))
        fast, slow = counted(calls, "fast"), counted(calls, "slow")
        assert fallback.run(fast, slow, checked.append, kind) == "fast"
    assert calls == ["fast"] * 4
    assert checked == ["fast"] * 2
    assert fallback.works


@pytest.mark.parametrize("check", [None, refuse])
def test_a_failure_is_said_once_and_the_slow_way_taken_from_then_on(
    check: Callable[[str], None] | None, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []
    fallback = Fallback("It runs slower (%s).")
    error = RuntimeError("no compiler\nand more lines")
    fast = failing(calls, error) if check is None else counted(calls, "fast")
    for _ in range(3):
        assert fallback.run(fast, counted(calls, "slow"), check) == "slow"
    assert calls == ["fast", "slow", "slow", "slow"]
    assert not fallback.works
    assert not fallback.needs_check("other")
    reason = "RuntimeError: no compiler" if check is None else "DisagreementError: fast is wrong"
    assert caplog.messages == [f"It runs slower ({reason})."]


@pytest.mark.parametrize("where", ["fast", "check"])
def test_running_out_of_memory_is_the_callers_to_handle(where: str) -> None:
    fallback = Fallback("slower (%s)")
    full = failing([], torch.OutOfMemoryError("full"))

    def check(_: str) -> None:
        full()

    for _ in range(2):
        with pytest.raises(torch.OutOfMemoryError):
            fallback.run(full if where == "fast" else lambda: "", lambda: "slow", check)
    assert fallback.works


def test_what_the_slow_way_raises_is_raised() -> None:
    fallback = Fallback("slower (%s)")
    with pytest.raises(KeyError):
        fallback.run(failing([], ValueError()), failing([], KeyError("slow")))


def test_two_threads_that_fail_at_once_say_so_once(caplog: pytest.LogCaptureFixture) -> None:
    fallback = Fallback("slower (%s)")
    both_tried = threading.Barrier(2, timeout=30)

    def fail() -> str:
        both_tried.wait()
        raise RuntimeError("no compiler")

    threads = [threading.Thread(target=fallback.run, args=(fail, lambda: "slow")) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(caplog.messages) == 1
