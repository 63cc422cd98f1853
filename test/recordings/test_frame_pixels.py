"""Frames to RGB pixels and to label ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from activesam_ros.errors import ImageError
from activesam_ros.recordings.frame_pixels import label_map, rgb_decoder
from activesam_ros.recordings.recorded_frames import RecordedFrame, open_recording

if TYPE_CHECKING:
    from test.fixtures.recording_fixtures import BagBuilder, Recorded

PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
LABELS = np.array([[0, 1, 254], [7, 255, 3]], np.uint8)


def only_frame(bags: BagBuilder, message: Recorded) -> RecordedFrame:
    path = bags.mcap([message], f"{message.topic.replace('/', '_')}.mcap")
    (frame,) = open_recording(path).frames([message.topic])
    return frame


def test_raw_and_png_images_give_the_same_pixels(bags: BagBuilder) -> None:
    decode = rgb_decoder()
    raw = bags.image(0, np.ascontiguousarray(PIXELS[..., ::-1]), encoding="bgr8")
    np.testing.assert_array_equal(decode(only_frame(bags, raw)), PIXELS)
    np.testing.assert_array_equal(decode(only_frame(bags, bags.compressed(0, PIXELS))), PIXELS)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_labels_of_eight_bits(encoding: str, bags: BagBuilder) -> None:
    found = label_map(only_frame(bags, bags.image(0, LABELS, encoding=encoding)))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, LABELS)


@pytest.mark.parametrize("encoding", ["mono16", "16UC1"])
def test_labels_of_sixteen_bits(encoding: str, bags: BagBuilder) -> None:
    wide = LABELS.astype("<u2") * 200
    message = bags.image(0, wide.view(np.uint8), encoding=encoding)  # bytes: twice as wide
    frame = only_frame(bags, message)
    frame.message.width = 3
    found = label_map(frame)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, wide)


def test_labels_with_padded_rows(bags: BagBuilder) -> None:
    padded = np.pad(LABELS, ((0, 0), (0, 5)), constant_values=9)
    message = bags.image(0, LABELS, encoding="mono8", data=padded.tobytes(), step=8)
    np.testing.assert_array_equal(label_map(only_frame(bags, message)), LABELS)


def test_png_labels_are_read_and_coloured_or_lossy_ones_refused(bags: BagBuilder) -> None:
    found = label_map(only_frame(bags, bags.compressed(0, LABELS)))
    np.testing.assert_array_equal(found, LABELS)
    for message in (bags.compressed(0, PIXELS), bags.compressed(0, LABELS, suffix=".jpg")):
        with pytest.raises(ImageError, match="not a PNG of one channel"):
            label_map(only_frame(bags, message))


@pytest.mark.parametrize(
    ("encoding", "data", "step", "words"),
    [
        ("rgb8", None, None, "encoding 'rgb8'"),
        ("32SC1", None, None, "encoding '32SC1'"),
        ("mono8", b"1234", None, "cannot have 4 bytes"),
        ("mono8", None, 1, "step 1"),
    ],
)
def test_label_images_that_cannot_be_used_are_refused(
    encoding: str, data: bytes | None, step: int | None, words: str, bags: BagBuilder
) -> None:
    message = bags.image(0, LABELS, encoding=encoding, data=data, step=step)
    with pytest.raises(ImageError, match=words):
        label_map(only_frame(bags, message))
