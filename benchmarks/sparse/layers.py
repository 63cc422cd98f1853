"""Single layers of a network: time and memory of its attention and MLPs at each density.

Each layer runs what a plan puts in place of the dense code, including the ordering of tokens, on
random tokens of one image. Time and memory do not depend on the weights.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from activesam_ros.pipeline import resolve_device, resolve_dtype
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.fusion_encoder import FusionLayer
from activesam_ros.sam3.vision_encoder import BlockMlp
from activesam_ros.sparsity.plan import Densities, SparsePlan, by_content
from benchmarks.clock import timed_ms
from benchmarks.tensor_memory import peak_mib

ROUNDS = 3

Work = Callable[[], object]


@dataclass(frozen=True)
class Setup:
    """The network's dimensions, and where its layers are measured."""

    config: Sam3Config
    device: torch.device
    dtype: torch.dtype

    @property
    def side(self) -> int:
        """Tokens along one side of the image."""
        return self.config.resolution // self.config.patch_size

    @property
    def window_block(self) -> int:
        """The first block that may be sparse."""
        return self.config.global_attention_blocks[0] + 1

    def plan(self, densities: Densities) -> SparsePlan:
        """The plan of Stripe-Sort by content."""
        return SparsePlan(self.config, densities, self.window_block, by_content)

    def random(self, *shape: int) -> Tensor:
        """Normally distributed numbers."""
        return torch.randn(*shape, device=self.device, dtype=self.dtype)


@dataclass(frozen=True)
class LayerRow:
    """time_ms: median. share: of the dense time. memory_mib: peak memory of tensors."""

    layer: str
    density: float
    time_ms: float
    share: float
    memory_mib: float


@torch.inference_mode()
def layer_rows(config: Sam3Config, device_name: str, densities: Sequence[float]) -> list[LayerRow]:
    """For each kind of layer a dense row and one for each density."""
    device = resolve_device(device_name)
    setup = Setup(config, device, resolve_dtype("auto", device))
    makers = (global_attention, window_attention, encoder_mlp, fusion_attention, fusion_mlp)
    rows: list[LayerRow] = []
    for make in tqdm(makers, desc="layers"):
        every = (1.0, *densities)
        works = [make(density, setup) for density in every]
        memory = [peak_mib(work, device) for work in works]  # which also warms up
        times: list[list[float]] = [[] for _ in works]
        for _ in range(ROUNDS):
            for place, work in enumerate(works):
                times[place].append(timed_ms(work, device))
        medians = [statistics.median(each) for each in times]
        name = make.__name__.replace("_", " ")
        rows += [
            LayerRow(name, density, median, median / medians[0], mib)
            for density, median, mib in zip(every, medians, memory, strict=True)
        ]
    return rows


def global_attention(density: float, setup: Setup) -> Work:
    """Attention of the image encoder over the whole grid."""
    block = setup.config.global_attention_blocks[1]
    return _encoder_attention(density, setup, block, 1, setup.side**2)


def window_attention(density: float, setup: Setup) -> Work:
    """Attention of the image encoder in all windows of one block."""
    windows = math.ceil(setup.side / setup.config.window_size) ** 2
    tokens = setup.config.window_size**2
    return _encoder_attention(density, setup, setup.window_block, windows, tokens)


def _encoder_attention(density: float, setup: Setup, block: int, batch: int, tokens: int) -> Work:
    heads = setup.config.vision_heads
    shape = (batch, heads, tokens, setup.config.vision_width // heads)
    query, key, value = setup.random(3, *shape).unbind()
    plan = setup.plan(Densities(encoder_attention=density))
    attend = plan.trunk(setup.side, setup.side)[block].attend
    if attend is None:
        return lambda: F.scaled_dot_product_attention(query, key, value)
    return lambda: attend(query, key, value, key)


def encoder_mlp(density: float, setup: Setup) -> Work:
    """MLP of a window block; the global block before it ranks the tokens, which is not timed."""
    width, heads = setup.config.vision_width, setup.config.vision_heads
    mlp = BlockMlp(width=width, hidden=int(width * setup.config.vision_mlp_ratio))
    mlp = mlp.to(device=setup.device, dtype=setup.dtype)
    x = setup.random(1, setup.side**2, width)
    blocks = setup.plan(Densities(encoder_mlp=density)).trunk(setup.side, setup.side)
    rank, feed = blocks[setup.window_block - 1].attend, blocks[setup.window_block].feed
    if rank is None or feed is None:
        return lambda: x + mlp(x)
    keys = setup.random(1, heads, setup.side**2, width // heads)
    rank(keys, keys, keys, keys)
    return lambda: feed(x, mlp)


def fusion_attention(density: float, setup: Setup) -> Work:
    """Attention of the fusion encoder for one prompt; ordering, once per image, is not timed."""
    heads, width = setup.config.attention_heads, setup.config.d_model
    query, key, value = setup.random(3, 1, heads, setup.side**2, width // heads).unbind()
    contents = key.transpose(1, 2).flatten(2)
    plan = setup.plan(Densities(fusion=density)).fusion(contents, setup.side, setup.side)
    attend = None if plan is None else plan.layers[1].attend
    if attend is None:
        return lambda: F.scaled_dot_product_attention(query, key, value)
    return lambda: attend(query, key, value, key)


def fusion_mlp(density: float, setup: Setup) -> Work:
    """MLP of the fusion encoder for one prompt."""
    config = setup.config
    layer = FusionLayer(width=config.d_model, heads=config.attention_heads, hidden=config.ffn_dim)
    layer = layer.to(device=setup.device, dtype=setup.dtype)
    x = setup.random(1, setup.side**2, config.d_model)

    def update(tokens: Tensor) -> Tensor:
        fed: Tensor = layer.linear2(F.relu(layer.linear1(layer.norm3(tokens))))
        return fed

    plan = setup.plan(Densities(fusion_mlp=density)).fusion(x, setup.side, setup.side)
    feed = None if plan is None else plan.layers[0].feed
    if feed is None:
        return lambda: x + update(x)
    return lambda: feed(x, update)
