"""Images as the network sees them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from activesam_ros.errors import ImageError


def upload(image: NDArray[np.uint8], device: torch.device) -> Tensor:
    """uint8 RGB [H, W, 3] -> uint8 [1, 3, H, W] on ``device``.

    Raises ImageError when the array is not a colour image of at least one pixel.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(
            f"An image must be uint8 RGB of shape [H, W, 3], not {image.dtype} {image.shape}."
        )
    if not image.flags.writeable or not image.flags.c_contiguous:
        image = image.copy()  # torch can share neither read-only nor reversed memory
    return torch.from_numpy(image).to(device).permute(2, 0, 1)[None]


def network_pixels(image: Tensor, resolution: int, dtype: torch.dtype) -> Tensor:
    """uint8 [B, 3, H, W] -> [B, 3, resolution, resolution] in -1..1.

    Antialiased bilinear, rounded to whole grey levels in between, as SAM 3 was trained.
    """
    size = (resolution, resolution)
    if image.device.type == "cpu":
        resized = F.interpolate(image, size=size, mode="bilinear", antialias=True)
        # A table is several times as fast as arithmetic, and gives the same numbers.
        return torch.from_numpy(_normalized(_GREY_LEVELS).numpy()[resized.numpy()]).to(dtype)
    # Only the CPU resizes uint8; its rounding is done by hand.
    resized = F.interpolate(image.float(), size=size, mode="bilinear", antialias=True)
    return _normalized(resized.round().clamp(0, 255)).to(dtype)


_GREY_LEVELS = torch.arange(256, dtype=torch.float32)


def _normalized(grey_levels: Tensor) -> Tensor:
    """0..255 -> -1..1."""
    return (grey_levels * (1 / 255) - 0.5).div_(0.5)
