"""What is known of a device for as long as a network is loaded; all its segmenters share it."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import torch

from activesam_ros.segmentation.bucket_size import FreeMemory, free_memory
from activesam_ros.segmentation.score_merge import ScoreMerge
from activesam_ros.segmentation.transfer import Transfer
from activesam_ros.sparsity.attention import PatternAttention


@dataclass(frozen=True)
class DeviceSupport:
    """The faster ways of one device, with what is known of them.

    It belongs to the loaded network, so that a new segmenter, as every change of settings makes,
    neither tries nor compares nor logs anew.

    transfer: copies between the host and the device; merge: merges score maps; free_memory: asked
    where the settings leave the bucket size open.
    """

    transfer: Transfer
    merge: ScoreMerge = field(default_factory=ScoreMerge)
    free_memory: FreeMemory = free_memory

    @classmethod
    def of(cls, device: torch.device) -> DeviceSupport:
        """Nothing is tried yet."""
        return cls(Transfer(device))

    @functools.cached_property
    def attention(self) -> PatternAttention:
        """Block-sparse attention, made when first wanted: it imports PyTorch's compiler."""
        return PatternAttention()
