"""ActiveSAM and SegEarth-OV3 written out from their description, on Meta's own modules.

One step after the other, every map at image size, in the current precision (in_double() in
references.py for float64). Nothing is shared with activesam_ros but the vocabulary and the words
that reach the text encoder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from references import CONFIG, FOLDER, MetaModules
from torch import Tensor

from activesam_ros.prompts.compile import PromptStyle, PromptWords, prompt_words
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.sam3.tokenizer import Tokenizer
from activesam_ros.settings import Settings


@dataclass(frozen=True)
class Case:
    """A golden frame, and the method that segments it."""

    name: str
    segearth: bool

    @property
    def key(self) -> str:
        """What the case's arrays are called by, and its file of stored float32 results."""
        return f"{self.name}.segearth" if self.segearth else self.name

    @property
    def settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = json.loads((FOLDER / f"{self.name}.json").read_text())
        if self.segearth:
            with np.load(FOLDER / f"{self.key}.npz") as stored:
                settings["confidence_threshold"] = float(stored["confidence_threshold"])
        return settings

    @property
    def vocabulary(self) -> Vocabulary:
        return load_vocabulary(str(FOLDER / self.settings["vocabulary"]))


NAMES = ("aliases_background", "aliases_no_preview", "background", "no_background")
CASES = (
    *(Case(name, segearth=False) for name in NAMES),
    *(Case(name, segearth=True) for name in ("background", "no_background")),
)


@dataclass(frozen=True)
class Frame:
    """presence: [K] of every query in the preview, None for SegEarth-OV3; active: the queries that
    are decoded; outputs: what the network says about them, by Meta's names.
    """

    presence: Tensor | None
    active: list[int]
    outputs: dict[str, Tensor]


