"""Frames of video files, decoded by OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.errors import RecordingError, os_reason
from activesam_ros.image_files import MAX_IMAGE_PIXELS
from activesam_ros.recordings.formats.file_reader import reason
from activesam_ros.regular_files import ANY_SIZE, open_regular

# Headers may count a few frames too many; this share of them is not mentioned.
_MISSING_SHARE = 0.02
# What a header counts beyond this is no count.
_MAX_FRAMES = 1 << 40


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
                try:
                    read, pixels = capture.read()  # BGR [H, W, 3]
                    if not read:
                        break
                    image = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
                except Exception as error:
                    raise RecordingError(
                        f"{self.path} cannot be read after {number} frames: {reason(error)}."
                    ) from error
                stamp_ms = _number(capture.get(cv2.CAP_PROP_POS_MSEC), _MAX_FRAMES)
                first_ms = first_ms if number else stamp_ms
                yield VideoFrame(number, round((stamp_ms - first_ms) * 1e6), image)
                number += 1
        finally:
            capture.release()
        if not number:
            raise RecordingError(f"No frame of the video {self.path} can be read.")


def open_video(path: Path, max_pixels: int = MAX_IMAGE_PIXELS) -> VideoFile:
    """The video at ``path``; raises RecordingError if OpenCV cannot open it.

    max_pixels: what a frame may have by the file's header, as in Settings.
    """
    capture = _opened(path)
    try:
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        rate_hz = capture.get(cv2.CAP_PROP_FPS)
        width, height = (
            _number(capture.get(side), _MAX_FRAMES)
            for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
    finally:
        capture.release()
    if width * height > max_pixels:
        raise RecordingError(
            f"The video {path} has frames of {width:.0f}x{height:.0f} pixels; at most {max_pixels} "
            "pixels are decoded (setting max_image_pixels)."
        )
    return VideoFile(path, int(_number(count, _MAX_FRAMES)), _number(rate_hz, _MAX_FRAMES))


def _number(value: float, limit: int) -> float:
    """``value``, or 0 if it is no number from 0 to ``limit``."""
    return value if 0 <= value <= limit else 0.0


def _opened(path: Path) -> cv2.VideoCapture:
    try:
        open_regular(path, ANY_SIZE).close()
    except OSError as error:
        raise RecordingError(f"The video {path} cannot be read: {os_reason(error)}.") from error
    # With other back ends a name with % is a pattern of images.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        capture.release()
        raise RecordingError(
            f"The video {path} cannot be decoded; convert it, for instance with 'ffmpeg -i "
            f"{path.name} converted.mp4'."
        )
    return capture
