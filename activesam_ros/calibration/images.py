"""The images of a calibration: those of recordings, videos and image files, one after the other."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from activesam_ros.execution.task import Part
from activesam_ros.image_files import FULL_BIT_DEPTH, MAX_IMAGE_PIXELS
from activesam_ros.recordings.formats.decompression import DEFAULT_MAX_MESSAGE_MIB
from activesam_ros.recordings.input_files import expand_inputs
from activesam_ros.recordings.picture_frames import TOPIC, FrameSource, ImageSequence, open_frames
from activesam_ros.recordings.recorded_frames import RecordedFrame, Recording
from activesam_ros.recordings.topic_choice import chosen_topics

_LateFrame = Callable[[], RecordedFrame]


@dataclass(frozen=True)
class CalibrationImages:
    """Every ``every``-th image of ``paths`` (see expand_inputs), at most ``limit``.

    bit_depth, max_pixels: as in Settings. topics: of recordings, empty for their camera topics.
    max_message_mib: as in Recording.
    """

    paths: tuple[Path, ...]
    bit_depth: int = FULL_BIT_DEPTH
    max_pixels: int = MAX_IMAGE_PIXELS
    topics: tuple[str, ...] = ()
    every: int = 1
    limit: int | None = None
    max_message_mib: int = DEFAULT_MAX_MESSAGE_MIB

    def open(self) -> ImageReader:
        """Raises UsageError, or RecordingError for what cannot be opened."""
        opened = []
        for file in expand_inputs(self.paths):
            frames = open_frames([file.path], self.bit_depth, self.max_pixels, self.max_message_mib)
            topics: tuple[str, ...] = (TOPIC,)
            if isinstance(frames, Recording):
                topics = chosen_topics(frames, self.topics)
            opened.append((frames, topics))
        return ImageReader(self, opened)


class ImageReader:
    """Reads the images, part by part.

    Parts in rising order are read in one pass. An earlier part starts a new pass, because the
    frames of a recording can be counted only by reading them.
    """

    def __init__(
        self, chosen: CalibrationImages, opened: list[tuple[FrameSource, tuple[str, ...]]]
    ) -> None:
        self._chosen = chosen
        self._opened = opened
        self._frames: Iterator[_LateFrame] = iter(())
        self._place: int | None = None
        self.ended = False  # the last part that was read came to the end

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are read."""
        return tuple(file for frames, _ in self._opened for file in frames.files)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is wrong with the files as a whole; known when all are read."""
        return tuple(note for frames, _ in self._opened for note in frames.notes)

    def expected(self) -> int | None:
        """The number of images, None when a file does not tell."""
        counts = [frames.message_count(topics) for frames, topics in self._opened]
        if any(count is None for count in counts):
            return None
        total = -(-sum(count or 0 for count in counts) // self._chosen.every)
        return total if self._chosen.limit is None else min(total, self._chosen.limit)

    def frames(self, part: Part) -> Iterator[RecordedFrame]:
        """The images of ``part``; the last one of the source may come before its stop."""
        if self._place is None or part.start < self._place:
            every = islice(self._all(), 0, None, self._chosen.every)
            self._frames, self._place = islice(every, self._chosen.limit), 0
        self.ended = False
        while part.stop is None or self._place < part.stop:
            frame = next(self._frames, None)
            if frame is None:
                self.ended = True
                return
            self._place += 1
            if self._place - 1 in part:
                yield frame()

    def _all(self) -> Iterator[_LateFrame]:
        """Every image; image files that are not used are not read."""
        for frames, topics in self._opened:
            if isinstance(frames, ImageSequence):
                yield functools.partial(next, frames.frames(topics))  # of one file
            else:
                for frame in frames.frames(topics):
                    yield functools.partial(_same, frame)


def _same(frame: RecordedFrame) -> RecordedFrame:
    return frame
