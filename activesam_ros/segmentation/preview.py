"""The cheap look at the whole vocabulary (methods.md section 2, preview)."""

from __future__ import annotations

import torch
from torch import Tensor

from activesam_ros.sam3.attention import at_least_float32
from activesam_ros.sam3.model import ImageTokens, Prompts, Sam3ImageModel


def presence_probabilities(
    model: Sam3ImageModel, features: ImageTokens, prompts: Prompts, bucket_size: int
) -> Tensor:
    """Presence probability of every prompt in one image -> [K] on the model's device.

    float32, or float64 where the model is.
    """
    logits = [
        model.presence(features, prompts[start : start + bucket_size])[0]
        for start in range(0, len(prompts), bucket_size)
    ]
    return at_least_float32(torch.cat(logits)).sigmoid()
