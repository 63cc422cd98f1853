"""Child processes: what they report arrives in order, and none is left behind."""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path

import pytest

from activesam_ros.demo.live.processes import (
    Children,
    Ended,
    interrupts_deferred,
    is_clean_end,
    termination_as_interrupt,
)
from activesam_ros.node.playback.reports import PlaybackEvent, Report

QUICK = {signal.SIGINT: 0.2, signal.SIGTERM: 0.2, signal.SIGKILL: 30.0}


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def ends(pidfd: int) -> bool:
    """Whether the process ends, which a killed one does a moment after the signal."""
    readable, _, _ = select.select([pidfd], [], [], 30.0)
    os.close(pidfd)
    return bool(readable)


def test_reports_come_in_order_and_then_the_end(tmp_path: Path) -> None:
    reports = [Report(PlaybackEvent.PLAYED, "/a", stamp, stamp) for stamp in range(3)]
    lines = [report.line() for report in reports]
    lines.insert(1, "a library says hello")
    with Children(tmp_path, os.environ) as children:
        children.start("talker", python(f"print({chr(10).join(lines)!r}); exit(3)"), reports=True)
        heard = [children.events.get(timeout=30) for _ in range(4)]
    assert heard == [*reports, Ended("talker", 3)]


def test_leaving_ends_a_child_that_does_not_listen_and_what_it_started(tmp_path: Path) -> None:
    deaf = (
        "import signal, subprocess, sys, time\n"
        "for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\n"
        f"print({Report(PlaybackEvent.PLAYED, '/a', 0, 0).line()!r}.replace('0', str(child.pid)))\n"
        "sys.stdout.flush()\n"
        "time.sleep(1000)\n"
    )
    with Children(tmp_path, os.environ, QUICK) as children:
        children.start("deaf", python(deaf), reports=True)
        report = children.events.get(timeout=30)
        assert isinstance(report, Report)
        grandchild = os.pidfd_open(report.monotonic_ns)
    assert children.events.get(timeout=30) == Ended("deaf", -signal.SIGKILL)
    assert ends(grandchild)


def test_a_child_that_listens_ends_by_itself(tmp_path: Path) -> None:
    polite = (
        "import signal, sys\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"
        f"print({Report(PlaybackEvent.PLAYED, '/a', 0, 0).line()!r}, flush=True)\n"
        "signal.sigwait([signal.SIGINT])\n"
        "sys.exit(7)\n"
    )
    with Children(tmp_path, os.environ) as children:
        children.start("polite", python(polite), reports=True)
        children.events.get(timeout=30)
        assert children.stop("polite") == 7
        assert children.stop("polite") == 7


def test_a_child_that_is_already_shutting_down_ends_cleanly(tmp_path: Path) -> None:
    done = (
        "import signal, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        f"print({Report(PlaybackEvent.FINISHED, '', None, 0).line()!r}, flush=True)\n"
        "time.sleep(1000)\n"
    )
    with Children(tmp_path, os.environ) as children:
        children.start("done", python(done), reports=True)
        children.events.get(timeout=30)
        assert is_clean_end(children.stop("done"))
    assert not is_clean_end(1)
    assert not is_clean_end(-signal.SIGKILL)


def test_an_error_in_the_middle_ends_the_children_too(tmp_path: Path) -> None:
    children = Children(tmp_path, os.environ, QUICK)

    def fail() -> None:
        with children:
            children.start("sleeper", python("import time; time.sleep(1000)"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    ended = children.events.get(timeout=30)
    assert isinstance(ended, Ended)
    assert ended.code != 0


def test_the_last_words_are_the_last_line_that_says_something(tmp_path: Path) -> None:
    with Children(tmp_path, os.environ) as children:
        children.start("clumsy", python("raise ValueError('the reason')"))
        assert children.events.get(timeout=30) == Ended("clumsy", 1)
        assert children.last_words("clumsy") == "ValueError: the reason"
        children.start("silent", python(""))
        assert children.events.get(timeout=30) == Ended("silent", 0)
        assert children.last_words("silent") == "it printed nothing"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_termination_is_an_interrupt_and_only_inside(number: signal.Signals) -> None:
    def end_myself() -> None:
        with termination_as_interrupt():
            os.kill(os.getpid(), number)
            signal.pause()

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        end_myself()
    assert signal.getsignal(number) == before


def test_a_deferred_interrupt_comes_after_the_context() -> None:
    done: list[str] = []

    def work() -> None:
        with interrupts_deferred():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("inside")
        done.append("never")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["inside"]
