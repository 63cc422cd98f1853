"""The command line: ``activesam COMMAND ...``.

A command is a module with ``add_arguments(parser)`` and ``run(args) -> int``; only the one that was
asked for is imported. Exit codes: 0 on success, 2 on bad input with one clear line, 130 on Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import NoReturn

from activesam_ros import __version__
from activesam_ros.allocator import keep_freed_memory
from activesam_ros.errors import ActiveSamError, UsageError

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


@dataclass(frozen=True, slots=True)
class Command:
    """The words of a command, the module that runs it, and its line in the help."""

    words: tuple[str, ...]
    module: str
    summary: str


COMMANDS = (
    Command(("segment",), "commands.segment", "segment images"),
    Command(("replay",), "commands.replay", "segment every frame of a recording, offline"),
    Command(("evaluate", "bag"), "commands.evaluate_bag", "accuracy and speed on a recording"),
    Command(("evaluate", "compare"), "commands.evaluate_compare", "two runs side by side, for CI"),
    Command(("evaluate", "dataset"), "commands.evaluate_dataset", "accuracy on a benchmark"),
    Command(("vocabulary", "show"), "commands.vocabulary_show", "prompts as the network sees them"),
    Command(("vocabulary", "compile"), "commands.vocabulary_compile", "fill the cache on disk"),
    Command(("demo", "drive"), "commands.demo_drive", "write the synthetic driving log"),
    Command(
        ("demo", "run"), "commands.demo_run", "play a drive through the node and look at the result"
    ),
    Command(("verify",), "commands.verify", "compare with Meta's sam3 package on your weights"),
    Command(("doctor",), "commands.doctor", "what is installed, what is missing, how to get it"),
)


# Commands that are no longer here, and where what they did has gone.
MOVED: Mapping[tuple[str, ...], str] = {
    ("demo", "train"): "python -m training",
    ("demo", "measure"): "python -m training.measure",
}


class _Parser(argparse.ArgumentParser):
    """Reports wrong arguments as every other bad input is reported: in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; '{self.prog} --help' lists the arguments.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` (default: the process's arguments) names."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
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
    module = importlib.import_module(f"activesam_ros.{command.module}")
    program = " ".join(("activesam", *command.words))
    return run_command(module, program, arguments[len(command.words) :])


def run_command(module: ModuleType, program: str, arguments: Sequence[str]) -> int:
    """Run the command in ``module`` and return its exit code; ``program`` is its name in the help.

    The module has ``add_arguments(parser)`` and ``run(args) -> int``.
    """
    keep_freed_memory()
    parser = _Parser(prog=program, description=module.__doc__)
    module.add_arguments(parser)
    try:
        args = parser.parse_intermixed_args(list(arguments))
        code: int = module.run(args)
    except ActiveSamError as error:
        print(f"activesam: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("activesam: interrupted.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever reads our output has had enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    return code


def _find(arguments: Sequence[str]) -> Command | None:
    for command in COMMANDS:
        if tuple(arguments[: len(command.words)]) == command.words:
            return command
    return None


def _overview(arguments: Sequence[str]) -> int:
    """Answer --help and --version, a group's name alone, and what is no command at all."""
    words = [word for word in arguments if not word.startswith("-")]
    if "--version" in arguments:
        print(__version__)
        return 0
    shown = [command for command in COMMANDS if list(command.words[: len(words)]) == words]
    wants_help = any(word in ("-h", "--help") for word in arguments)
    stream = sys.stdout if wants_help and shown else sys.stderr
    if not shown:
        print(f"activesam: there is no command {' '.join(words)!r}.", file=sys.stderr)
        shown = list(COMMANDS)
    print("usage: activesam COMMAND [options]; each command takes --help\n", file=stream)
    for command in shown:
        print(f"  {' '.join(command.words):20} {command.summary}", file=stream)
    return 0 if stream is sys.stdout else EXIT_BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
