"""Every error the package raises on purpose.

    ActiveSamError
    |- UsageError            an argument, flag or file name the user gave cannot be used
    |- SettingsError         a setting has a wrong name, type or range
    |- CheckpointError       a weights file or its configuration cannot be used
    |- VocabularyError       a vocabulary, class name or prompt cannot be used
    |- ImageError            an image or image message cannot be used
    |- RecordingError        a bag or recording cannot be used
    |- ExecutorError         a worker of an evaluation failed, or too many were lost
    `- MissingDependencyError   an optional package, program or device is not there

Each message is one sentence or two: the value, the bound it broke and the way out.
"""

from __future__ import annotations

from pathlib import Path


class ActiveSamError(Exception):
    """Root of every error this package raises on purpose."""


class UsageError(ActiveSamError):
    """An argument, flag or file name the user gave cannot be used."""


class SettingsError(ActiveSamError):
    """A setting has a wrong name, type or range."""


class CheckpointError(ActiveSamError):
    """A weights file or its configuration cannot be used."""


class VocabularyError(ActiveSamError):
    """A vocabulary, class name or prompt cannot be used."""

    @classmethod
    def at(cls, file: Path | str, line: int, reason: str) -> VocabularyError:
        """The error for ``reason`` found in ``file`` at ``line`` (from 1)."""
        return cls(f"{file}:{line}: {reason}")


class ImageError(ActiveSamError):
    """An image or image message cannot be used."""


class RecordingError(ActiveSamError):
    """A bag or recording cannot be used."""


class ExecutorError(ActiveSamError):
    """A worker of an evaluation failed, or too many were lost."""


class MissingDependencyError(ActiveSamError):
    """An optional package, program or device is not there."""


def in_short(error: BaseException) -> str:
    """Type and first line of an error: what compilers raise has pages of text."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
