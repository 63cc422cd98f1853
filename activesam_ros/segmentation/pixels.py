"""Images as the network sees them: uploaded, resized and scaled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from activesam_ros.errors import ImageError
from activesam_ros.segmentation.device.transfer import Transfer


def upload(image: NDArray[np.uint8], transfer: Transfer) -> Tensor:
    """uint8 RGB [H, W, 3] -> uint8 [1, 3, H, W] on the device of ``transfer``.

    Raises ImageError when the array is not an RGB image of at least one pixel.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(
            f"An image must be uint8 RGB of shape [H, W, 3], not {image.dtype} {image.shape}."
        )
    if not image.flags.writeable or not image.flags.c_contiguous:
        image = image.copy()  # torch shares neither read-only memory nor negative strides
    return transfer.send(torch.from_numpy(image)).permute(2, 0, 1)[None]


def network_pixels(image: Tensor, resolution: int, dtype: torch.dtype) -> Tensor:
    """uint8 [B, 3, H, W] -> [B, 3, resolution, resolution] in -1..1.

    Antialiased bilinear, rounded to whole grey levels before scaling, as SAM 3 was trained.
    """
    size = (resolution, resolution)
    precise = torch.promote_types(dtype, torch.float32)
    if image.device.type == "cpu":
        levels = F.interpolate(image, size=size, mode="bilinear", antialias=True).to(precise)
    else:
        # Only the CPU kernel resizes uint8; other devices round here.
        levels = F.interpolate(image.to(precise), size=size, mode="bilinear", antialias=True)
        levels.round_().clamp_(0, 255)
    # In place, as memory bandwidth is the cost: [B, 3, resolution, resolution].
    return levels.mul_(1 / 255).sub_(0.5).div_(0.5).to(dtype)


class NetworkInputs:
    """Images as the network sees them, each made once per resolution and kept with this object."""

    def __init__(self, images: Sequence[Tensor], dtype: torch.dtype) -> None:
        """images: uint8 [1, 3, H, W] each, of any size."""
        self._images = images
        self._dtype = dtype
        self._made: dict[tuple[int, int], Tensor] = {}

    def one(self, place: int, resolution: int) -> Tensor:
        """The image at ``place``: [1, 3, resolution, resolution]; see :func:`network_pixels`."""
        made = self._made.get((place, resolution))
        if made is None:
            made = network_pixels(self._images[place], resolution, self._dtype)
            self._made[place, resolution] = made
        return made

    def batch(self, places: Sequence[int], resolution: int) -> Tensor:
        """The images at ``places``: [len(places), 3, resolution, resolution]."""
        made = [self.one(place, resolution) for place in places]
        return made[0] if len(made) == 1 else torch.cat(made)
