"""What long work shows: a bar on a terminal, few lines in a log."""

from __future__ import annotations

import io
import pty
import threading
from typing import TYPE_CHECKING

import pytest

from activesam_ros import progress
from activesam_ros.progress import Progress, working

if TYPE_CHECKING:
    from test.fixtures.recording_fixtures import Terminal


class Log(io.StringIO):
    """A stream that is no terminal; ``lines`` is set when it has two lines."""

    def __init__(self) -> None:
        super().__init__()
        self.two = threading.Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        if self.getvalue().count("\n") >= 2:
            self.two.set()
        return written


def log_of(monkeypatch: pytest.MonkeyPatch) -> Log:
    """stderr, with lines that come at once; pytest would undo it if a fixture did this."""
    log = Log()
    monkeypatch.setattr("sys.stderr", log)
    monkeypatch.setattr(progress, "FIRST_LINE_S", 0.01)
    monkeypatch.setattr(progress, "LINE_INTERVAL_S", 0.01)
    return log


def test_a_log_gets_lines_with_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(monkeypatch)
    with Progress(9, "frame", "segmenting", initial=2) as bar:
        bar.update()
        bar.update(3, note="2 masks")
        assert log.two.wait(30)
    lines = log.getvalue().splitlines()
    assert lines[-1].startswith("activesam: segmenting: 6 of 9 (frame), ")
    assert lines[-1].endswith("a second; 2 masks")
    assert "\r" not in log.getvalue()


def test_a_log_gets_lines_while_a_step_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(monkeypatch)
    with working("loading"):
        assert log.two.wait(30)
    lines = log.getvalue().splitlines()
    assert {line.split(" (")[0] for line in lines} == {"activesam: loading ..."}


def test_short_work_is_not_mentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(monkeypatch)
    monkeypatch.setattr(progress, "FIRST_LINE_S", 60.0)
    with working("loading"), Progress(None, "frame", "segmenting") as bar:
        bar.update()
    assert log.getvalue() == ""


def test_an_error_passes_and_ends_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    log_of(monkeypatch)
    with pytest.raises(ValueError, match="broken"), working("loading"):
        raise ValueError("broken")
    assert all(thread.name != "progress" for thread in threading.enumerate())


def test_a_terminal_gets_a_bar(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", terminal)
    with Progress(4, "frame", "segmenting") as bar:
        for _ in range(4):
            bar.update()
    assert "segmenting" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()
    assert "activesam:" not in terminal.getvalue()


def test_a_terminal_that_tells_no_width_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = pty.openpty()  # 0 columns
    with open(reader, "rb", buffering=0) as screen, open(writer, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        with Progress(4, "frame", "segmenting") as bar:
            bar.update(4)
        terminal.flush()
        shown = screen.read(4096).decode()
    assert "segmenting" in shown
    assert "4/4" in shown
