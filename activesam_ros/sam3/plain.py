"""The straightforward computations that cheaper ones stand for: the oracle of tests, benchmarks.

Nothing that segments images imports this file.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from activesam_ros.sam3.mask_head import PixelDecoder


def decode_pixels(decoder: PixelDecoder, memory: Tensor, middle: Tensor, fine: Tensor) -> Tensor:
    """What the pixel decoder does, step by step, for every pair of image and prompt.

    memory [K, d, h, w], middle [K, d, 2h, 2w], fine [K, d, 4h, 4w] -> [K, d, 4h, 4w].
    """
    x = memory
    for skip, conv, norm in zip((middle, fine), decoder.convs, decoder.norms, strict=True):
        x = skip + F.interpolate(x, size=skip.shape[-2:], mode="nearest")
        x = F.relu(norm(conv(x)))
    return x
