"""The errors that the package raises; all derive from ActiveSamError.

A message is one or two sentences: the value, the bound that it breaks, and the way out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ActiveSamError(Exception):
    """Base class of the errors of this package."""


class UsageError(ActiveSamError):
    """An argument, option or file name of the user cannot be used."""


class OutputError(UsageError):
    """A file or folder cannot be written, or must not be replaced."""


class SettingsError(ActiveSamError):
    """A setting has a wrong name, type or range."""


class CheckpointError(ActiveSamError):
    """A weights file or its configuration cannot be used."""


class VocabularyError(ActiveSamError):
    """A vocabulary, class name or prompt cannot be used.

    line: where in its file or list, from 1; None where that is not known.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line

    def __reduce__(self) -> tuple[type[VocabularyError], tuple[str, int | None]]:
        return type(self), (str(self), self.line)


class SignaturesError(ActiveSamError):
    """A file of signatures cannot be used, or belongs to another vocabulary."""


class ImageError(ActiveSamError):
    """An image or image message cannot be used."""


class ScoreError(ImageError):
    """The network's scores of an image are not finite, so that the image has no labels."""


class RecordingError(ActiveSamError):
    """A bag or recording cannot be used."""


class PlainDataError(ActiveSamError):
    """Bytes are not the data that they should be; the message is a reason without a full stop."""


class ExecutorError(ActiveSamError):
    """A worker of an evaluation failed, or too many were lost."""


class MissingDependencyError(ActiveSamError):
    """An optional package, program or device is missing."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ " Did you mean X?" with the name in ``known`` that is nearest to ``word``; empty without."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]}?" if close else ""


def printable(text: str) -> str:
    """``text`` from outside, for a terminal or a log: one line without control characters.

    Characters that are not printable, such as escape codes, line ends and marks that reverse the
    direction of writing, are written as in Python: ``\\x1b``, ``\\n``, ``\\u202e``.
    """
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )


def shortened(text: str, characters: int = 1000) -> str:
    """``text``, cut after so many characters: a refusal quotes what somebody has sent."""
    return text if len(text) <= characters else f"{text[:characters]}..."


def in_short(error: BaseException) -> str:
    """The type and the first line of an error; errors of compilers have pages of text."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def os_reason(error: OSError) -> str:
    """What the system says, without number and path."""
    return error.strerror or str(error) or type(error).__name__
