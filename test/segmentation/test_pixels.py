"""Images as the network sees them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from activesam_ros.segmentation.pixels import network_pixels, upload


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pixels_are_resized_to_whole_grey_levels_and_normalised(dtype: torch.dtype) -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    source = upload(image, torch.device("cpu"))
    pixels = network_pixels(source, 28, dtype)
    assert pixels.dtype == dtype
    assert pixels.shape == (1, 3, 28, 28)
    grey = F.interpolate(source, size=(28, 28), mode="bilinear", antialias=True)
    assert torch.equal(pixels, ((grey.float() * (1 / 255) - 0.5) / 0.5).to(dtype))
    assert pixels.min() < 0 < pixels.max()


def test_black_and_white_are_the_ends() -> None:
    image = np.zeros((2, 4, 3), np.uint8)
    image[:, 2:] = 255
    pixels = network_pixels(upload(image, torch.device("cpu")), 4, torch.float32)
    assert pixels.amin() == -1
    assert pixels.amax() == 1
