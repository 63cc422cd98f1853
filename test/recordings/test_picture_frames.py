"""Images and videos as the frames of one camera."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from activesam_ros.errors import ImageError, RecordingError, UsageError
from activesam_ros.image_files import write_png
from activesam_ros.recordings.frame_pixels import rgb_decoder
from activesam_ros.recordings.picture_frames import TOPIC, open_frames

COLORS = [(220, 40, 10), (30, 200, 60), (20, 60, 230)]


def plain(color: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.full((32, 48, 3), color, np.uint8)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with an image of each colour, and a file that is none."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for place, color in enumerate(COLORS):
        write_png(folder / f"f{place + 9}.png", plain(color))
    (folder / "f99.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A video of the colours at 4 frames a second."""
    path = tmp_path / "v.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 4.0, (48, 32))
    for color in COLORS:
        writer.write(plain(color)[..., ::-1])
    writer.release()
    return path


def test_images_are_frames_in_order_of_their_numbers(images: Path) -> None:
    source = open_frames([images])
    frames = list(source.frames([TOPIC]))
    assert source.message_count([TOPIC]) == len(frames) == 4
    decode = rgb_decoder()
    for frame, color in zip(frames, COLORS, strict=False):
        assert (decode(frame) == color).all()
    assert [frame.frame_id for frame in frames] == ["f9.png", "f10.png", "f11.png", "f99.png"]
    assert [frame.stamp_ns for frame in frames] == [0, 10**8, 2 * 10**8, 3 * 10**8]
    with pytest.raises(ImageError, match=r"f99\.png"):
        decode(frames[-1])


def test_a_video_gives_its_frames_with_their_times(video: Path) -> None:
    source = open_frames([video])
    frames = list(source.frames([TOPIC]))
    assert source.message_count([TOPIC]) == len(frames) == len(COLORS)
    decode = rgb_decoder()
    for frame, color in zip(frames, COLORS, strict=True):
        assert np.abs(decode(frame).astype(int) - color).max() <= 12  # the codec is lossy
    assert [frame.stamp_ns for frame in frames] == [0, 250_000_000, 500_000_000]
    assert source.notes == ()


@pytest.mark.parametrize("given", [["f9.png"], ["f10.png", "f9.png"]])
def test_images_are_named_one_by_one(images: Path, given: list[str]) -> None:
    source = open_frames([images / name for name in given])
    assert [path.name for path in source.files] == given


def test_inputs_that_are_no_single_source_are_refused(images: Path, video: Path) -> None:
    with pytest.raises(UsageError, match="4 x image, 1 x video; give one recording"):
        open_frames([images, video])
    other = video.with_name("w.mp4")
    shutil.copy(video, other)
    with pytest.raises(UsageError, match="2 x video"):
        open_frames([video, other])


def test_what_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no recording"):
        open_frames([tmp_path / "nowhere.mcap"])
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    with pytest.raises(RecordingError, match="cannot be decoded"):
        open_frames([broken])


def test_images_of_twelve_bits_are_as_bright_as_their_bit_depth_says(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((2, 2), 4095, np.uint16))
    (dark,) = open_frames([tmp_path / "a.png"]).frames([TOPIC])
    (bright,) = open_frames([tmp_path / "a.png"], 12).frames([TOPIC])
    assert (rgb_decoder()(dark) == 16).all()
    assert (rgb_decoder()(bright) == 255).all()
