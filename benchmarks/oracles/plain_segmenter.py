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

from activesam_ros.sam3.decoder import DecoderPart
from activesam_ros.sam3.model import Prompts, Sam3ImageModel
from activesam_ros.sam3.vision_encoder import Pyramid
from activesam_ros.segmentation import background
from activesam_ros.segmentation.active_set import Selection, with_pinned
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

    def presence(self, state: State, prompts: Prompts, part: DecoderPart | None = None) -> Tensor:
        """Presence logits [K] without masks; part: of the decoder, None for the whole."""
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

    def presence(self, state: Pyramid, prompts: Prompts, part: DecoderPart | None = None) -> Tensor:
        """As PlainNetwork."""
        return plain.presence(self._model, state, prompts, part)

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
        admitted = self._admitted(source, timer)
        with timer.stage("encode"):
            pixels = network_pixels(source, segmenter.resolution, model.dtype)
            state = self._network.encode(pixels)
        active, screened = admitted, dict[int, float]()
        if self._steps.by_presence and segmenter.previews:
            with timer.stage("decode"):
                active, screened = self._screened(state, admitted)
        size = (image.shape[0], image.shape[1])
        # [classes, H, W]
        scores = torch.zeros((len(vocabulary.classes), *size), device=model.device)
        presence = torch.zeros(len(vocabulary.classes), device=model.device)  # [classes]
        for query, value in screened.items():
            if query not in active:
                presence[vocabulary.query_class[query]] = max(
                    value, float(presence[vocabulary.query_class[query]])
                )
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
                    found = detections.presence_logits[position].float().sigmoid()
                    one = presence[vocabulary.query_class[query]]
                    torch.maximum(one, found, out=one)
        with timer.stage("background"):
            if segmenter.signatures is None:
                labels = self._labels(scores).cpu().numpy()
            else:
                classes = sorted({vocabulary.query_class[query] for query in admitted})
                labels = self._by_signature(scores, presence, classes)
        return PlainSegmentation(labels, scores, active, timer.finish())

    def _screened(
        self, state: Any, admitted: tuple[int, ...]
    ) -> tuple[tuple[int, ...], dict[int, float]]:
        """The queries to decode, and the presence of every admitted one after one layer."""
        settings = self._segmenter.settings
        part = DecoderPart(1, self._segmenter.model.config.num_queries)
        kept: set[int] = set(self._segmenter.pinned_queries)
        screened: dict[int, float] = {}
        for start in range(0, len(admitted), settings.screening_chunk):
            chunk = admitted[start : start + settings.screening_chunk]
            index = torch.tensor(chunk, device=self._segmenter.model.device)
            presence = self._network.presence(state, self._full[index], part).float().sigmoid()
            found = dict(zip(chunk, presence.tolist(), strict=True))
            screened |= found
            passed = {query for query, value in found.items() if value >= settings.tau}
            kept |= passed or {max(found, key=lambda query: found[query])}
        return tuple(sorted(kept)), screened

    def _by_signature(
        self, scores: Tensor, presence: Tensor, classes: list[int]
    ) -> NDArray[np.int32]:
        """Class ids [H, W] by exclusive concept decoding, pixel arrays in float64."""
        signatures, settings = self._segmenter.signatures, self._segmenter.settings
        assert signatures is not None
        vocabulary = self._segmenter.prompts.vocabulary
        signatures = signatures.for_names([entry.name for entry in vocabulary.classes])
        maps = scores[classes].double().cpu().numpy()  # [n, H, W]
        prior = presence[classes].double().cpu().numpy() * np.exp(signatures.log_mass[classes])
        best = maps.argmax(axis=0)  # [H, W]

        def fit(rows: NDArray[np.float32]) -> NDArray[np.float64]:
            chosen = rows[np.ix_(classes, classes)].astype(np.float64)
            distance = ((maps[None] - chosen[:, :, None, None]) ** 2).sum(axis=1)  # [n, H, W]
            result: NDArray[np.float64] = -distance / (2 * settings.sigma**2)
            return result

        votes = []
        for rows in (signatures.winning, signatures.exclusive):
            logits = fit(rows) + np.log(prior + 1e-3)[:, None, None]
            votes.append(np.where(maps == 0, -1e300, logits).argmax(axis=0))
        place = np.where(votes[0] == votes[1], votes[0], best)
        known = signatures.calibrated[classes]
        place = np.where(known[best] & known[place], place, best)
        ids = np.array([vocabulary.classes[index].id for index in classes], np.int32)
        labels: NDArray[np.int32] = ids[place]
        return labels

    def _admitted(self, source: Tensor, timer: StageTimer) -> tuple[int, ...]:
        segmenter, settings = self._segmenter, self._segmenter.settings
        model, queries = segmenter.model, len(self._text)
        if not segmenter.previews:
            return tuple(range(queries))
        with timer.stage("preview_encode"):
            pixels = network_pixels(source, segmenter.preview_resolution, model.dtype)
            state = self._network.encode(pixels)
        with timer.stage("preview"):
            part = None
            if self._steps.by_presence:
                part = DecoderPart(settings.preview_layers, settings.preview_queries)
            size = segmenter.bucket_size
            logits = [
                self._network.presence(state, self._text[start : start + size], part)
                for start in range(0, queries, size)
            ]
            found = torch.cat(logits).float().sigmoid().cpu()  # [K]
        selected = Selection(self._steps.by_presence, self._steps.resolved(settings))(found)
        always = self._steps.admitted_always(segmenter.prompts.vocabulary, settings)
        return with_pinned(selected, always)

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
        # The padding is the second best, with score 0, in a vocabulary of one class.
        best, second = F.pad(scores, (0, 0, 0, 0, 0, 1)).topk(2, dim=0).values
        if threshold <= 0:
            empty = best <= 0
        elif self._steps.calibrates:
            empty = background.margin_aware(best, second, threshold, settings.mabc_exponent)
        else:
            empty = background.below_threshold(best, threshold)
        return labels.masked_fill(empty, self._segmenter.background_id)


def _upsampled(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Probabilities at image size: logits [n, Hm, Wm] -> [n, H, W]."""
    resized = F.interpolate(logits[None].float(), size=size, mode="bilinear")
    return resized[0].sigmoid()
