"""The image encoder: a ViT with window and global blocks, then a feature pyramid."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.plan import DENSE, Attend, BlockPlan, ImagePlan

ROTARY_THETA = 10000.0
LAYER_NORM_EPS = 1e-5


class Rotary(NamedTuple):
    """Cosines and sines of the axial 2-D rotary position, [tokens, head_dim / 2] each.

    float32, or float64 for a float64 network.
    """

    cos: Tensor
    sin: Tensor


class Pyramid(NamedTuple):
    """Image features at 4, 2 and 1 times the token grid, [B, d_model, height, width] each."""

    fine: Tensor
    middle: Tensor
    coarse: Tensor


def rotary_table(
    height: int,
    width: int,
    head_dim: int,
    *,
    scale: tuple[float, float],
    device: torch.device,
    dtype: torch.dtype,
) -> Rotary:
    """Rotary angles of a row-major grid; ``scale`` multiplies (row, column) positions.

    The first half of the channel pairs turns with the column, the second half with the row.
    dtype: the network's.
    """
    precise = torch.promote_types(dtype, torch.float32)
    exponent = torch.arange(0, head_dim, 4, dtype=precise, device=device) / head_dim
    frequency = 1.0 / ROTARY_THETA**exponent  # [head_dim / 4]
    rows = torch.arange(height, dtype=precise, device=device) * scale[0]
    columns = torch.arange(width, dtype=precise, device=device) * scale[1]
    # [height, width, head_dim / 4] each
    row_angle = torch.outer(rows, frequency)[:, None].expand(height, width, -1)
    column_angle = torch.outer(columns, frequency)[None].expand(height, width, -1)
    # float64 makes sines and cosines, and so every result, round alike on every device.
    angle = torch.cat((column_angle, row_angle), dim=-1).flatten(0, 1).double()
    return Rotary(angle.cos().to(precise), angle.sin().to(precise))


def rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Turn neighbouring channel pairs of x [..., tokens, head_dim] by the table's angles."""
    # [..., tokens, head_dim / 2] each
    even, odd = x.to(rotary.cos.dtype).unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack(
        (even * rotary.cos - odd * rotary.sin, even * rotary.sin + odd * rotary.cos), dim=-1
    )  # [..., tokens, head_dim / 2, 2]
    return turned.flatten(-2).to(x.dtype)


class Attention(nn.Module):
    """Self-attention with rotary position over [B, tokens, width]."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, rotary: Rotary, attend: Attend | None = None) -> Tensor:
        """[B, tokens, width] -> [B, tokens, width]; ``attend`` may replace the dense attention."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))  # [B, tokens, 3, heads, c]
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # [B, heads, tokens, c] each
        if attend is None:
            x = F.scaled_dot_product_attention(rotate(query, rotary), rotate(key, rotary), value)
        else:
            x = attend(rotate(query, rotary), rotate(key, rotary), value, key)
        projected: Tensor = self.proj(x.transpose(1, 2).flatten(2))
        return projected


class BlockMlp(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, *, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., width]."""
        output: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return output


class Block(nn.Module):
    """Pre-norm transformer block that attends in windows, or globally for window_size=None."""

    def __init__(self, *, width: int, heads: int, hidden: int, window_size: int | None) -> None:
        super().__init__()
        self.window_size = window_size
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = Attention(width=width, heads=heads)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = BlockMlp(width=width, hidden=hidden)

    def forward(self, x: Tensor, rotary: Rotary, plan: BlockPlan = DENSE) -> Tensor:
        """[B, height, width, channels] -> same; rotary covers one window or the whole grid."""
        x = x + self._attention(self.norm1(x), rotary, plan.attend)
        if plan.feed is not None:
            return plan.feed(x.flatten(1, 2), self._fed).view_as(x)
        return x + self._fed(x)

    def _fed(self, x: Tensor) -> Tensor:
        fed: Tensor = self.mlp(self.norm2(x))
        return fed

    def _attention(self, x: Tensor, rotary: Rotary, attend: Attend | None) -> Tensor:
        batch, height, width, _ = x.shape
        if self.window_size is None:
            attended: Tensor = self.attn(x.flatten(1, 2), rotary, attend)
            return attended.view_as(x)
        # [B * windows, window_size ** 2, channels]
        windows = self.attn(to_windows(x, self.window_size), rotary, attend)
        return from_windows(windows, self.window_size, batch, height, width)


def to_windows(x: Tensor, size: int) -> Tensor:
    """[B, H, W, C] -> [B * windows, size * size, C], padded with zeros to whole windows."""
    _, height, width, channels = x.shape
    x = F.pad(x, (0, 0, 0, -width % size, 0, -height % size))
    x = x.unflatten(2, (-1, size)).unflatten(1, (-1, size))  # [B, rows, size, columns, size, C]
    return x.transpose(2, 3).reshape(-1, size * size, channels)


def from_windows(x: Tensor, size: int, batch: int, height: int, width: int) -> Tensor:
    """Inverse of :func:`to_windows`; crops the padding -> [B, height, width, C]."""
    rows, columns = -(-height // size), -(-width // size)
    # [B, rows, size, columns, size, C]
    x = x.view(batch, rows, columns, size, size, -1).transpose(2, 3)
    return x.reshape(batch, rows * size, columns * size, -1)[:, :height, :width]


class PatchEmbed(nn.Module):
    """Projects non-overlapping patches to channels, without a bias."""

    def __init__(self, *, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, stride=patch_size, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, H / patch, W / patch, width]."""
        projected: Tensor = self.proj(pixels)  # [B, width, H / patch, W / patch]
        return projected.permute(0, 2, 3, 1)


