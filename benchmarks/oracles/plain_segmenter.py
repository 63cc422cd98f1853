"""The plain segmenter: the oracle of tests and the yardstick of benchmarks.

It encodes the image twice, decodes in buckets, makes every query's maps at image size in a Python
loop, and keeps a score map of every class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from activesam_ros.sam3.model import Prompts, Sam3ImageModel
from activesam_ros.sam3.vision_encoder import Pyramid
from activesam_ros.segmentation import background
from activesam_ros.segmentation.active_set import select, with_pinned
from activesam_ros.segmentation.device.timing import StageTimer
from activesam_ros.segmentation.device.transfer import Transfer
from activesam_ros.segmentation.methods import METHODS, Method
from activesam_ros.segmentation.pixels import network_pixels, upload
from activesam_ros.segmentation.segmenter import Segmenter
from benchmarks.oracles import plain_network as plain
from benchmarks.oracles.plain_network import PlainDetections

State = TypeVar("State")


@dataclass(frozen=True)
class PlainSegmentation:
    """labels: [H, W] class ids; scores: float32 [classes, H, W]; the others as in Segmentation."""

    labels: NDArray[np.int32]
    scores: Tensor
    active_queries: tuple[int, ...]
    timings_ms: Mapping[str, float]


class PlainNetwork(Protocol[State]):
    """A network that computes everything for every pair of image and prompt."""

    def encode(self, pixels: Tensor) -> State:
        """Encode an image [1, 3, R, R] in -1..1 for the other methods."""
        ...

    def presence(self, state: State, prompts: Prompts) -> Tensor:
        """Presence logits [K] without masks."""
        ...

    def detect(self, state: State, prompts: Prompts) -> PlainDetections:
        """Compute every output for K prompts."""
        ...


class OwnNetwork:
    """The plain network on this package's modules."""

    def __init__(self, model: Sam3ImageModel) -> None:
        self._model = model

    def encode(self, pixels: Tensor) -> Pyramid:
        """The image encoder's output."""
        pyramid: Pyramid = self._model.vision_encoder(pixels)
        return pyramid

    def presence(self, state: Pyramid, prompts: Prompts) -> Tensor:
        """As PlainNetwork."""
        return plain.presence(self._model, state, prompts)

    def detect(self, state: Pyramid, prompts: Prompts) -> PlainDetections:
        """As PlainNetwork."""
        return plain.detect(self._model, state, prompts)


class PlainSegmenter:
    """Segments with the network, prompts, settings and method of a segmenter."""

    def __init__(self, segmenter: Segmenter, network: PlainNetwork[Any] | None = None) -> None:
        """network: replaces the segmenter's own."""
        self._segmenter = segmenter
        self._network: PlainNetwork[Any] = network or OwnNetwork(plain.modules_of(segmenter.model))
        self._steps = METHODS[segmenter.method]
        table = segmenter.prompts
        self._text = Prompts(table.features, table.padding)
        self._full = self._text
        if self._steps.expands:
            self._full = Prompts(
                torch.cat((table.features, table.context), dim=1),
                torch.cat((table.padding, table.context_padding), dim=1),
            )

    @torch.inference_mode()
    def segment(self, image: NDArray[np.uint8]) -> PlainSegmentation:
        """Segment one image, uint8 RGB [H, W, 3]."""
        segmenter = self._segmenter
        model, vocabulary = segmenter.model, segmenter.prompts.vocabulary
        timer = StageTimer(model.device)
        source = upload(image, Transfer(model.device))
        active = self._active(source, timer)
        with timer.stage("encode"):
            pixels = network_pixels(source, segmenter.resolution, model.dtype)
            state = self._network.encode(pixels)
        size = (image.shape[0], image.shape[1])
        # [classes, H, W]
        scores = torch.zeros((len(vocabulary.classes), *size), device=model.device)
        bucket_size = 1 if self._steps.one_by_one else segmenter.bucket_size
        for start in range(0, len(active), bucket_size):
            bucket = active[start : start + bucket_size]
            with timer.stage("decode"):
                index = torch.tensor(bucket, device=model.device)
                detections = self._network.detect(state, self._full[index])
            with timer.stage("fuse"):
                for position, query in enumerate(bucket):
                    score_map = self._score_map(detections, position, size)
                    row = scores[vocabulary.query_class[query]]
                    torch.maximum(row, score_map, out=row)
        with timer.stage("background"):
            labels = self._labels(scores).cpu().numpy()
        return PlainSegmentation(labels, scores, active, timer.finish())

    def _active(self, source: Tensor, timer: StageTimer) -> tuple[int, ...]:
        segmenter, settings = self._segmenter, self._segmenter.settings
        model, queries = segmenter.model, len(self._text)
        if not segmenter.previews:
            return tuple(range(queries))
        with timer.stage("preview_encode"):
            pixels = network_pixels(source, segmenter.preview_resolution, model.dtype)
            state = self._network.encode(pixels)
        with timer.stage("preview"):
            logits = [
                self._network.presence(state, self._text[start : start + segmenter.bucket_size])
                for start in range(0, queries, segmenter.bucket_size)
            ]
            found = torch.cat(logits).float().sigmoid().cpu()  # [K]
        selected = select(
            found, quantile_alpha=settings.quantile_alpha, max_active=settings.max_active
        )
        vocabulary = segmenter.prompts.vocabulary
        return with_pinned(selected, vocabulary.pinned_queries(settings.pinned))

    def _score_map(
        self, detections: PlainDetections, position: int, size: tuple[int, int]
    ) -> Tensor:
        """Score map [H, W] of one query of the bucket."""
        presence = detections.presence_logits[position].float().sigmoid()  # []
        probabilities = detections.logits[position].float().sigmoid() * presence  # [Q]
        kept = probabilities > self._segmenter.settings.confidence_threshold
        score_map = torch.zeros(size, device=probabilities.device)
        if kept.any():
            masks = _upsampled(detections.masks[position, kept], size)  # [kept, H, W]
            score_map = (masks * probabilities[kept, None, None]).amax(dim=0)
        if self._segmenter.method is Method.SAM3:
            return score_map
        semantic = _upsampled(detections.semantic[position, None], size)[0]
        return torch.maximum(score_map, semantic) * presence

    def _labels(self, scores: Tensor) -> Tensor:
        """Class ids, int32 [H, W]."""
        settings = self._segmenter.settings
        classes = self._segmenter.prompts.vocabulary.classes
        ids = torch.tensor([entry.id for entry in classes], dtype=torch.int32, device=scores.device)
        labels = ids[scores.argmax(dim=0)]
        threshold = settings.background_threshold
        if threshold <= 0:
            return labels
        # The padding is the second best, with score 0, in a vocabulary of one class.
        best, second = F.pad(scores, (0, 0, 0, 0, 0, 1)).topk(2, dim=0).values
        if self._steps.calibrates:
            empty = background.margin_aware(best, second, threshold, settings.mabc_exponent)
        else:
            empty = background.below_threshold(best, threshold)
        return labels.masked_fill(empty, settings.background_id)


def _upsampled(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Probabilities at image size: logits [n, Hm, Wm] -> [n, H, W]."""
    resized = F.interpolate(logits[None].float(), size=size, mode="bilinear")
    return resized[0].sigmoid()
