"""Stills and an animation of a run: each image beside its overlay."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from activesam_ros.demo.live.live import MASK_TOPIC
from activesam_ros.demo.live.summary import joined_by_stamp
from activesam_ros.errors import ImageError
from activesam_ros.image_files import write_png
from activesam_ros.output_files import make_folder, whole_file
from activesam_ros.recordings.frame_pixels import label_map, rgb_decoder
from activesam_ros.recordings.recorded_frames import Recording
from activesam_ros.segmentation.overlay import Color, draw_overlay, draw_text, legend, text_width

OPACITY = 0.55
MAX_STILLS = 8
STILL_PANEL_PX = 960
MAX_MOVING_FRAMES = 48
MOVING_PANEL_PX = 400
# Above this ratio of width to height, the overlay stands below the image instead of beside it.
_WIDE = 2.4
_CAPTION_HEIGHT_PX = 26
_LEGEND_ROW_PX = 24
_PAPER: Color = (24, 24, 24)
_INK: Color = (240, 240, 240)
_ALARM: Color = (200, 0, 0)
_WHITE: Color = (255, 255, 255)
# 800x362 px, 48 frames: 0.9 MB. The mean error of a level is 1.7 of 255.
_WEBP_QUALITY = 85
_LAST_FRAME_MS = 1000
_MIN_FRAME_MS = 20


@dataclass(frozen=True)
class Style:
    """What all pictures of a run share.

    palette: class id -> RGB. legend: names and colours. captions: image stamp in ns -> a line of
    text. banner: a warning in large letters at the top, None for none.
    """

    palette: Mapping[int, Color]
    legend: tuple[tuple[str, Color], ...]
    captions: Mapping[int, str]
    banner: str | None


@dataclass(frozen=True)
class Shot:
    """An image, uint8 RGB [H, W, 3], and its mask, uint8 or uint16 [H, W]; number: of the mask."""

    number: int
    stamp_ns: int
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8] | NDArray[np.uint16]


def write_pictures(
    recording: Recording,
    source: Recording,
    image_topic: str,
    masks: int,
    style: Style,
    stills_folder: Path,
    moving: Path,
) -> tuple[Path, ...]:
    """Write some overlays as PNG into ``stills_folder`` and an animation to ``moving``.

    masks: the number of masks in the recording; both show masks that are spread evenly over it.
    Returns the paths.
    """
    make_folder(stills_folder)
    for old in stills_folder.glob("mask_*.png"):
        old.unlink()
    stills = spread(masks, MAX_STILLS)
    frames = spread(masks, MAX_MOVING_FRAMES)
    written: list[Path] = []
    pictures: list[NDArray[np.uint8]] = []
    stamps_ns: list[int] = []
    for shot in shots(recording, source, image_topic, stills | frames):
        if shot.number in stills:
            path = stills_folder / f"mask_{shot.number:04d}.png"
            write_png(path, picture(shot, style, STILL_PANEL_PX))
            written.append(path)
        if shot.number in frames:
            pictures.append(picture(shot, style, MOVING_PANEL_PX))
            stamps_ns.append(shot.stamp_ns)
    if pictures:
        write_animation(moving, pictures, stamps_ns)
        written.append(moving)
    return tuple(written)


def spread(count: int, wanted: int) -> set[int]:
    """At most ``wanted`` evenly spaced numbers from 0 to ``count`` - 1, both included."""
    return {round(place) for place in np.linspace(0, count - 1, min(count, wanted))}


def shots(
    recording: Recording, source: Recording, image_topic: str, numbers: set[int]
) -> Iterator[Shot]:
    """The masks with these ``numbers`` and the images of the same stamps, in recorded order.

    Skips an image or a mask that cannot be read.
    """
    decode = rgb_decoder()
    pairs = joined_by_stamp(recording.frames([MASK_TOPIC]), source.frames([image_topic]))
    for number, (mask, frame) in enumerate(pairs):
        if number not in numbers:
            continue
        try:
            image, labels = decode(frame), label_map(mask)
        except ImageError:
            continue
        yield Shot(number, frame.stamp_ns, image, labels)


def picture(shot: Shot, style: Style, panel_px: int) -> NDArray[np.uint8]:
    """Banner, image, overlay, caption and legend as one uint8 RGB picture [H, W, 3].

    The image and the overlay are at most ``panel_px`` wide.
    """
    image, labels = _shrunk(shot, panel_px)
    covered = draw_overlay(image, labels, style.palette, OPACITY)
    height, width = image.shape[:2]
    panels = np.concatenate([image, covered], axis=0 if width > _WIDE * height else 1)
    width = panels.shape[1]
    parts = [panels, _caption(width, style.captions.get(shot.stamp_ns, ""))]
    if style.banner is not None:
        parts.insert(0, _banner(width, style.banner))
    if style.legend and width >= 2 * _LEGEND_ROW_PX:
        parts.append(legend(style.legend, width, _LEGEND_ROW_PX))
    return np.concatenate(parts, axis=0)


def _shrunk(
    shot: Shot, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | NDArray[np.uint16]]:
    """Image and labels, at most ``width`` wide; labels take the nearest pixel, never a mean."""
    height = shot.image.shape[0]
    if shot.image.shape[1] <= width:
        return shot.image, shot.labels
    size = (width, round(height * width / shot.image.shape[1]))
    image = cv2.resize(shot.image, size, interpolation=cv2.INTER_AREA)
    labels = cv2.resize(shot.labels, size, interpolation=cv2.INTER_NEAREST)
    return image, labels  # type: ignore[return-value]


def _caption(width: int, text: str) -> NDArray[np.uint8]:
    strip = np.full((_CAPTION_HEIGHT_PX, width, 3), _PAPER, np.uint8)
    height = _CAPTION_HEIGHT_PX // 2
    draw_text(strip, text, (_CAPTION_HEIGHT_PX // 4, _CAPTION_HEIGHT_PX // 4), height, _INK)
    return strip


def _banner(width: int, text: str) -> NDArray[np.uint8]:
    """White text on red, as large as the width allows."""
    height = max(8, min(28, round(28 * 0.94 * width / text_width(text, 28))))
    strip = np.full((2 * height, width, 3), _ALARM, np.uint8)
    left = max((width - text_width(text, height)) // 2, 0)
    draw_text(strip, text, (left, height // 2), height, _WHITE)
    return strip


def write_animation(
    path: Path, pictures: Sequence[NDArray[np.uint8]], stamps_ns: Sequence[int]
) -> None:
    """Write an endless WebP that shows each picture until the stamp of the next one.

    Colours are those of the pictures, close to exact: WebP needs no palette, as GIF does.
    """
    size = pictures[0].shape
    images = [Image.fromarray(entry) for entry in pictures if entry.shape == size]
    gaps_ms = [
        max(_MIN_FRAME_MS, (after - before) // 1_000_000)
        for before, after in itertools.pairwise(stamps_ns)
    ]
    with whole_file(path) as stream:
        images[0].save(
            stream,
            "WEBP",
            save_all=True,
            append_images=images[1:],
            duration=[*gaps_ms, _LAST_FRAME_MS][: len(images)],
            loop=0,
            quality=_WEBP_QUALITY,
            method=4,
        )