class Trunk(nn.Module):
    """The ViT: patches, tiled absolute position, a norm, then the blocks."""

    def __init__(self, config: Sam3Config) -> None:
        super().__init__()
        width = config.vision_width
        self.window_size = config.window_size
        self.head_dim = width // config.vision_heads
        pretrain_side = config.pretrain_resolution // config.patch_size
        self.patch_embed = PatchEmbed(patch_size=config.patch_size, width=width)
        # Row 0 is the position of a class token that the image model drops.
        self.pos_embed = nn.Parameter(torch.empty(1, pretrain_side**2 + 1, width))
        self.ln_pre = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.blocks = nn.ModuleList(
            Block(
                width=width,
                heads=config.vision_heads,
                hidden=int(width * config.vision_mlp_ratio),
                window_size=None if index in config.global_attention_blocks else config.window_size,
            )
            for index in range(config.vision_layers)
        )
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, pixels: Tensor, plan: ImagePlan | None = None) -> Tensor:
        """[B, 3, H, W] -> [B, H / patch, W / patch, vision_width]."""
        x: Tensor = self.patch_embed(pixels)  # [B, height, width, vision_width]
        height, width = x.shape[1:3]
        x = self.ln_pre(x + self._absolute_position(height, width))
        window = rotary_table(
            self.window_size,
            self.window_size,
            self.head_dim,
            scale=(1.0, 1.0),
            device=x.device,
            dtype=x.dtype,
        )
        grid = rotary_table(
            height,
            width,
            self.head_dim,
            scale=(self.window_size / height, self.window_size / width),
            device=x.device,
            dtype=x.dtype,
        )
        plans = (DENSE,) * len(self.blocks) if plan is None else plan.trunk(height, width)
        for block, block_plan in zip(self.blocks, plans, strict=True):
            x = block(x, grid if block.window_size is None else window, block_plan)
        return x

    def _absolute_position(self, height: int, width: int) -> Tensor:
        """The pretrained table tiled over the grid -> [height, width, vision_width]."""
        table = self.pos_embed[0, 1:]  # [side * side, vision_width]
        side = round(table.shape[0] ** 0.5)
        rows = torch.arange(height, device=table.device) % side
        columns = torch.arange(width, device=table.device) % side
        grid: Tensor = table.unflatten(0, (side, side))
        return grid[rows[:, None], columns]


def _pyramid_level(config: Sam3Config, upsampling: int) -> nn.Sequential:
    """One level of the neck, which doubles the token grid ``upsampling`` times."""
    width, d_model = config.vision_width, config.d_model
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if upsampling == 2:
        layers["dconv_2x2_0"] = nn.ConvTranspose2d(width, width // 2, 2, stride=2)
        layers["gelu"] = nn.GELU()
        layers["dconv_2x2_1"] = nn.ConvTranspose2d(width // 2, width // 4, 2, stride=2)
    elif upsampling == 1:
        layers["dconv_2x2"] = nn.ConvTranspose2d(width, width // 2, 2, stride=2)
    layers["conv_1x1"] = nn.Conv2d(width // 2**upsampling, d_model, 1)
    layers["conv_3x3"] = nn.Conv2d(d_model, d_model, 3, padding=1)
    return nn.Sequential(layers)


class VisionEncoder(nn.Module):
    """Trunk and neck. The official neck has a fourth, half-size level that nothing reads."""

    def __init__(self, config: Sam3Config) -> None:
        super().__init__()
        self.trunk = Trunk(config)
        self.convs = nn.ModuleList(_pyramid_level(config, upsampling) for upsampling in (2, 1, 0))

    def forward(self, pixels: Tensor, plan: ImagePlan | None = None) -> Pyramid:
        """pixels [B, 3, H, W] in -1..1, sides multiples of the patch size -> Pyramid."""
        tokens = self.trunk(pixels, plan).permute(0, 3, 1, 2)  # [B, vision_width, h, w]
        fine, middle, coarse = (level(tokens) for level in self.convs)
        return Pyramid(fine, middle, coarse)

    def coarse(self, pixels: Tensor, plan: ImagePlan | None = None) -> Tensor:
        """The pyramid's coarse level alone, [B, d_model, H / patch, W / patch]."""
        *_, level = self.convs
        coarse: Tensor = level(self.trunk(pixels, plan).permute(0, 3, 1, 2))
        return coarse
