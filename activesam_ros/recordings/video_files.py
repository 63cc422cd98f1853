"""Frames of video files, decoded by OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.errors import RecordingError
from activesam_ros.regular_files import check_regular

# Headers may count a few frames too many; this share of them is not mentioned.
_MISSING_SHARE = 0.02
_LARGEST_FILE = 1 << 44


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """A frame: its number from 0, its time since the first one, its RGB pixels uint8 [H, W, 3]."""

    number: int
    stamp_ns: int
    image: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A video that can be opened.

    frame_count: what the file says, which may differ from what can be read; 0 if it says nothing.
    rate_hz: frames per second; 0 if the file says nothing.
    """

    path: Path
    frame_count: int
    rate_hz: float

    def missing_frames(self, read: int) -> str | None:
        """Says that fewer frames were ``read`` than the file's header counts; None if not."""
        if read >= self.frame_count * (1 - _MISSING_SHARE):
            return None
        return (
            f"{self.path} says that it has {self.frame_count} frames, but only {read} can be read"
        )

    def frames(self) -> Iterator[VideoFrame]:
        """Every frame, upright as the file's rotation says; raises RecordingError if there is none.

        A damaged file ends where it can no longer be read.
        """
        capture = _opened(self.path)
        try:
            number, first_ms = 0, 0.0
            while True:
                read, pixels = capture.read()  # BGR [H, W, 3]
                if not read:
                    break
                stamp_ms = capture.get(cv2.CAP_PROP_POS_MSEC)
                first_ms = first_ms if number else stamp_ms
                image = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
                yield VideoFrame(number, round((stamp_ms - first_ms) * 1e6), image)
                number += 1
        finally:
            capture.release()
        if not number:
            raise RecordingError(f"No frame of the video {self.path} can be read.")


def open_video(path: Path) -> VideoFile:
    """The video at ``path``; raises RecordingError if OpenCV cannot open it."""
    capture = _opened(path)
    try:
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        rate_hz = capture.get(cv2.CAP_PROP_FPS)
    finally:
        capture.release()
    return VideoFile(path, max(int(count), 0), max(rate_hz, 0.0))


def _opened(path: Path) -> cv2.VideoCapture:
    try:
        check_regular(path, _LARGEST_FILE)
    except OSError as error:
        raise RecordingError(f"The video {path} cannot be read: {error.strerror}.") from error
    # With other back ends a name with % is a pattern of images.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        capture.release()
        raise RecordingError(
            f"The video {path} cannot be decoded; convert it, for instance with 'ffmpeg -i "
            f"{path.name} converted.mp4'."
        )
    return capture
