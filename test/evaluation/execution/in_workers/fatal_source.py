"""Sources that kill their worker; in a module that workers can import."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from activesam_ros.calibration.images import CalibrationImages, ImageReader
from activesam_ros.evaluation.datasets.bag_samples import BagSource
from activesam_ros.evaluation.datasets.sample_source import Sample, SampleReader, SourceCount
from activesam_ros.execution.task import Part
from activesam_ros.recordings.recorded_frames import RecordedFrame


@dataclasses.dataclass(frozen=True)
class FatalSource:
    """A source of which reading image ``place`` kills the process once, or raises every time.

    mark: the file that says it has happened. parent: it is the parent process that is killed.
    """

    source: BagSource
    place: int
    mark: Path | None
    parent: bool = False

    def open(self) -> SampleReader:
        return FatalReader(self)


class FatalReader:
    def __init__(self, fatal: FatalSource) -> None:
        self._fatal = fatal
        self._reader = fatal.source.open()

    def samples(self, part: Part, count: SourceCount) -> Iterator[Sample]:
        for sample in self._reader.samples(part, count):
            if sample.place == self._fatal.place:
                if self._fatal.mark is None:
                    raise ZeroDivisionError("on purpose")
                if not self._fatal.mark.exists():
                    self._fatal.mark.touch()
                    victim = os.getppid() if self._fatal.parent else os.getpid()
                    os.kill(victim, signal.SIGKILL)
            yield sample


@dataclasses.dataclass(frozen=True)
class FatalImages(CalibrationImages):
    """Images of a calibration; reading image ``place`` kills the process once. mark: see above."""

    place: int = 0
    mark: Path = Path()

    def open(self) -> FatalImageReader:
        return FatalImageReader(self)


class FatalImageReader(ImageReader):
    def __init__(self, fatal: FatalImages) -> None:
        opened = CalibrationImages.open(fatal)
        super().__init__(fatal, opened._opened)
        self._fatal = fatal

    def frames(self, part: Part) -> Iterator[RecordedFrame]:
        for place, frame in enumerate(super().frames(part), part.start):
            if place == self._fatal.place and not self._fatal.mark.exists():
                self._fatal.mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield frame


class UnreadableSource:
    """A source of several megabytes whose worker exits with 3 as soon as it receives it."""

    def __reduce__(self) -> tuple[object, tuple[int], bytes]:
        return os._exit, (3,), bytes(4 << 20)

    def open(self) -> SampleReader:
        raise AssertionError("the worker has ended")
