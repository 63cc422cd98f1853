"""The heads: prompt match of every object query, semantic map and instance masks."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from activesam_ros.sam3.attention import Mlp, MultiheadAttention
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.vision_encoder import Pyramid

GROUP_NORM_GROUPS = 8
LOGIT_LIMIT = 12.0


class Skips(NamedTuple):
    """Pyramid levels convolved for the pixel decoder, once per image.

    middle: [B, d, 2h, 2w]; fine: [B, d, 4h, 4w].
    """

    middle: Tensor
    fine: Tensor

    def of(self, images: Tensor) -> Skips:
        """The rows of the images with these indices, int64 [K]; an index may occur many times."""
        return Skips(self.middle[images], self.fine[images])


def fold(weight: Tensor) -> Tensor:
    """A 3x3 kernel as the four 2x2 kernels that it amounts to on an upsampled image.

    weight: [out, in, 3, 3] -> [2 * 2 * out, in, 2, 2] in the same dtype, the phases (row, column)
    outermost, even before odd. Sums are in float32 or better; gradients pass.
    """
    precise = weight.to(torch.promote_types(weight.dtype, torch.float32))
    # [column phase, column, row phase, row, out, in]
    folded = _folded(_folded(precise, 2), 4)
    return folded.permute(2, 0, 4, 5, 3, 1).flatten(0, 2).to(weight.dtype)


def _folded(weight: Tensor, dim: int) -> Tensor:
    """Three taps along ``dim`` -> [phase, small pixel, ...].

    One tap of an even output row (or column) falls on the small pixel before it and two on its own.
    Two taps of an odd one fall on its own small pixel and one on the next.
    """
    first, middle, last = weight.unbind(dim)
    even = torch.stack((first, middle + last))
    odd = torch.stack((first + middle, last))
    return torch.stack((even, odd))


def convolve_skip(skip: Tensor, conv: nn.Conv2d) -> Tensor:
    """conv(skip), bias included: [B, d, 2h, 2w] -> [B, d, 2h, 2w], channels last."""
    skip = skip.contiguous(memory_format=torch.channels_last)
    convolved: Tensor = conv(skip).contiguous(memory_format=torch.channels_last)
    return convolved


def convolve_upsampled(x: Tensor, conv: nn.Conv2d, convolved_skip: Tensor) -> Tensor:
    """conv(skip + up(x)) for nearest upsampling, from :func:`convolve_skip` of the skip.

        conv(skip + up(x)) = conv(skip) + conv(up(x))

    The first term depends on the image only and serves every prompt. In the second, each output
    pixel depends on 2x2 pixels of x. Which ones, and with which sums of kernel taps, depends on
    whether its row and column are even or odd. So the second term is a 2x2 convolution with four
    times the outputs on the small grid.

    x: [K, d, h, w]; convolved_skip: [K or 1, d, 2h, 2w]. Returns [K, d, 2h, 2w], channels last.
    """
    count, width, rows, columns = x.shape
    x = x.contiguous(memory_format=torch.channels_last)
    kernel = fold(conv.weight).contiguous(memory_format=torch.channels_last)  # [4d, d, 2, 2]
    # Position p of the padded grid covers the small pixels p - 1 and p. The even output row 2r is
    # the even phase at p = r, the odd row 2r + 1 is the odd phase at p = r + 1.
    # [K, h + 1, w + 1, 2, 2, d]
    around = F.conv2d(x, kernel, padding=1).permute(0, 2, 3, 1).unflatten(-1, (2, 2, width))
    pair, row, column, row_phase, column_phase, _ = around.stride()
    phases = around.as_strided(
        (count, rows, 2, columns, 2, width),
        (pair, row, row + row_phase, column, column + column_phase, 1),
    )
    # [K or 1, h, 2, w, 2, d]
    skip = convolved_skip.permute(0, 2, 3, 1).unflatten(2, (columns, 2)).unflatten(1, (rows, 2))
    upsampled: Tensor = (skip + phases).flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)
    return upsampled


class PixelDecoder(nn.Module):
    """Upsamples the fused tokens; each stage adds a skip, convolves 3x3, norms and applies ReLU.

    The official decoder's last stage has no pyramid level and never runs; it is not built.
    """

    def __init__(self, config: Sam3Config) -> None:
        super().__init__()
        width = config.d_model
        stages = len(Pyramid._fields) - 1
        self.conv_layers = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1) for _ in range(stages)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(GROUP_NORM_GROUPS, width) for _ in range(stages))

    @property
    def convs(self) -> list[nn.Conv2d]:
        """The convolutions of all stages, coarse first."""
        return cast("list[nn.Conv2d]", list(self.conv_layers))

    def skips(self, middle: Tensor, fine: Tensor) -> Skips:
        """Convolve middle [B, d, 2h, 2w] and fine [B, d, 4h, 4w] for :meth:`forward`."""
        first, second = self.convs
        return Skips(convolve_skip(middle, first), convolve_skip(fine, second))

    def forward(self, memory: Tensor, skips: Skips) -> Tensor:
        """memory [K, d, h, w], skips of K images or of one image for all -> [K, d, 4h, 4w]."""
        x = memory
        for skip, conv, norm in zip(skips, self.convs, self.norms, strict=True):
            x = F.relu_(norm(convolve_upsampled(x, conv, skip)))  # doubles height and width
        return x


class MaskPredictor(nn.Module):
    """Mask embeddings of the object queries."""

    def __init__(self, config: Sam3Config) -> None:
        super().__init__()
        width = config.d_model
        self.mask_embed = Mlp([width, width, width, width])

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., d] -> [..., d]."""
        embedded: Tensor = self.mask_embed(hidden)
        return embedded


