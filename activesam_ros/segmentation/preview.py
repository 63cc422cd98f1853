"""Step 1: the presence of queries at low resolution (ActiveSAM)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from activesam_ros.sam3.attention import at_least_float32
from activesam_ros.sam3.decoder import DecoderPart
from activesam_ros.sam3.model import ImageNetwork, ImageTokens, Prompts
from activesam_ros.segmentation.device.transfer import PendingCopy, Transfer


def preview(
    model: ImageNetwork,
    images: Sequence[ImageTokens],
    previewed: Sequence[Sequence[int]],
    prompts: Prompts,
    part: DecoderPart | None,
    bucket_size: int,
    transfer: Transfer,
) -> PendingCopy:
    """Begin to find the presence probability of the previewed queries; asynchronous.

    previewed: for each of ``images``, which of the ``prompts``, ascending and at least one. part:
    how much of the decoder to run, None for all of it. Gives for each image float32 [queries], or
    float64 where the model is.
    """
    presence = []
    for tokens, queries in zip(images, previewed, strict=True):
        chosen = prompts
        if len(queries) < len(prompts):
            chosen = prompts[transfer.send(torch.tensor(queries))]
        logits = [
            model.presence(tokens, chosen[start : start + bucket_size], part)[0]
            for start in range(0, len(chosen), bucket_size)
        ]
        presence.append(at_least_float32(torch.cat(logits)).sigmoid())  # [queries]
    return transfer.begin(*presence)
