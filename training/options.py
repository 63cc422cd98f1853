"""Options of a training run: the network, the batches, the losses and the schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from activesam_ros.sam3.config import Sam3Config

# Ratio of the last to the highest learning rate of a stage.
LAST_RATE_SHARE = 0.02

# Small enough for three frames per second on two CPU cores.
DEMO_CONFIG = Sam3Config(
    resolution=288,
    patch_size=12,
    pretrain_resolution=96,
    vision_width=192,
    vision_layers=4,
    vision_heads=6,
    vision_mlp_ratio=3.0,
    global_attention_blocks=(1, 3),
    window_size=8,
    text_width=32,
    text_heads=4,
    text_layers=2,
    d_model=64,
    attention_heads=4,
    ffn_dim=192,
    encoder_layers=2,
    decoder_layers=2,
    geometry_layers=1,
    num_queries=24,
)


@dataclass(frozen=True)
class BatchOptions:
    """How a batch is composed.

    images: B. prompts: K, the same for all images. present_prompts: the largest number of them
    whose class is in some image. full_resolution_share: share of the steps at full resolution; the
    others use the preview's. synonym_share: share of the prompts. plain_share: share of the prompts
    without context tokens at full resolution, and with them in the preview. context_drop:
    probability that a context token is dropped. light: largest change of gain and offset.
    """

    images: int = 4
    prompts: int = 12
    present_prompts: int = 7
    full_resolution_share: float = 0.5
    synonym_share: float = 0.35
    plain_share: float = 0.3
    context_drop: float = 0.1
    light: float = 0.25


@dataclass(frozen=True)
class LossWeights:
    """The factor of each loss."""

    presence: float = 2.0
    probes: float = 2.0
    match: float = 2.0
    box: float = 5.0
    overlap: float = 2.0
    mask_entropy: float = 2.0
    mask_dice: float = 2.0
    semantic_entropy: float = 8.0
    semantic_dice: float = 4.0
    competition: float = 4.0


@dataclass(frozen=True)
class TrainingOptions:
    """One run of two stages. A resumed run needs the same options; only ``steps`` may change.

    Stage 1, the first ``encoder_share`` of the ``steps``, trains the image encoder alone, on the
    probes; stage 2 trains everything. Each stage has a warm-up and half a cosine, from
    ``encoder_rate`` and ``learning_rate``. In stage 2 the rate of the image encoder is multiplied
    by ``encoder_rate_share``, so that it keeps what it has learned.
    """

    seed: int = 0
    steps: int = 2000
    encoder_share: float = 0.0
    encoder_rate: float = 2e-3
    learning_rate: float = 1e-3
    encoder_rate_share: float = 0.2
    warmup_steps: int = 100
    weight_decay: float = 0.02
    gradient_norm: float = 1.0
    average_decay: float = 0.998
    encoder_batch: BatchOptions = field(default_factory=BatchOptions)
    batch: BatchOptions = field(default_factory=BatchOptions)
    weights: LossWeights = field(default_factory=LossWeights)

    @property
    def encoder_steps(self) -> int:
        """The step at which stage 2 begins."""
        return round(self.encoder_share * self.steps)

    def rate(self, step: int) -> float:
        """The learning rate at a step: in each stage a linear warm-up, then half a cosine."""
        highest, first, last = self.learning_rate, self.encoder_steps, self.steps
        if step < self.encoder_steps:
            highest, first, last = self.encoder_rate, 0, self.encoder_steps
        done = step - first
        if done < self.warmup_steps:
            return highest * (done + 1) / self.warmup_steps
        progress = (done - self.warmup_steps) / max(last - first - self.warmup_steps, 1)
        share = 0.5 * (1 + math.cos(math.pi * progress))
        return highest * (LAST_RATE_SHARE + (1 - LAST_RATE_SHARE) * share)

    def image_encoder_rate(self, step: int) -> float:
        """The learning rate of the image encoder at a step."""
        share = 1.0 if step < self.encoder_steps else self.encoder_rate_share
        return share * self.rate(step)
