"""What is known of a device for as long as a network is loaded; all its segmenters share it."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import torch

from activesam_ros.segmentation.device.bucket_size import FreeMemory, free_memory
from activesam_ros.segmentation.device.transfer import Transfer
from activesam_ros.segmentation.exclusive_decoding.kernel_or_bands import ConceptKernel
from activesam_ros.segmentation.score_maps.kernel_or_loop import ScoreMerge
from activesam_ros.sparsity.attention import PatternAttention


@dataclass(frozen=True)
class DeviceSupport:
    """The faster ways of one device, and what is known of them.

    It belongs to the loaded network. Every change of settings makes a new segmenter, which then
    does not try, compare and log again.

    transfer: copies between the host and the device. merge: merges score maps. free_memory: called
    where the settings leave the bucket size open. concepts: decodes images by signatures.
    """

    transfer: Transfer
    merge: ScoreMerge = field(default_factory=ScoreMerge)
    free_memory: FreeMemory = free_memory
    concepts: ConceptKernel = field(default_factory=ConceptKernel)

    @classmethod
    def of(cls, device: torch.device) -> DeviceSupport:
        """The support of a device of which nothing is known yet."""
        return cls(Transfer(device))

    @functools.cached_property
    def attention(self) -> PatternAttention:
        """Block-sparse attention, made at its first use, as it imports PyTorch's compiler."""
        return PatternAttention()
