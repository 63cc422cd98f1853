"""Noise: Gaussian, shot and impulse, independent for each value.

Each takes uint8 RGB [H, W, 3], a severity and random numbers, and returns values in 0..255 of the
same shape.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_DEVIATIONS = (0.08, 0.12, 0.18, 0.26, 0.38)
_PHOTONS = (60, 25, 12, 5, 3)
_STRUCK = (0.03, 0.06, 0.09, 0.17, 0.27)


def gaussian_noise(
    image: NDArray[np.uint8], severity: int, random: np.random.RandomState
) -> NDArray[np.float64]:
    """Add normal noise, as in low light. The deviation is a share of full brightness."""
    noise = random.normal(size=image.shape, scale=_DEVIATIONS[severity - 1])
    return np.clip(image / 255.0 + noise, 0, 1) * 255


def shot_noise(
    image: NDArray[np.uint8], severity: int, random: np.random.RandomState
) -> NDArray[np.float64]:
    """Poisson noise, as if full brightness were only ``photons`` photons."""
    photons = _PHOTONS[severity - 1]
    return np.clip(random.poisson(image / 255.0 * photons) / photons, 0, 1) * 255


def impulse_noise(
    image: NDArray[np.uint8], severity: int, random: np.random.RandomState
) -> NDArray[np.float64]:
    """Set a share of all values to the maximum or to zero, with equal probability."""
    struck = random.random_sample(image.shape) <= _STRUCK[severity - 1]
    full = random.random_sample(image.shape) <= 0.5
    return np.where(struck, np.where(full, 255.0, 0.0), image / 255.0 * 255)
