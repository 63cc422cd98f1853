"""Full-resolution decoding of active queries (methods.md section 2, decode), in two steps.

First every query is asked, in buckets: what the decoder says of it, and so how much it can score at
most. Then maps are made, of the queries that can score most first, and the caller stops where no
further query can change anything.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from activesam_ros.sam3.attention import at_least_float32
from activesam_ros.sam3.mask_head import instance_masks
from activesam_ros.sam3.model import Answers, ImageFeatures, Prompts, Sam3ImageModel, joined
from activesam_ros.segmentation.fuse import Evidence
from activesam_ros.segmentation.layers import Layers
from activesam_ros.segmentation.transfer import Transfer

# Queries whose maps are made at once: few, since all of them are made where one may be needed.
MAP_GROUP = 4
# The fused image tokens of so many queries are kept from the first step for the second; those of
# the others are computed anew where they are needed, so that memory does not grow with queries.
KEPT_ANSWERS = 64

# (presence [K], probabilities [K, Q] with 0 for objects below the threshold) -> [K, 1 + Q], what
# the semantic map and each object's map count in a score map; 0 for those that do not.
Weigh = Callable[[Tensor, Tensor], Tensor]


class Decoding:
    """The queries of one image, asked; their maps are made on request, in groups.

    A place is a query's in the list of those asked, a rank its place in descending order of how
    much it can score at most; groups are of consecutive ranks. What does not say that it waits for
    the device only asks the device for more.
    """

    def __init__(
        self,
        model: Sam3ImageModel,
        features: ImageFeatures,
        prompts: Prompts,
        queries: Sequence[int],
        *,
        bucket_size: int,
        confidence_threshold: float,
        weigh: Weigh,
        transfer: Transfer,
    ) -> None:
        """Ask ``queries``, at least one, of one image; does not wait.

        An object's probability is sigmoid(logit) x sigmoid(presence logit) (methods.md section 1).
        """
        self._model = model
        self._features = features
        self._prompts = prompts
        self._queries = queries
        self._confidence_threshold = confidence_threshold
        self._weigh = weigh
        self._transfer = transfer
        self._group = min(MAP_GROUP, bucket_size)
        self._index = transfer.send(torch.tensor(queries))
        presences, weights, bounds = [], [], []
        parts: list[Answers] = []
        places: list[Tensor] = []
        for start in range(0, len(queries), bucket_size):
            stop = min(start + bucket_size, len(queries))
            answers = self._ask(self._index[start:stop])
            presence, weight = self._weighed(answers)
            presences.append(presence)
            weights.append(weight)
            bounds.append(weight.amax(dim=1))
            parts.append(answers)
            places.append(torch.arange(start, stop, device=presence.device))
            if sum(map(len, places)) > KEPT_ANSWERS + bucket_size:
                kept = torch.cat(places)
                best = torch.cat(bounds)[kept].topk(KEPT_ANSWERS).indices
                parts, places = [joined(parts).of(best)], [kept[best]]
        self._kept = joined(parts)
        self._kept_places = torch.cat(places)
        self._weights = torch.cat(weights)
        self._bounds, self._ranked = torch.cat(bounds).sort(descending=True, stable=True)
        self.presence = torch.cat(presences)
        """float32 [K], probability of each query, on the device."""

    def groups(self) -> Iterator[slice]:
        """The ranks of each group."""
        for start in range(0, len(self._queries), self._group):
            yield slice(start, min(start + self._group, len(self._queries)))

    def bound(self, ranks: slice) -> float:
        """The most that this and every later group can score at any pixel; waits."""
        return self._ranking.bounds[int(ranks.start)]

    def evidence(self, ranks: slice) -> Iterator[tuple[int, Evidence]]:
        """A group's queries, by their index in the vocabulary, with what they score; waits."""
        sources = self._sources(self._answers(ranks), ranks)
        pixels = self._model.pixels(sources.answers, self._features.skips)
        counts = (sources.weights <= 0).logical_not_()  # so that what is no number counts
        chosen = counts.nonzero(as_tuple=True)
        sizes = counts.sum(dim=1).tolist()
        parts = zip(
            self._ranking.places[ranks],
            pixels,
            sources.kernels[chosen].split(sizes),
            sources.offsets[chosen].split(sizes),
            sources.weights[chosen].split(sizes),
            strict=True,
        )
        for place, embeddings, kernels, offsets, weights in parts:
            maps = at_least_float32(instance_masks(embeddings, kernels, offsets))
            yield self._queries[place], Evidence(maps, weights)

    def layers(self, ranks: slice) -> tuple[Tensor, Layers]:
        """As :meth:`evidence`: queries int64 [P], and every map, whether it counts or not.

        Waits where not every answer was kept.
        """
        if self._all_kept:
            sources = self._all_sources.part(ranks)
        else:
            sources = self._sources(self._answers(ranks), ranks)
        pixels = self._model.pixels(sources.answers, self._features.skips)
        embeddings = pixels.permute(0, 2, 3, 1).flatten(1, 2)  # channels lie innermost: no copy
        maps = torch.bmm(sources.kernels, embeddings.transpose(1, 2))
        maps = maps.unflatten(-1, pixels.shape[-2:])
        return sources.queries, Layers.of(maps, sources.offsets, sources.weights)

    @property
    def _all_kept(self) -> bool:
        return len(self._kept_places) == len(self._queries)

    @functools.cached_property
    def _all_sources(self) -> _Sources:
        """By rank, at once: what is small is slow in parts."""
        return self._sources(self._kept.of(self._ranked), slice(None))

    @functools.cached_property
    def _ranking(self) -> _Ranking:
        bounds, ranked = self._transfer.receive(self._bounds, self._ranked)
        return _Ranking(bounds.tolist(), ranked.tolist())

    @functools.cached_property
    def _row(self) -> dict[int, int]:
        """Where the answers that were kept are, by place."""
        (places,) = self._transfer.receive(self._kept_places)
        return {place: row for row, place in enumerate(places.tolist())}

    def _ask(self, index: Tensor) -> Answers:
        """The answers to the queries of int64 [P]."""
        return self._model.answer(self._features, self._prompts[index])

    def _weighed(self, answers: Answers) -> tuple[Tensor, Tensor]:
        """Presence [P], and what every map counts [P, 1 + Q]."""
        presence = at_least_float32(answers.presence_logits).sigmoid()
        probabilities = at_least_float32(answers.logits).sigmoid() * presence[:, None]
        kept = probabilities > self._confidence_threshold
        return presence, self._weigh(presence, torch.where(kept, probabilities, 0.0))

    def _sources(self, answers: Answers, ranks: slice) -> _Sources:
        """What the maps of the queries with these ranks, and answers, are made from."""
        ranked = self._ranked[ranks]
        kernels, offsets = self._model.mask_head.kernels(answers.hidden)
        return _Sources(answers, kernels, offsets, self._weights[ranked], self._index[ranked])

    def _answers(self, ranks: slice) -> Answers:
        """Kept, or computed once more; waits unless all were kept."""
        if self._all_kept:
            return self._kept.of(self._ranked[ranks])
        places = self._ranking.places[ranks]
        gone = [place for place in places if place not in self._row]
        rows = [self._row[place] for place in places if place in self._row]
        parts = []
        if rows:
            parts.append(self._kept.of(self._transfer.send(torch.tensor(rows))))
        if gone:
            parts.append(self._ask(self._index[self._transfer.send(torch.tensor(gone))]))
        answers = joined(parts)
        if not rows or not gone:
            return answers
        found = [place for place in places if place in self._row] + gone
        order = [found.index(place) for place in places]
        return answers.of(self._transfer.send(torch.tensor(order)))


class _Ranking(NamedTuple):
    """On the host: bounds in descending order, and the places of the queries they are of."""

    bounds: list[float]
    places: list[int]


class _Sources(NamedTuple):
    """What maps are made from: of each the kernel [P, 1 + Q, d], the offset and the weight
    [P, 1 + Q]; queries: int64 [P].
    """

    answers: Answers
    kernels: Tensor
    offsets: Tensor
    weights: Tensor
    queries: Tensor

    def part(self, ranks: slice) -> _Sources:
        """Some of the queries, as views."""
        answers = Answers(*(part[ranks] for part in self.answers))
        return _Sources(
            answers,
            self.kernels[ranks],
            self.offsets[ranks],
            self.weights[ranks],
            self.queries[ranks],
        )
