"""Frames of video files: pixels, numbers and times."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from activesam_ros.errors import RecordingError
from activesam_ros.recordings.video_files import open_video


def test_frames_come_in_order_with_pixels_and_times(
    write_video: Callable[..., None], tmp_path: Path
) -> None:
    colors = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    path = tmp_path / "100%02d.mp4"  # no pattern of images
    write_video(path, [np.full((48, 64, 3), color, np.uint8) for color in colors])
    video = open_video(path)
    assert (video.frame_count, video.rate_hz) == (3, 10.0)
    frames = list(video.frames())
    assert [frame.number for frame in frames] == [0, 1, 2]
    assert [frame.stamp_ns for frame in frames] == [0, 100_000_000, 200_000_000]
    for frame, color in zip(frames, colors, strict=True):
        assert frame.image.shape == (48, 64, 3)
        assert np.abs(frame.image.astype(int) - color).max() < 30  # a lossy codec
    assert [frame.number for frame in video.frames()] == [0, 1, 2]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "cannot be read: No such file"), (b"no video", "cannot be decoded; convert it")],
)
def test_what_is_no_video_is_refused(content: bytes | None, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordingError, match=sentence):
        open_video(path)


def test_frames_of_more_pixels_than_allowed_are_refused_before_decoding(
    write_video: Callable[..., None], tmp_path: Path
) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, [np.zeros((48, 64, 3), np.uint8)])
    with pytest.raises(RecordingError, match=r"64x48 pixels; at most 3000 .*max_image_pixels"):
        open_video(path, max_pixels=3000)


def test_a_video_that_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(RecordingError, match="named pipe"):
        open_video(tmp_path / "a.mp4")
