"""Images as the network sees them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from activesam_ros.segmentation.device.transfer import Transfer
from activesam_ros.segmentation.pixels import NetworkInputs, network_pixels, upload

HOST = Transfer(torch.device("cpu"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pixels_are_resized_to_whole_grey_levels_and_normalised(dtype: torch.dtype) -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    source = upload(image, HOST)
    pixels = network_pixels(source, 28, dtype)
    assert pixels.dtype == dtype
    assert pixels.shape == (1, 3, 28, 28)
    grey = F.interpolate(source, size=(28, 28), mode="bilinear", antialias=True)
    assert torch.equal(pixels, ((grey.float() * (1 / 255) - 0.5) / 0.5).to(dtype))
    assert pixels.min() < 0 < pixels.max()


def test_black_and_white_are_the_ends() -> None:
    image = np.zeros((2, 4, 3), np.uint8)
    image[:, 2:] = 255
    pixels = network_pixels(upload(image, HOST), 4, torch.float32)
    assert pixels.amin() == -1
    assert pixels.amax() == 1


def test_each_image_is_made_once_for_each_resolution() -> None:
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (60, width, 3), dtype=np.uint8) for width in (80, 50)]
    sources = [upload(image, HOST) for image in images]
    inputs = NetworkInputs(sources, torch.float32)
    first = inputs.one(0, 28)
    assert torch.equal(first, network_pixels(sources[0], 28, torch.float32))
    assert inputs.one(0, 28) is first
    assert inputs.batch([0], 28) is first
    assert inputs.one(0, 14).shape == (1, 3, 14, 14)
    both = inputs.batch([1, 0], 28)
    assert torch.equal(both, torch.cat((inputs.one(1, 28), first)))