class Prompts:
    """What the network is asked about K queries: tokens [K, T, d] and padding bool [K, T]."""

    def __init__(self, words: PromptWords, network: MetaModules) -> None:
        self._network = network
        token_ids, self.text_padding = _tokens(words.prompts)
        self.text, _ = network.text(token_ids)
        self.tokens, self.padding = self.text, self.text_padding
        if not words.neighbor_count and not words.hypernym_count:
            return
        pooled = self._pooled(words.prompts)  # [K, text_width]
        self.tokens = torch.cat((self.text, *self._extra(words, pooled)), dim=1)
        missing = [
            [False] * words.neighbor_count
            + [place >= len(names) for place in range(words.hypernym_count)]
            for names in words.hypernyms
        ]
        self.padding = torch.cat((self.text_padding, torch.tensor(missing)), dim=1)

    def _extra(self, words: PromptWords, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Neighbour tokens [K, neighbours, d] and hypernym tokens [K, hypernyms, d]."""
        unit = pooled / pooled.norm(dim=1, keepdim=True)
        similarity = (unit @ unit.T).fill_diagonal_(-torch.inf)
        nearest = similarity.topk(words.neighbor_count, dim=1)
        weights = nearest.values.softmax(dim=1)  # [K, neighbours]
        neighbors = self._network.project(pooled[nearest.indices] * weights[..., None])
        hypernyms = torch.zeros(len(pooled), words.hypernym_count, CONFIG.d_model)
        for query, names in enumerate(words.hypernyms):
            if names:
                hypernyms[query, : len(names)] = self._network.project(self._pooled(names))
        return neighbors, hypernyms

    def _pooled(self, texts: Sequence[str]) -> Tensor:
        """Mean input embedding of the tokens that are not padding, [N, text_width]."""
        token_ids, padding = _tokens(texts)
        _, embeddings = self._network.text(token_ids)
        return torch.stack(
            [rows[~unused].mean(dim=0) for rows, unused in zip(embeddings, padding, strict=True)]
        )


def _tokens(texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    token_ids = torch.from_numpy(Tokenizer(CONFIG.context_length).encode(texts))
    return token_ids, token_ids == 0


def resized(image: NDArray[np.uint8], resolution: int) -> NDArray[np.uint8]:
    """The network's input in whole grey levels: [H, W, 3] -> [3, R, R]."""
    channels_first = torch.from_numpy(image).permute(2, 0, 1)[None]
    size = (resolution, resolution)
    levels: NDArray[np.uint8] = F.interpolate(
        channels_first, size=size, mode="bilinear", antialias=True
    )[0].numpy()
    return levels


def normalised(levels: NDArray[np.uint8]) -> Tensor:
    """[3, R, R] -> [1, 3, R, R] in -1..1."""
    return ((torch.tensor(levels, dtype=torch.get_default_dtype()) / 255 - 0.5) / 0.5)[None]


def segment(
    case: Case,
    pixels: NDArray[np.uint8],
    preview: NDArray[np.uint8],
    bucket: int,
    active: list[int] | None = None,
) -> Frame:
    """Everything up to the scores; pixels and preview: the resized image, uint8 [3, R, R] each.

    active: the queries to decode, None for those that the preview leaves.
    """
    settings = case.settings
    style = PromptStyle.PLAIN if case.segearth else PromptStyle.EXPANDED
    words = prompt_words(case.vocabulary, Settings(), style)
    network = MetaModules(CONFIG.resolution)
    prompts = Prompts(words, network)
    presence = None
    found = list(range(len(words.prompts)))
    if not case.segearth:
        small = MetaModules(settings["preview_resolution"])
        image = small.encode(normalised(preview))
        seen = small.detect(image, prompts.text, prompts.text_padding, bucket)
        presence = seen["presence_logit_dec"].flatten().sigmoid()
        found = active_queries(presence, settings)
    active = found if active is None else active
    image = network.encode(normalised(pixels))
    outputs = network.detect(image, prompts.tokens[active], prompts.padding[active], bucket)
    return Frame(presence, active, outputs)


def active_queries(presence: Tensor, settings: Mapping[str, Any]) -> list[int]:
    """Which queries the preview's presence [K] leaves."""
    if len(presence) <= settings["max_active"]:
        return list(range(len(presence)))
    limit = torch.quantile(presence, 1 - settings["quantile_alpha"])
    kept = [query for query in range(len(presence)) if presence[query] >= limit]
    kept.sort(key=lambda query: -float(presence[query]))
    return sorted(kept[: settings["max_active"]])


def class_scores(case: Case, frame: Frame, threshold: float, size: tuple[int, int]) -> Tensor:
    """Of every class [C, H, W]; objects above ``threshold`` count."""
    vocabulary, outputs = case.vocabulary, frame.outputs
    scores = torch.zeros(len(vocabulary.classes), *size)
    objects = object_probabilities(outputs)
    for place, query in enumerate(frame.active):
        score = enlarged(outputs["semantic_seg"][place], size)[0]
        kept = objects[place] > threshold
        if kept.any():
            masks = enlarged(outputs["pred_masks"][place, kept], size)
            score = score.maximum((masks * objects[place, kept, None, None]).amax(dim=0))
        row = scores[vocabulary.query_class[query]]
        torch.maximum(row, score * outputs["presence_logit_dec"][place].sigmoid(), out=row)
    return scores


def object_probabilities(outputs: Mapping[str, Tensor]) -> Tensor:
    """Of the objects of each decoded query, [K, Q]."""
    return outputs["pred_logits"][..., 0].sigmoid() * outputs["presence_logit_dec"].sigmoid()


def enlarged(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits [n, Hm, Wm] -> probabilities [n, H, W]."""
    return F.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0].sigmoid()


def labels(case: Case, scores: Tensor) -> NDArray[np.uint8]:
    """Class ids [H, W] from the scores of every class."""
    settings = case.settings
    ids = torch.tensor([entry.id for entry in case.vocabulary.classes], dtype=torch.uint8)
    chosen = ids[scores.argmax(dim=0)]
    threshold = settings["background_threshold"]
    if threshold > 0:
        best, second = scores.topk(2, dim=0).values
        if case.segearth:
            empty = best < threshold
        else:
            margin = (best - second).clamp(min=0)
            empty = best * margin.sqrt() < threshold ** settings["mabc_exponent"]
        chosen[empty] = settings["background_index"]
    found: NDArray[np.uint8] = chosen.numpy()
    return found
