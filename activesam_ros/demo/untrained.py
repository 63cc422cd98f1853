"""Write a small SAM 3 with random weights: it runs like a trained one, its masks mean nothing."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from activesam_ros.output_files import write_whole
from activesam_ros.sam3.checkpoint import parameter_shapes, unused_shapes
from activesam_ros.sam3.config import Sam3Config

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
# Deviation of biases, and of normalisation gains around one.
_SMALL = 0.02

UNTRAINED_CONFIG = Sam3Config(
    resolution=168,
    patch_size=14,
    pretrain_resolution=84,
    vision_width=96,
    vision_layers=4,
    vision_heads=3,
    vision_mlp_ratio=3.0,
    global_attention_blocks=(1, 3),
    window_size=6,
    text_width=32,
    text_heads=4,
    text_layers=2,
    d_model=32,
    attention_heads=4,
    ffn_dim=128,
    encoder_layers=2,
    decoder_layers=2,
    geometry_layers=1,
    num_queries=8,
)


def write_untrained(folder: Path, seed: int = 0, config: Sam3Config = UNTRAINED_CONFIG) -> Path:
    """Write ``model.safetensors`` in the official key layout and ``config.json`` beside it.

    Weights are normal with variance 1 / inputs, in half precision; the same ``seed`` gives the same
    weights. Returns their path.
    """
    shapes = {**parameter_shapes(config), **unused_shapes(config)}
    tensors = {key: _parameter(key, shape, seed) for key, shape in shapes.items()}
    write_whole(folder / CONFIG_NAME, config.to_json())
    weights = folder / WEIGHTS_NAME
    write_whole(weights, save(tensors))
    return weights


def _parameter(key: str, shape: tuple[int, ...], seed: int) -> Tensor:
    # Each tensor has its own generator, so that the order of the tensors does not matter.
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()) + (seed << 32))
    values = torch.randn(shape, generator=generator)
    if len(shape) > 1:
        values /= math.sqrt(math.prod(shape[1:]))
    else:
        values *= _SMALL
        if key.endswith("weight") and ("norm" in key or ".ln_" in key):
            values += 1.0
    return values.half()
