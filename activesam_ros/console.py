"""What a program says to its user: one printable line, whatever the names in it contain."""

from __future__ import annotations

import logging
import sys
import traceback

from activesam_ros.errors import printable

PROGRAM = "activesam"


def tell(text: str, program: str = PROGRAM) -> None:
    """Write a sentence to the standard error, after the program's name."""
    print(f"{program}: {printable(text)}", file=sys.stderr, flush=True)


def answer(text: str) -> None:
    """Write a line to the standard output."""
    print(printable(text), flush=True)


def tell_error(error: BaseException, program: str = PROGRAM, *, debug: bool = False) -> None:
    """Write an error as one sentence; ``debug`` adds where it came from, and its cause."""
    if debug:
        for line in "".join(traceback.format_exception(error)).splitlines():
            print(printable(line), file=sys.stderr)
    tell(str(error), program)


class PrintableFormatter(logging.Formatter):
    """Formats a log's messages as one printable line each."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))
