"""Blur: defocus, frosted glass, motion and zoom.

Each corruption takes uint8 RGB [H, W, 3], a severity and random numbers, and returns values in
0..255 of the same shape. Lengths are in pixels.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_DEFOCUS = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))  # radius, smoothing of the disk
_GLASS = ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2))  # sigma, reach, rounds
_MOTION = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))  # radius, sigma
_MOTION_ANGLE_DEG = 45.0
_ZOOMS = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))  # end, step

_SMALL_DISK = 8
_QUANTUM = 257  # ImageMagick computes with 16 bits and truncates the result to 8


def defocus_blur(
    image: NDArray[np.uint8], severity: int, random: np.random.RandomState
) -> NDArray[np.float64]:
    """Convolve with a disk."""
    radius, smoothing = _DEFOCUS[severity - 1]
    reach = max(radius, _SMALL_DISK)
    side = 3 if radius <= _SMALL_DISK else 5
    along = np.arange(-reach, reach + 1)
    disk = (along[:, None] ** 2 + along**2 <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(disk / disk.sum(), (side, side), sigmaX=smoothing)
    channels = [cv2.filter2D(channel, -1, kernel) for channel in np.moveaxis(image / 255.0, -1, 0)]
    return np.asarray(np.clip(np.stack(channels, axis=-1), 0, 1) * 255, np.float64)


def glass_blur(
    image: NDArray[np.uint8], severity: int, random: np.random.RandomState
) -> NDArray[np.float64]:
    """Smooth, move the color of a random neighbor to every pixel, and smooth again."""
    sigma, reach, rounds = _GLASS[severity - 1]
    scattered = (smoothed(image / 255.0, sigma) * 255).astype(np.uint8)
    for _ in range(rounds):
        scattered = _scattered(scattered, reach, random)
    return np.clip(smoothed(scattered / 255.0, sigma), 0, 1) * 255


def motion_blur(
    image: NDArray[np.uint8], severity: int, random: np.random.RandomState
) -> NDArray[np.uint8]:
    """Blur along a line within 45 degrees of horizontal."""
    radius, sigma = _MOTION[severity - 1]
    angle_deg = random.uniform(-_MOTION_ANGLE_DEG, _MOTION_ANGLE_DEG)
    return drawn_out(image, radius, sigma, angle_deg)


def zoom_blur(
    image: NDArray[np.uint8], severity: int, random: np.random.RandomState
) -> NDArray[np.float32]:
    """The mean of the image and enlargements of it, like a camera that moves forward."""
    factors = np.arange(1, *_ZOOMS[severity - 1])
    pixels = (image / 255.0).astype(np.float32)
    total = np.zeros_like(pixels)
    for factor in factors:
        total += enlarged(pixels, float(factor))
    return np.asarray(np.clip((pixels + total) / (len(factors) + 1), 0, 1) * 255, np.float32)


def smoothed(pixels: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Gaussian blur of each channel of [H, W, C]; border pixels are repeated."""
    return np.asarray(ndimage.gaussian_filter(pixels, (sigma, sigma, 0), mode="nearest"))


def drawn_out(
    image: NDArray[np.uint8], radius: float, sigma: float, angle_deg: float
) -> NDArray[np.uint8]:
    """ImageMagick's motion blur of [H, W] or [H, W, C].

    Each pixel becomes a weighted mean of 2 ``radius`` + 1 pixels in the direction ``angle_deg``.
    The weights are half a Gaussian of ``sigma``; border pixels are repeated.
    """
    steps = np.arange(2 * math.ceil(radius) + 1)
    weights = np.exp(-(steps**2) / (2.0 * sigma**2))
    weights /= weights.sum()
    down = np.ceil(steps * math.sin(math.radians(angle_deg)) - 0.5).astype(int)
    right = np.ceil(steps * math.cos(math.radians(angle_deg)) - 0.5).astype(int)
    height, width = image.shape[:2]
    top, left = -min(down.min(), 0), -min(right.min(), 0)
    borders = [(top, max(down.max(), 0)), (left, max(right.max(), 0))]
    borders += [(0, 0)] * (image.ndim - 2)
    wide = np.pad(image.astype(np.float64), borders, mode="edge")
    total = np.zeros(image.shape)
    for weight, row, column in zip(weights, top + down, left + right, strict=True):
        total += weight * wide[row : row + height, column : column + width]
    return (np.floor(total * _QUANTUM + 0.5) // _QUANTUM).astype(np.uint8)


def enlarged(
    pixels: NDArray[np.float32] | NDArray[np.float64], factor: float
) -> NDArray[np.float32] | NDArray[np.float64]:
    """The center of [H, W] or [H, W, C], enlarged bilinearly by ``factor`` to the full size."""
    if pixels.ndim == 3:
        channels = [enlarged(channel, factor) for channel in np.moveaxis(pixels, -1, 0)]
        stacked: NDArray[np.float32] = np.stack(channels, axis=-1)
        return stacked
    height, width = pixels.shape
    rows, columns = math.ceil(height / factor), math.ceil(width / factor)
    top, left = (height - rows) // 2, (width - columns) // 2
    large = ndimage.zoom(pixels[top : top + rows, left : left + columns], factor, order=1)
    top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
    middle: NDArray[np.float32] = large[top : top + height, left : left + width]
    return middle


def _scattered(
    image: NDArray[np.uint8], reach: int, random: np.random.RandomState
) -> NDArray[np.uint8]:
    """Every pixel at least ``reach`` from the border takes the color of a random near pixel.

    The original works in place, pixel by pixel from the lower right. It intends to swap two pixels
    but leaves the second unchanged. A source pixel may therefore already have the color of another
    pixel. This function follows such chains for all pixels at once.
    """
    height, width = image.shape[:2]
    place = np.arange(height * width).reshape(height, width)  # [H, W], index of each pixel
    rows = np.arange(height - reach, reach, -1)
    columns = np.arange(width - reach, reach, -1)
    steps = random.randint(-reach, reach, size=(len(rows), len(columns), 2))
    taken = (rows[:, None] + steps[..., 1]) * width + columns + steps[..., 0]
    own = rows[:, None] * width + columns

    source = place.reshape(-1).copy()
    source[own.reshape(-1)] = taken.reshape(-1)
    moves = np.zeros(height * width, bool)
    moves[own.reshape(-1)] = True
    before = moves[source] & (source > place.reshape(-1))  # the source already has its new color
    follow = np.where(before, source, place.reshape(-1))
    while not np.array_equal(follow, further := follow[follow]):
        follow = further
    return image.reshape(-1, image.shape[-1])[source[follow]].reshape(image.shape)
