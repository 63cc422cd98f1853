"""Full-resolution decoding of active queries in buckets (methods.md section 2, decode)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from activesam_ros.sam3.model import ImageFeatures, Prompts, Sam3ImageModel


@dataclass(frozen=True)
class DecodedQuery:
    """One query's result on the mask grid.

    query: index in the vocabulary; presence: probability, 0-dim float32; probabilities: [objects]
    of the objects above the threshold; masks: logits [objects, Hm, Wm]; semantic: logits [Hm, Wm].
    """

    query: int
    presence: Tensor
    probabilities: Tensor
    masks: Tensor
    semantic: Tensor


def decode(
    model: Sam3ImageModel,
    features: ImageFeatures,
    prompts: Prompts,
    queries: Sequence[int],
    *,
    bucket_size: int,
    confidence_threshold: float,
) -> Iterator[DecodedQuery]:
    """Decode ``queries`` of one image in the order given.

    An object's probability is sigmoid(logit) x sigmoid(presence logit) (methods.md section 1).
    """
    for start in range(0, len(queries), bucket_size):
        bucket = queries[start : start + bucket_size]
        index = torch.tensor(bucket, device=prompts.tokens.device)
        detections = model.detect(features, prompts[index])
        presence = detections.presence_logits[0].float().sigmoid()
        probabilities = detections.logits[0].float().sigmoid() * presence[:, None]
        kept = probabilities > confidence_threshold
        counts = kept.sum(dim=1).tolist()
        objects = kept.nonzero()[:, 1].split(counts)
        for position, (query, selected) in enumerate(zip(bucket, objects, strict=True)):
            yield DecodedQuery(
                query=query,
                presence=presence[position],
                probabilities=probabilities[position, selected],
                masks=detections.masks(0, position, selected).float(),
                semantic=detections.semantic[0, position].float(),
            )
