"""Full-resolution decoding of active queries (methods.md section 2, decode), in two steps.

First every query is asked, in buckets: what the decoder says of it, and so how much it can score at
most. Then maps are made, of the queries that can score most first, and the caller stops where no
further query can change anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from activesam_ros.sam3.mask_head import instance_masks
from activesam_ros.sam3.model import Answers, ImageFeatures, Prompts, Sam3ImageModel, joined

# Queries whose maps are made at once: few, since all of them are made where one may be needed.
MAP_GROUP = 4
# The fused image tokens of so many queries are kept from the first step for the second; those of
# the others are computed anew where they are needed, so that memory does not grow with queries.
KEPT_ANSWERS = 64

# (presence [K], probabilities [K, Q] with 0 for objects below the threshold) -> [K], the most that
# each query can score at any pixel.
Bound = Callable[[Tensor, Tensor], Tensor]


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


class Decoding:
    """The queries of one image, asked; their maps are made on request."""

    def __init__(
        self,
        model: Sam3ImageModel,
        features: ImageFeatures,
        prompts: Prompts,
        queries: Sequence[int],
        *,
        bucket_size: int,
        confidence_threshold: float,
        bound: Bound,
    ) -> None:
        """Ask ``queries``, at least one, of one image.

        An object's probability is sigmoid(logit) x sigmoid(presence logit) (methods.md section 1).
        """
        self._model = model
        self._features = features
        self._prompts = prompts
        self._queries = queries
        self._confidence_threshold = confidence_threshold
        self._group = min(MAP_GROUP, bucket_size)
        presences, bounds = [], []
        parts: list[Answers] = []
        places: list[Tensor] = []
        for start in range(0, len(queries), bucket_size):
            bucket = range(start, min(start + bucket_size, len(queries)))
            answers = self._ask(bucket)
            presence, probabilities = self._probabilities(answers)
            presences.append(presence)
            bounds.append(bound(presence, probabilities))
            parts.append(answers)
            places.append(torch.tensor(bucket, device=presence.device))
            if sum(map(len, places)) > KEPT_ANSWERS + bucket_size:
                kept = torch.cat(places)
                best = torch.cat(bounds)[kept].topk(KEPT_ANSWERS).indices
                parts, places = [joined(parts).of(best)], [kept[best]]
        self._kept = joined(parts)
        self._row = {place: row for row, place in enumerate(torch.cat(places).tolist())}
        all_bounds = torch.cat(bounds)
        order = all_bounds.sort(descending=True, stable=True)
        self._order: list[int] = order.indices.tolist()
        self._bounds: list[float] = order.values.tolist()
        self.presence: dict[int, float] = dict(
            zip(queries, torch.cat(presences).tolist(), strict=True)
        )

    def groups(self) -> Iterator[tuple[float, Iterator[DecodedQuery]]]:
        """Queries in descending order of their bounds, some at a time.

        Yields the most that this and every later group can score at any pixel, and the queries'
        maps, which are not computed before they are asked for.
        """
        for start in range(0, len(self._order), self._group):
            group = self._order[start : start + self._group]
            yield self._bounds[start], self._maps(group)

    def _ask(self, places: Sequence[int]) -> Answers:
        chosen = [self._queries[place] for place in places]
        index = torch.tensor(chosen, device=self._prompts.tokens.device)
        return self._model.answer(self._features, self._prompts[index])

    def _probabilities(self, answers: Answers) -> tuple[Tensor, Tensor]:
        """Presence [P], and of the objects [P, Q], 0 for those that are not kept."""
        presence = answers.presence_logits.float().sigmoid()
        probabilities = answers.logits.float().sigmoid() * presence[:, None]
        kept = probabilities > self._confidence_threshold
        return presence, torch.where(kept, probabilities, 0.0)

    def _maps(self, places: Sequence[int]) -> Iterator[DecodedQuery]:
        answers = self._answers(places)
        presence, probabilities = self._probabilities(answers)
        pixels = self._model.pixels(answers, self._features.skips)
        semantic = self._model.mask_head.semantic(pixels).float()
        row, column = (probabilities > 0).nonzero(as_tuple=True)
        kernels, offsets = self._model.mask_head.instance_kernels(answers.hidden[row, column])
        counts = (probabilities > 0).sum(dim=1).tolist()
        objects = zip(
            probabilities[row, column].split(counts),
            kernels.split(counts),
            offsets.split(counts),
            strict=True,
        )
        for position, (place, (scores, kernel, offset)) in enumerate(
            zip(places, objects, strict=True)
        ):
            yield DecodedQuery(
                query=self._queries[place],
                presence=presence[position],
                probabilities=scores,
                masks=instance_masks(pixels[position], kernel, offset).float(),
                semantic=semantic[position],
            )

    def _answers(self, places: Sequence[int]) -> Answers:
        """Kept, or computed once more."""
        gone = [place for place in places if place not in self._row]
        rows = [self._row[place] for place in places if place in self._row]
        parts = []
        if rows:
            parts.append(self._kept.of(torch.tensor(rows, device=self._kept.hidden.device)))
        if gone:
            parts.append(self._ask(gone))
        answers = joined(parts)
        if not rows or not gone:
            return answers
        found = [place for place in places if place in self._row] + gone
        order = [found.index(place) for place in places]
        return answers.of(torch.tensor(order, device=answers.hidden.device))
