"""Draw a replay as a video: the images under their class colours, with a legend."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.errors import OutputError, RecordingError
from activesam_ros.image_files import LabelMap
from activesam_ros.output_files import whole_path
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.recordings.formats.file_reader import CDR, Channel
from activesam_ros.recordings.frame_pixels import label_map, rgb_decoder
from activesam_ros.recordings.recorded_frames import RecordedFrame
from activesam_ros.recordings.serialization import IMAGE, deserialize
from activesam_ros.recordings.video_files import open_video
from activesam_ros.replay.journal import JournalEntry
from activesam_ros.segmentation.overlay import Color, draw_overlay, legend_of, with_legend

CODECS: Mapping[str, str] = {".mp4": "mp4v", ".webm": "VP80"}
"""The codec by suffix: MPEG-4, which is fast to write, and VP8, which browsers play."""
MAX_LEGEND_ENTRIES = 24
_DEFAULT_RATE_HZ = 10.0
_RATES_HZ = (1.0, 60.0)


@dataclass(frozen=True)
class VideoStyle:
    """What all pictures share. rate_hz: of the video. legend: names and colours."""

    rate_hz: float
    legend: tuple[tuple[str, Color], ...]


def video_style(entries: Iterable[JournalEntry], vocabulary: Vocabulary) -> VideoStyle:
    """The median rate of the frames, and the classes that cover most pixels of all masks."""
    times_ns: list[int] = []
    pixels: Counter[int] = Counter()
    for entry in entries:
        times_ns.append(entry.log_time_ns)
        if entry.mask is not None:
            ids, counts = np.unique(_labels(entry.topic, entry.mask), return_counts=True)
            pixels.update(dict(zip(ids.tolist(), counts.tolist(), strict=True)))
    gaps_ns = [after - before for before, after in pairwise(times_ns) if after > before]
    rate_hz = 1e9 / statistics.median(gaps_ns) if gaps_ns else _DEFAULT_RATE_HZ
    classes = [(entry.id, entry.name, entry.color) for entry in vocabulary.classes]
    legend = legend_of(pixels, classes)[:MAX_LEGEND_ENTRIES]
    return VideoStyle(min(max(rate_hz, _RATES_HZ[0]), _RATES_HZ[1]), legend)


def write_overlay_video(
    path: Path,
    frames: Iterable[RecordedFrame],
    entries: Iterable[JournalEntry],
    vocabulary: Vocabulary,
    style: VideoStyle,
    advance: Callable[[], object],
    bit_depth: int,
    max_pixels: int,
) -> None:
    """Write the video to ``path``, whole or not at all; a frame without a mask is left out.

    frames, entries: of the same frames in the same order. Pictures of another size than the first
    are scaled into it. ``advance`` is called after each frame. bit_depth,
    max_pixels: as in Settings.

    Raises OutputError, and ImageError for an image that can no longer be read.
    """
    pictures = _pictures(frames, entries, vocabulary, style, advance, bit_depth, max_pixels)
    with whole_path(path) as temporary:
        first = next(pictures)
        height, width = first.shape[:2]
        codec = cv2.VideoWriter.fourcc(*CODECS[path.suffix.lower()])
        writer = cv2.VideoWriter(
            str(temporary), cv2.CAP_FFMPEG, codec, style.rate_hz, (width, height)
        )
        try:
            written = 1
            writer.write(first[..., ::-1])
            for picture in pictures:
                writer.write(_fitted(picture, (width, height))[..., ::-1])
                written += 1
        finally:
            writer.release()
        _check(path, temporary, written)


def _pictures(
    frames: Iterable[RecordedFrame],
    entries: Iterable[JournalEntry],
    vocabulary: Vocabulary,
    style: VideoStyle,
    advance: Callable[[], object],
    bit_depth: int,
    max_pixels: int,
) -> Iterator[NDArray[np.uint8]]:
    """The overlay of each frame with its legend, uint8 RGB [H, W, 3], both sides even."""
    decode = rgb_decoder(bit_depth, max_pixels)
    for frame, entry in zip(frames, entries, strict=False):
        if entry.mask is not None:
            overlay = draw_overlay(
                decode(frame), _labels(entry.topic, entry.mask), vocabulary.palette
            )
            picture = with_legend(overlay, style.legend)
            height, width = picture.shape[:2]
            yield np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        advance()


def _labels(topic: str, mask: bytes) -> LabelMap:
    """The class ids of a mask's message [H, W]; raises RecordingError and ImageError."""
    message = deserialize(mask, Channel(topic, IMAGE, CDR))
    return label_map(RecordedFrame(topic, IMAGE, 0, 0, "", False, message))


def _fitted(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """``picture`` scaled into ``size`` (width, height), its shape kept, on black."""
    width, height = size
    if picture.shape[:2] == (height, width):
        return picture
    scale = min(width / picture.shape[1], height / picture.shape[0])
    fitted = (max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1))
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[: fitted[1], : fitted[0]] = cv2.resize(picture, fitted, interpolation=cv2.INTER_AREA)
    return canvas


def _check(path: Path, temporary: Path, written: int) -> None:
    """OpenCV reports no failure of writing, so count what is in the file."""
    try:
        found = open_video(temporary).frame_count
    except RecordingError:
        found = 0
    if found < written:
        raise OutputError(
            f"{path} cannot be written: the file holds {found} of {written} frames; free some disk "
            "space, or give another suffix or place."
        )