class MaskHead(nn.Module):
    """The semantic map of a prompt, and the embeddings that instance masks are made from."""

    def __init__(self, config: Sam3Config) -> None:
        super().__init__()
        width = config.d_model
        self.cross_attend_prompt = MultiheadAttention(width=width, heads=config.attention_heads)
        self.cross_attn_norm = nn.LayerNorm(width)
        self.pixel_decoder = PixelDecoder(config)
        self.mask_predictor = MaskPredictor(config)
        self.semantic_seg_head = nn.Conv2d(width, 1, 1)
        self.instance_seg_head = nn.Conv2d(width, width, 1)

    def skips(self, pyramid: Pyramid) -> Skips:
        """The skips for :meth:`pixels`, once per image."""
        return self.pixel_decoder.skips(pyramid.middle, pyramid.fine)

    def pixels(self, memory: Tensor, prompt: Tensor, prompt_mask: Tensor, skips: Skips) -> Tensor:
        """Pixel embeddings of K pairs of image and prompt.

        memory: [K, N, d]; prompt: [K, T, d]; prompt_mask: bool [K, 1, 1, T]; skips: from
        :meth:`skips`, of each pair's image (``skips.of(images)``) or of the one image of all pairs.
        Returns [K, d, 4h, 4w], channels last.
        """
        attended = self.cross_attend_prompt(
            self.cross_attn_norm(memory), prompt, prompt, prompt_mask
        )  # [K, N, d]
        memory = (memory + attended).transpose(1, 2)  # [K, d, N]
        height, width = skips.middle.shape[-2:]
        grid = memory.unflatten(-1, (height // 2, width // 2))  # [K, d, h, w]
        decoded: Tensor = self.pixel_decoder(grid, skips)
        return decoded

    def semantic(self, pixels: Tensor) -> Tensor:
        """Pixel embeddings [K, d, H, W] -> semantic logits [K, H, W]."""
        logits: Tensor = self.semantic_seg_head(pixels)  # [K, 1, H, W]
        return logits[:, 0]

    def instance_kernels(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """A 1x1 kernel and an offset per object query, with the instance convolution folded in.

        hidden: [..., d] -> kernels [..., d], offsets [...]. An object query's mask logits are
        ``kernel . pixel embedding + offset``. Both steps are linear, so folding them is exact.
        """
        embedded = self.mask_predictor(hidden)  # [..., d]
        weight = self.instance_seg_head.weight.flatten(1)  # [d, d]
        bias = self.instance_seg_head.bias
        assert bias is not None
        return embedded @ weight, embedded @ bias

    def kernels(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`instance_kernels`, with the semantic map's kernel and offset first.

        hidden: [K, Q, d] -> kernels [K, 1 + Q, d], offsets [K, 1 + Q].
        """
        kernels, offsets = self.instance_kernels(hidden)
        # [K, 1, d]
        semantic = self.semantic_seg_head.weight.flatten(1).expand(len(hidden), 1, -1)
        bias = self.semantic_seg_head.bias
        assert bias is not None
        return (
            torch.cat((semantic, kernels), dim=1),
            torch.cat((bias.expand(len(hidden), 1), offsets), dim=1),
        )


def instance_masks(pixels: Tensor, kernels: Tensor, offsets: Tensor) -> Tensor:
    """Mask logits [n, H, W] of a pair: pixels [d, H, W], kernels [n, d], offsets [n]."""
    embeddings = pixels.permute(1, 2, 0).flatten(0, 1)  # [H * W, d]; no copy if channels last
    masks: Tensor = (kernels @ embeddings.T).unflatten(-1, pixels.shape[-2:])  # [n, H, W]
    return masks + offsets[:, None, None]


class PromptMlp(nn.Module):
    """Residual MLP with an output norm."""

    def __init__(self, *, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, hidden), nn.Linear(hidden, width)])
        self.out_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., width]."""
        normed: Tensor = self.out_norm(x + self.layers[1](F.relu(self.layers[0](x))))
        return normed


class DotProductScoring(nn.Module):
    """Scores how well each object query matches the whole prompt."""

    def __init__(self, config: Sam3Config) -> None:
        super().__init__()
        width = config.d_model
        self.prompt_mlp = PromptMlp(width=width, hidden=config.ffn_dim)
        self.prompt_proj = nn.Linear(width, width)
        self.hs_proj = nn.Linear(width, width)

    def forward(self, hidden: Tensor, prompt: Tensor, valid: Tensor) -> Tensor:
        """hidden [K, queries, d], prompt [K, T, d], valid bool [K, T] -> logits [K, queries]."""
        weight = valid.to(prompt.dtype)[..., None]  # [K, T, 1]
        # [K, d]
        pooled = (self.prompt_mlp(prompt) * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
        scores: Tensor = self.hs_proj(hidden) @ self.prompt_proj(pooled)[..., None]  # [K, Q, 1]
        scaled: Tensor = scores[..., 0] * hidden.shape[-1] ** -0.5
        return scaled.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
