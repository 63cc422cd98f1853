"""What programs print: one printable line, whatever names from outside contain."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.console import PrintableFormatter, answer, tell, tell_error
from activesam_ros.errors import RecordingError, printable

HOSTILE = "/a\x1b[2J\x1b]0;title\x07\nactivesam: all is well\r\u202e\udcff"
SHOWN = r"/a\x1b[2J\x1b]0;title\x07\nactivesam: all is well\r\u202e\udcff"


@given(st.text(st.characters(codec=None)))
def test_printable_text_is_one_line_without_control_characters(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    assert printable(shown) == shown


def test_names_in_any_script_stay_as_they_are() -> None:
    assert printable("/kamera/größe 画像 café") == "/kamera/größe 画像 café"


def test_escape_codes_and_line_ends_are_printed_as_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell(HOSTILE)
    tell_error(RecordingError(HOSTILE), "playback")
    answer(HOSTILE)
    out, err = capsys.readouterr()
    assert err == f"activesam: {SHOWN}\nplayback: {SHOWN}\n"
    assert out == f"{SHOWN}\n"


def test_debug_shows_the_cause(capsys: pytest.CaptureFixture[str]) -> None:
    error = RecordingError("the file is damaged")
    error.__cause__ = KeyError("\x1b[2J")
    tell_error(error, debug=True)
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("KeyError") for line in lines)
    assert "\x1b" not in "".join(lines)
    assert lines[-1] == "activesam: the file is damaged"


def test_the_log_is_printable() -> None:
    record = logging.LogRecord("x", logging.INFO, "x", 1, "read %s", (HOSTILE,), None)
    assert PrintableFormatter("%(levelname)s: %(message)s").format(record) == f"INFO: read {SHOWN}"
