"""Nearest upsampling, skip connection and 3x3 convolution as one cheaper computation.

    conv(skip + up(x)) = conv(skip) + conv(up(x))        (methods.md section 5)

The first term belongs to the image and serves every prompt. In the second each output pixel sees
2x2 pixels of x only: which ones, and with which sums of kernel taps, depends on whether its row and
column are even or odd. So it is a 2x2 convolution with four times the outputs on the small grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def fold(weight: Tensor) -> Tensor:
    """A 3x3 kernel as the four 2x2 kernels it is on an upsampled image.

    weight: [out, in, 3, 3] -> [2 * 2 * out, in, 2, 2] in the same dtype, the phases (row, column)
    outermost, even before odd. Sums are taken in float32 at least; gradients pass.
    """
    precise = weight.to(torch.promote_types(weight.dtype, torch.float32))
    # [column phase, column, row phase, row, out, in]
    folded = _folded(_folded(precise, 2), 4)
    return folded.permute(2, 0, 4, 5, 3, 1).flatten(0, 2).to(weight.dtype)


def _folded(weight: Tensor, dim: int) -> Tensor:
    """Three taps along ``dim`` -> [phase, small pixel, ...].

    An even output row (or column) sees the small pixel before it with one tap and its own with two,
    an odd one its own with two and the next with one.
    """
    first, middle, last = weight.unbind(dim)
    even = torch.stack((first, middle + last))
    odd = torch.stack((first + middle, last))
    return torch.stack((even, odd))


def convolve_skip(skip: Tensor, conv: nn.Conv2d) -> Tensor:
    """The image's share: [B, d, 2h, 2w] -> [B, d, 2h, 2w], channels last, with conv's bias."""
    skip = skip.contiguous(memory_format=torch.channels_last)
    convolved: Tensor = conv(skip).contiguous(memory_format=torch.channels_last)
    return convolved


def convolve_upsampled(x: Tensor, conv: nn.Conv2d, convolved_skip: Tensor) -> Tensor:
    """conv(skip + nearest upsampling of x), given :func:`convolve_skip` of that skip.

    x: [K, d, h, w]; convolved_skip: [K or 1, d, 2h, 2w]. Returns [K, d, 2h, 2w], channels last.
    """
    count, width, rows, columns = x.shape
    x = x.contiguous(memory_format=torch.channels_last)
    kernel = fold(conv.weight).contiguous(memory_format=torch.channels_last)
    # Position p of the padded grid sees the small pixels p - 1 and p: an even output row 2r is the
    # even phase at p = r, the odd row 2r + 1 the odd phase at p = r + 1.
    around = F.conv2d(x, kernel, padding=1).permute(0, 2, 3, 1).unflatten(-1, (2, 2, width))
    pair, row, column, row_phase, column_phase, _ = around.stride()
    phases = around.as_strided(
        (count, rows, 2, columns, 2, width),
        (pair, row, row + row_phase, column, column + column_phase, 1),
    )
    skip = convolved_skip.permute(0, 2, 3, 1).unflatten(2, (columns, 2)).unflatten(1, (rows, 2))
    upsampled: Tensor = (skip + phases).flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)
    return upsampled
