"""Encode a frame for the page: the image as JPEG, label maps as PNG in class colors."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from activesam_ros.evaluation.scoring.metrics import IdMap
from activesam_ros.image_files import LabelMap
from activesam_ros.prompts.colors import Color

TRUTH = "truth"
LONGEST_SIDE_PX = 640
JPEG_QUALITY = 82
NO_CLASS: Color = (128, 128, 128)
_PALETTE_SIZE = 256


@dataclass(frozen=True, slots=True)
class LabelLayer:
    """A label map as PNG. classes: indices of the classes in it, the largest first."""

    png: bytes
    classes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FramePicture:
    """An encoded frame; image and layers have the same size in pixels.

    jpeg: the image. layers: by name of the method, or ``truth``.
    """

    width: int
    height: int
    jpeg: bytes
    layers: Mapping[str, LabelLayer]


def frame_picture(
    image: NDArray[np.uint8],
    label_maps: Mapping[str, tuple[LabelMap, IdMap]],
    colors: Sequence[Color],
) -> FramePicture:
    """Encode an image and its label maps, scaled down to LONGEST_SIDE_PX.

    image: uint8 RGB [H, W, 3]. label_maps: by name, each [H, W] with the map of its ids. colors:
    RGB 0-255 of each class. Pixels that do not count are transparent; those without a class gray.
    """
    height, width = image.shape[:2]
    scale = min(1.0, LONGEST_SIDE_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    layers = {
        name: _layer(ids.indices(_scaled(labels, size)), colors)
        for name, (labels, ids) in label_maps.items()
    }
    return FramePicture(*size, _jpeg(small), layers)


def _scaled(labels: LabelMap, size: tuple[int, int]) -> LabelMap:
    """Labels [height, width] by nearest neighbor; size: (width, height)."""
    width, height = size
    rows = (np.arange(height) * 2 + 1) * labels.shape[0] // (2 * height)
    columns = (np.arange(width) * 2 + 1) * labels.shape[1] // (2 * width)
    scaled: LabelMap = labels[rows[:, None], columns]
    return scaled


def _layer(indices: NDArray[np.int32], colors: Sequence[Color]) -> LabelLayer:
    # Colors by index: the classes, no class, and as -1 pixels that do not count.
    table = [*((*color, 255) for color in (*colors, NO_CLASS)), (0, 0, 0, 0)]
    present, counts = np.unique(indices, return_counts=True)
    rgba = np.array([table[index] for index in present.tolist()], np.uint8)
    places = np.searchsorted(present, indices)
    buffer = io.BytesIO()
    if len(present) > _PALETTE_SIZE:
        Image.fromarray(rgba[places]).save(buffer, "PNG", optimize=True)
    else:
        picture = Image.fromarray(places.astype(np.uint8))
        picture.putpalette(rgba[:, :3].tobytes())
        picture.save(buffer, "PNG", optimize=True, transparency=rgba[:, 3].tobytes())
    largest = present[np.argsort(-counts, kind="stable")].tolist()
    return LabelLayer(buffer.getvalue(), tuple(i for i in largest if 0 <= i < len(colors)))


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return buffer.getvalue()
