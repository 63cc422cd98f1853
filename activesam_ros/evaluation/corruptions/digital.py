"""Digital corruptions: contrast, elastic deformation, coarse pixels and JPEG.

Each takes uint8 RGB [H, W, 3], a severity and random numbers, and returns values in 0..255 of the
same shape.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

_CONTRASTS = (0.4, 0.3, 0.2, 0.1, 0.05)
_COARSENESS = (0.6, 0.5, 0.4, 0.3, 0.25)
_QUALITIES = (25, 18, 15, 10, 7)
# displacement, smoothness and affine jitter, in units of the original's 244 pixels
_ELASTIC = (
    (2, 0.7, 0.1),
    (2, 0.08, 0.2),
    (0.05, 0.01, 0.02),
    (0.07, 0.01, 0.02),
    (0.12, 0.01, 0.02),
)
_ELASTIC_PIXELS = 244


def contrast(
    image: NDArray[np.uint8], severity: int, random: np.random.RandomState
) -> NDArray[np.float64]:
    """Scale every channel towards its mean."""
    pixels = image / 255.0
    means = pixels.mean(axis=(0, 1), keepdims=True)
    return np.asarray(np.clip((pixels - means) * _CONTRASTS[severity - 1] + means, 0, 1) * 255)


def elastic_transform(
    image: NDArray[np.uint8], severity: int, random: np.random.RandomState
) -> NDArray[np.float32]:
    """A random affine map near the identity, then a smooth random displacement of each pixel."""
    displacement, smoothness, jitter = (_ELASTIC_PIXELS * size for size in _ELASTIC[severity - 1])
    height, width = image.shape[:2]
    pixels = image.astype(np.float32) / np.float32(255)

    centre = np.array([width, height], np.float32) // 2
    reach = min(height, width) // 3
    before = centre + reach * np.array([[1, 1], [1, -1], [-1, -1]], np.float32)
    after = before + random.uniform(-jitter, jitter, size=before.shape).astype(np.float32)
    affine = cv2.getAffineTransform(before, after)
    pixels = cv2.warpAffine(  # type: ignore[assignment]
        pixels, affine, (width, height), borderMode=cv2.BORDER_REFLECT_101
    )

    def shift() -> NDArray[np.float32]:
        noise = random.uniform(-1, 1, size=(height, width))
        smooth = ndimage.gaussian_filter(noise, smoothness, mode="reflect", truncate=3)
        return np.asarray(smooth * displacement, np.float32)

    right, down = shift(), shift()
    rows, columns = np.mgrid[:height, :width]
    places = np.stack([rows + down, columns + right])
    channels = [
        ndimage.map_coordinates(channel, places, order=1, mode="reflect")
        for channel in np.moveaxis(pixels, -1, 0)
    ]
    return np.asarray(np.clip(np.stack(channels, axis=-1), 0, 1) * 255, np.float32)


def pixelate(
    image: NDArray[np.uint8], severity: int, random: np.random.RandomState
) -> NDArray[np.uint8]:
    """Scale down and up again, with a box filter both times."""
    height, width = image.shape[:2]
    share = _COARSENESS[severity - 1]
    small = Image.fromarray(image).resize(
        (int(width * share), int(height * share)), Image.Resampling.BOX
    )
    return np.array(small.resize((width, height), Image.Resampling.BOX))


def jpeg_compression(
    image: NDArray[np.uint8], severity: int, random: np.random.RandomState
) -> NDArray[np.uint8]:
    """Compress as a JPEG of low quality."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=_QUALITIES[severity - 1])
    with Image.open(stream) as picture:
        return np.array(picture)
