"""Losses of the heads, unweighted, in float32.

Masks and maps: binary cross-entropy and dice (V-Net, Milletari et al. 2016, eq. 5, without
squares). Prompt match: focal loss (Lin et al. 2017, eq. 5). Boxes: L1 and generalised
intersection over union (Rezatofighi et al. 2019).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# These keep the dice of an empty mask and the IoU of degenerate boxes finite.
_DICE_SMOOTHING = 1.0
_SMALLEST_AREA = 1e-9


def focal(logits: Tensor, targets: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Sigmoid focal loss of every element; positives weigh ``alpha``, negatives 1 - ``alpha``."""
    probability = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    missed = probability + targets - 2 * probability * targets
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return weight * missed**gamma * entropy


def map_entropy(logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Mean binary cross-entropy of each map over its valid cells.

    logits, targets (0..1) and valid (0..1, the share of a cell that counts): [N, H, W] -> [N].
    """
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (entropy * valid).sum((-2, -1)) / valid.sum((-2, -1)).clamp(min=1)


def dice(logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """One minus the dice coefficient of each map; shapes as in :func:`map_entropy` -> [N]."""
    probability = logits.sigmoid() * valid
    targets = targets * valid
    shared = 2 * (probability * targets).sum((-2, -1))
    total = probability.sum((-2, -1)) + targets.sum((-2, -1))
    return 1 - (shared + _DICE_SMOOTHING) / (total + _DICE_SMOOTHING)


def competition(logits: Tensor, shares: Tensor, rarest: float) -> Tensor:
    """Cross-entropy over the maps of the classes of one image, whose logits compete in each cell.

    logits: [K, H, W]. shares: [K, H, W], share of a cell that a class covers, in total at most 1.
    A class weighs 1 / sqrt(its share of the image + ``rarest``). Returns a scalar, 0 if no cell is
    covered.
    """
    weight = (shares.mean((1, 2), keepdim=True) + rarest).rsqrt()
    wanted = weight * shares
    return -(wanted * logits.log_softmax(0)).sum() / wanted.sum().clamp(min=1e-6)


def generalized_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Generalised IoU in -1..1 of boxes (cx, cy, w, h), [..., 4] each, broadcast -> [...]."""
    low, high = _corners(boxes)
    other_low, other_high = _corners(others)
    inner = (torch.minimum(high, other_high) - torch.maximum(low, other_low)).clamp(min=0)
    outer = torch.maximum(high, other_high) - torch.minimum(low, other_low)
    shared, hull = inner.prod(-1), outer.prod(-1).clamp(min=_SMALLEST_AREA)
    union = (high - low).prod(-1) + (other_high - other_low).prod(-1) - shared
    union = union.clamp(min=_SMALLEST_AREA)
    return shared / union - (hull - union) / hull


def _corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    center, size = boxes[..., :2], boxes[..., 2:]
    return center - size / 2, center + size / 2
