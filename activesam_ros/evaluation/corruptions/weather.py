"""Weather: snow, frost, fog and brightness.

Each takes uint8 RGB [H, W, 3], a severity and random numbers, and returns values in 0..255 of the
same shape. Lengths are in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.evaluation.corruptions.blur import drawn_out, enlarged

_SMALLEST_MAP = 256
_FOG = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))  # density, decay of finer detail
_FROST = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))  # weights of image and frost
_BRIGHTER = (0.1, 0.2, 0.3, 0.4, 0.5)
_SNOW_ANGLES_DEG = (-135.0, -45.0)
_FIRST_WIBBLE = 100.0


@dataclass(frozen=True)
class _Snowfall:
    """How flakes are made of noise, and how the image turns pale.

    mean, deviation, threshold: of the noise; values below the threshold are no flake. enlargement:
    of the flakes. radius, sigma: of their motion blur. kept: weight of the unchanged image.
    """

    mean: float
    deviation: float
    enlargement: float
    threshold: float
    radius: float
    sigma: float
    kept: float


_SNOW = (
    _Snowfall(0.1, 0.3, 3, 0.5, 10, 4, 0.8),
    _Snowfall(0.2, 0.3, 2, 0.5, 12, 4, 0.7),
    _Snowfall(0.55, 0.3, 4, 0.9, 12, 8, 0.7),
    _Snowfall(0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    _Snowfall(0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)


def snow(
    image: NDArray[np.uint8], severity: int, random: np.random.RandomState
) -> NDArray[np.float64]:
    """Turn the scene pale and add flakes that fall from both sides."""
    fall = _SNOW[severity - 1]
    pixels = image.astype(np.float32) / np.float32(255)
    noise = random.normal(size=image.shape[:2], loc=fall.mean, scale=fall.deviation)
    flakes = enlarged(noise, fall.enlargement)
    flakes = np.where(flakes < fall.threshold, 0, flakes)
    drawn = drawn_out(
        (np.clip(flakes, 0, 1) * 255).astype(np.uint8),
        fall.radius,
        fall.sigma,
        random.uniform(*_SNOW_ANGLES_DEG),
    )
    layer = drawn[..., None] / 255.0
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None]
    pale = fall.kept * pixels + (1 - fall.kept) * np.maximum(pixels, grey * 1.5 + 0.5)
    return np.asarray(np.clip(pale + layer + np.rot90(layer, 2), 0, 1) * 255, np.float64)


@dataclass(frozen=True)
class Frost:
    """Blends an image with pictures of ice crystals (uint8 RGB [H, W, 3] of any size).

    The original's images are smaller than the pictures. Here a picture is enlarged until it exceeds
    the image in both directions.
    """

    pictures: tuple[NDArray[np.uint8], ...]

    def __call__(
        self, image: NDArray[np.uint8], severity: int, random: np.random.RandomState
    ) -> NDArray[np.float64]:
        of_image, of_frost = _FROST[severity - 1]
        height, width = image.shape[:2]
        picture = self.pictures[random.randint(len(self.pictures))]
        scale = max((height + 1) / picture.shape[0], (width + 1) / picture.shape[1])
        if scale > 1:
            rows, columns = (int(np.ceil(side * scale)) for side in picture.shape[:2])
            picture = np.asarray(
                cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_CUBIC), np.uint8
            )
        top = random.randint(0, picture.shape[0] - height)
        left = random.randint(0, picture.shape[1] - width)
        frost = picture[top : top + height, left : left + width]
        return np.clip(of_image * image.astype(np.float64) + of_frost * frost, 0, 255)


def fog(
    image: NDArray[np.uint8], severity: int, random: np.random.RandomState
) -> NDArray[np.float64]:
    """Fog of uneven density, as white as the brightest pixel."""
    density, decay = _FOG[severity - 1]
    height, width = image.shape[:2]
    side = max(_SMALLEST_MAP, 1 << (max(height, width) - 1).bit_length())
    pixels = image / 255.0
    brightest = pixels.max()
    banks = plasma(side, decay, random)[:height, :width, None]
    return np.asarray(
        np.clip((pixels + density * banks) * brightest / (brightest + density), 0, 1) * 255
    )


def brightness(
    image: NDArray[np.uint8], severity: int, random: np.random.RandomState
) -> NDArray[np.float64]:
    """Raise the value in HSV; hue and saturation stay."""
    pixels = image / 255.0
    value = pixels.max(axis=-1, keepdims=True)
    brighter = np.clip(value + _BRIGHTER[severity - 1], 0, 1)
    darker_than_value = np.divide(value - pixels, value, out=np.zeros_like(pixels), where=value > 0)
    return np.asarray(np.clip(brighter * (1 - darker_than_value), 0, 1) * 255)


def plasma(side: int, decay: float, random: np.random.RandomState) -> NDArray[np.float64]:
    """A cloudy height map of the diamond-square algorithm, float64 [side, side] in 0..1, periodic.

    side: a power of two. decay: each halving of the step divides the amplitude by this.
    """
    heights = np.zeros((side, side))
    step, wibble = side, _FIRST_WIBBLE

    def mean_and_wibble(sum_of_four: NDArray[np.float64]) -> NDArray[np.float64]:
        return sum_of_four / 4 + wibble * random.uniform(-wibble, wibble, sum_of_four.shape)

    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=0)
        heights[half::step, half::step] = mean_and_wibble(pairs + np.roll(pairs, -1, axis=1))
        centres = heights[half::step, half::step]
        beside = corners + np.roll(corners, -1, axis=1)
        above = centres + np.roll(centres, 1, axis=0)
        heights[::step, half::step] = mean_and_wibble(above + beside)
        below = corners + np.roll(corners, -1, axis=0)
        around = centres + np.roll(centres, 1, axis=1)
        heights[half::step, ::step] = mean_and_wibble(around + below)
        step, wibble = half, wibble / decay
    heights -= heights.min()
    return np.asarray(heights / heights.max())
