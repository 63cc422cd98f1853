"""The command line: ``activesam COMMAND ...``.

Each command is a module of ``commands/`` with ``add_arguments(parser)`` and ``run(args) -> int``,
and its docstring is its description in the help. Only the given command's module is imported.
Exit codes: 0 for success, 2 for an input or output that cannot be used (after one line that says
why), 130 for Ctrl-C; docs/segment.md lists them all.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from activesam_ros import __version__
from activesam_ros.allocator import keep_freed_memory
from activesam_ros.console import PrintableFormatter, tell, tell_error
from activesam_ros.errors import ActiveSamError, UsageError, os_reason
from activesam_ros.progress import working
from activesam_ros.resources import user_path

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


@dataclass(frozen=True, slots=True)
class Command:
    """The words of a command, its module in ``commands/``, and its line in the overview."""

    words: tuple[str, ...]
    module: str
    summary: str


COMMANDS = (
    Command(("segment",), "segment", "segment images"),
    Command(("replay",), "replay", "segment every frame of a recording"),
    Command(("calibrate",), "calibrate", "estimate signatures of classes, for activesam2"),
    Command(("evaluate", "bag"), "evaluate_bag", "measure accuracy and speed on a recording"),
    Command(("evaluate", "dataset"), "evaluate_dataset", "measure accuracy on a benchmark"),
    Command(("evaluate", "compare"), "evaluate_compare", "compare two evaluations, for CI"),
    Command(("vocabulary", "show"), "vocabulary_show", "show the prompts of a vocabulary"),
    Command(("vocabulary", "compile"), "vocabulary_compile", "compile a vocabulary into the cache"),
    Command(("demo", "drive"), "demo_drive", "write a synthetic drive as a recording"),
    Command(("demo", "run"), "demo_run", "play a drive through the node and measure its masks"),
    Command(("verify",), "verify", "compare the network with Meta's sam3 package"),
    Command(("doctor",), "doctor", "report what is installed and what is missing"),
)
# Former commands -> what does their work now.
MOVED: Mapping[tuple[str, ...], str] = {
    ("demo", "train"): "python -m training",
    ("demo", "measure"): "python -m training.measure",
}


class _Parser(argparse.ArgumentParser):
    """Raises UsageError for wrong arguments, so that they are reported like other bad input.

    An argument with ``type=Path`` may begin with ``~``.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.register("type", Path, user_path)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; '{self.prog} --help' lists the arguments.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` names (default: the arguments of the process)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    log = logging.StreamHandler()
    log.setFormatter(PrintableFormatter("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[log])
    moved = MOVED.get(tuple(arguments[:2]))
    if moved is not None:
        print(
            f"activesam: 'activesam {' '.join(arguments[:2])}' has moved out of the package; run "
            f"'{moved}' from the root of the repository.",
            file=sys.stderr,
        )
        return EXIT_BAD_INPUT
    command = _find(arguments)
    if command is None:
        return _overview(arguments)
    program = " ".join(("activesam", *command.words))
    # A log need not say that it starts.
    starting = working("starting") if sys.stderr.isatty() else contextlib.nullcontext()
    try:
        with starting:
            module = importlib.import_module(f"activesam_ros.commands.{command.module}")
    except KeyboardInterrupt:  # importing PyTorch takes seconds
        return _interrupted()
    return run_command(module, program, arguments[len(command.words) :])


def run_command(module: ModuleType, program: str, arguments: Sequence[str]) -> int:
    """Run the command in ``module``, called ``program`` in the help, and return its exit code."""
    keep_freed_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names that are not UTF-8
    parser = _Parser(prog=program, description=module.__doc__)
    module.add_arguments(parser)
    parser.add_argument(
        "--debug", action="store_true", help="show where an error came from, and log more"
    )
    debug = "--debug" in arguments  # also where the arguments are wrong
    logging.getLogger("activesam_ros").setLevel(logging.DEBUG if debug else logging.NOTSET)
    try:
        args = parser.parse_intermixed_args(list(arguments))
        code: int = module.run(args)
        sys.stdout.flush()  # a full disk behind a redirection shows here
    except ActiveSamError as error:
        tell_error(error, debug=debug)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:  # the reader of our output has ended, as `head` does
        _leave_stdout()
        return EXIT_BROKEN_PIPE
    except OSError as error:  # a file or folder that a command did not expect to fail
        where = "" if error.filename is None else f": {os.fsdecode(error.filename)}"
        tell(f"{os_reason(error)}{where}.")
        _leave_stdout()
        return EXIT_BAD_INPUT
    return code


def _interrupted() -> int:
    tell("interrupted.")
    return EXIT_INTERRUPTED


def _leave_stdout() -> None:
    """Let what is still to be printed go nowhere, so that the end of the process does not fail."""
    with contextlib.suppress(OSError):  # stdout has no file, as in tests
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _find(arguments: Sequence[str]) -> Command | None:
    for command in COMMANDS:
        if tuple(arguments[: len(command.words)]) == command.words:
            return command
    return None


def _overview(arguments: Sequence[str]) -> int:
    """Answer --help, --version, the name of a group alone, and words that are no command."""
    words = [word for word in arguments if not word.startswith("-")]
    if "--version" in arguments:
        print(__version__)
        return 0
    shown = [command for command in COMMANDS if list(command.words[: len(words)]) == words]
    wants_help = any(word in ("-h", "--help") for word in arguments)
    stream = sys.stdout if wants_help and shown else sys.stderr
    if not shown:
        tell(f"there is no command {' '.join(words)!r}.")
        shown = list(COMMANDS)
    print("usage: activesam COMMAND [options]\n", file=stream)
    for command in shown:
        print(f"  {' '.join(command.words):20} {command.summary}", file=stream)
    print("\n'activesam COMMAND --help' describes a command and its options.", file=stream)
    return 0 if stream is sys.stdout else EXIT_BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
