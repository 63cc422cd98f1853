"""The heads: prompt match of every query, semantic map and instance masks."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from activesam_ros.sam3.attention import Mlp, MultiheadAttention
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.upsampling import convolve_skip, convolve_upsampled
from activesam_ros.sam3.vision_encoder import Pyramid

GROUP_NORM_GROUPS = 8
LOGIT_LIMIT = 12.0


class Skips(NamedTuple):
    """The pyramid's share of the pixel decoder, once per image: [B, d, 2h, 2w], [B, d, 4h, 4w]."""

    middle: Tensor
    fine: Tensor

    def of(self, images: Tensor) -> Skips:
        """Those of the images with these indices, int64 [K]; an index may occur many times."""
        return Skips(self.middle[images], self.fine[images])


class PixelDecoder(nn.Module):
    """Fused tokens back up the pyramid: nearest upsampling, skip, 3x3 convolution, norm, ReLU.

    The official decoder's last stage has no pyramid level to run on; it is not built.
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
        """One convolution a stage, coarse first."""
        return cast("list[nn.Conv2d]", list(self.conv_layers))

    def skips(self, middle: Tensor, fine: Tensor) -> Skips:
        """middle [B, d, 2h, 2w] and fine [B, d, 4h, 4w] -> what forward takes of them."""
        first, second = self.convs
        return Skips(convolve_skip(middle, first), convolve_skip(fine, second))

    def forward(self, memory: Tensor, skips: Skips) -> Tensor:
        """memory [K, d, h, w], skips of K images or of one for all -> [K, d, 4h, 4w]."""
        x = memory
        for skip, conv, norm in zip(skips, self.convs, self.norms, strict=True):
            x = F.relu_(norm(convolve_upsampled(x, conv, skip)))
        return x


class MaskPredictor(nn.Module):
    """Mask embeddings of the decoder's queries."""

    def __init__(self, config: Sam3Config) -> None:
        super().__init__()
        width = config.d_model
        self.mask_embed = Mlp([width, width, width, width])

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., d] -> [..., d]."""
        embedded: Tensor = self.mask_embed(hidden)
        return embedded


class MaskHead(nn.Module):
    """Semantic map of the prompt, and what instance masks are made from."""

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
        """What :meth:`pixels` takes of the pyramid, once per image."""
        return self.pixel_decoder.skips(pyramid.middle, pyramid.fine)

    def pixels(self, memory: Tensor, prompt: Tensor, prompt_mask: Tensor, skips: Skips) -> Tensor:
        """Pixel embeddings of K pairs of image and prompt.

        memory: [K, N, d]; prompt: [K, T, d]; prompt_mask: bool [K, 1, 1, T]; skips: from
        :meth:`skips`, of each pair's image (``skips.of(images)``) or of the one image of all pairs.
        Returns [K, d, 4h, 4w], channels last.
        """
        attended = self.cross_attend_prompt(
            self.cross_attn_norm(memory), prompt, prompt, prompt_mask
        )
        memory = (memory + attended).transpose(1, 2)
        height, width = skips.middle.shape[-2:]
        grid = memory.unflatten(-1, (height // 2, width // 2))
        decoded: Tensor = self.pixel_decoder(grid, skips)
        return decoded

    def semantic(self, pixels: Tensor) -> Tensor:
        """Pixel embeddings [K, d, H, W] -> semantic logits [K, H, W]."""
        logits: Tensor = self.semantic_seg_head(pixels)
        return logits[:, 0]

    def instance_kernels(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """A 1x1 kernel and an offset per query, with the instance convolution folded in.

        hidden: [..., d] -> kernels [..., d], offsets [...]; a query's mask logits are
        ``kernel . pixel embedding + offset``. Exact: convolution and dot product are linear.
        """
        embedded = self.mask_predictor(hidden)
        weight = self.instance_seg_head.weight.flatten(1)
        bias = self.instance_seg_head.bias
        assert bias is not None
        return embedded @ weight, embedded @ bias

    def kernels(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`instance_kernels`, with those of the semantic map before them.

        hidden: [K, Q, d] -> kernels [K, 1 + Q, d], offsets [K, 1 + Q].
        """
        kernels, offsets = self.instance_kernels(hidden)
        semantic = self.semantic_seg_head.weight.flatten(1).expand(len(hidden), 1, -1)
        bias = self.semantic_seg_head.bias
        assert bias is not None
        return (
            torch.cat((semantic, kernels), dim=1),
            torch.cat((bias.expand(len(hidden), 1), offsets), dim=1),
        )


def instance_masks(pixels: Tensor, kernels: Tensor, offsets: Tensor) -> Tensor:
    """Mask logits [n, H, W] of a pair: pixels [d, H, W], kernels [n, d], offsets [n]."""
    embeddings = pixels.permute(1, 2, 0).flatten(0, 1)  # channels lie innermost: no copy
    masks: Tensor = (kernels @ embeddings.T).unflatten(-1, pixels.shape[-2:])
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
    """How well each query matches the prompt as a whole."""

    def __init__(self, config: Sam3Config) -> None:
        super().__init__()
        width = config.d_model
        self.prompt_mlp = PromptMlp(width=width, hidden=config.ffn_dim)
        self.prompt_proj = nn.Linear(width, width)
        self.hs_proj = nn.Linear(width, width)

    def forward(self, hidden: Tensor, prompt: Tensor, valid: Tensor) -> Tensor:
        """hidden [K, queries, d], prompt [K, T, d], valid bool [K, T] -> logits [K, queries]."""
        weight = valid.to(prompt.dtype)[..., None]
        pooled = (self.prompt_mlp(prompt) * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
        scores: Tensor = self.hs_proj(hidden) @ self.prompt_proj(pooled)[..., None]
        scaled: Tensor = scores[..., 0] * hidden.shape[-1] ** -0.5
        return scaled.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
