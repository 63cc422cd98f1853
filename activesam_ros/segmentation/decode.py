"""Step 3: decode the active queries at full resolution (ActiveSAM).

First the decoder runs on all queries, in buckets. Its logits bound what each query can score. Then
mask maps are made, of the queries with the highest bounds first, and the caller stops as soon as no
further query can change the result.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from activesam_ros.sam3.attention import at_least_float32
from activesam_ros.sam3.mask_head import instance_masks
from activesam_ros.sam3.model import (
    DecodedPairs,
    ImageFeatures,
    ImageNetwork,
    Prompts,
    ScreenedPairs,
    joined,
)
from activesam_ros.segmentation.device.transfer import Transfer
from activesam_ros.segmentation.exclusive_decoding.class_maps import ClassMaps
from activesam_ros.segmentation.fuse import Evidence
from activesam_ros.segmentation.score_maps.weighted_maps import WeightedMaps

# Queries whose maps are made at once: few, since all of them are made even if one suffices.
MAP_GROUP = 4
# The decoder's output is kept for so many queries; that of the others is computed anew where their
# maps are made, so that memory does not grow with the number of queries.
KEPT_QUERIES = 64
# The most memory for the maps of all queries at once, those that do not count included: 32 queries
# of the official network in bfloat16.
ALL_MAPS_BYTES = 1 << 30

# (presence [K], probabilities [K, Q] of Q object queries, 0 below the threshold) -> [K, 1 + Q]: the
# weight of the semantic map and of each object's map in a score map, 0 for maps that do not count.
Weigh = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Screening:
    """Which admitted queries are decoded (ActiveSAM 2).

    A query is decoded if its presence after one decoder layer is at least ``tau``. Of every
    ``chunk`` consecutive queries at least the one with the highest presence is. A query whose
    presence is below its own of ``thresholds`` is not decoded, whatever the rest says. always:
    queries that are decoded anyway, of which the decoder's presence decides.
    """

    tau: float
    chunk: int
    always: Collection[int]
    thresholds: Sequence[float]


class Decoding:
    """The decoded queries of one image, whose maps are made on request, in groups.

    A query's *place* is its index in the list of decoded queries. Its *rank* is its place in
    descending order of its bound. Groups have consecutive ranks. Methods are asynchronous unless
    they say that they synchronise.
    """

    def __init__(
        self,
        model: ImageNetwork,
        features: ImageFeatures,
        prompts: Prompts,
        queries: Sequence[int],
        *,
        bucket_size: int,
        confidence_threshold: float,
        weigh: Weigh,
        transfer: Transfer,
        screening: Screening | None = None,
        thresholds: Tensor | None = None,
    ) -> None:
        """Decode ``queries``, at least one, ascending, for one image.

        screening: leaves queries out, None to decode all; asynchronous without it. thresholds: of
        all queries of the vocabulary, on the device, the presence below which a query's maps do not
        count; None for none. An object's probability is sigmoid(logit) x sigmoid(presence logit)
        (SAM 3).
        """
        self._model = model
        self._features = features
        self._prompts = prompts
        self._confidence_threshold = confidence_threshold
        self._weigh = weigh
        self._thresholds = thresholds
        self._transfer = transfer
        self._group = min(MAP_GROUP, bucket_size)
        self.screened: dict[int, float] = {}
        """Presence of each query after one decoder layer; empty without screening."""
        presences, weights, bounds = [], [], []
        decoded_queries: list[int] = []
        parts: list[DecodedPairs] = []
        places: list[Tensor] = []
        buckets = (
            self._buckets(queries, bucket_size)
            if screening is None
            else self._screened_buckets(queries, bucket_size, screening)
        )
        for bucket, decoded in buckets:
            start = len(decoded_queries)
            decoded_queries += bucket
            presence, weight = self._weights_of(bucket, decoded)  # [bucket], [bucket, 1 + Q]
            presences.append(presence)
            weights.append(weight)
            bounds.append(weight.amax(dim=1))
            parts.append(decoded)
            places.append(torch.arange(start, len(decoded_queries), device=presence.device))
            if sum(map(len, places)) > KEPT_QUERIES + bucket_size:
                kept = torch.cat(places)
                best = torch.cat(bounds)[kept].topk(KEPT_QUERIES).indices
                parts, places = [joined(parts).of(best)], [kept[best]]
        self.queries = tuple(decoded_queries)
        """The decoded queries, in any order."""
        dtype = torch.promote_types(model.dtype, torch.float32)
        self.presence = (
            torch.cat(presences) if presences else transfer.send(torch.empty(0, dtype=dtype))
        )
        """float32 [K], or float64 where the model is: probability of each query, on the device."""
        if not parts:  # every query is below its threshold: there are no groups
            return
        self._index = transfer.send(torch.tensor(decoded_queries))  # [K]
        self._kept = joined(parts)
        self._kept_places = torch.cat(places)  # [kept]
        self._weights = torch.cat(weights)  # [K, 1 + Q]
        self._bounds, self._ranked = torch.cat(bounds).sort(descending=True, stable=True)  # [K]

    def groups(self) -> Iterator[slice]:
        """The ranks of each group."""
        for start in range(0, len(self.queries), self._group):
            yield slice(start, min(start + self._group, len(self.queries)))

    @property
    def admitted_presence(self) -> Tensor:
        """[admitted]: of decoded queries their presence, of the others that of the screening."""
        if not self.screened:
            return self.presence
        values = torch.tensor(list(self.screened.values()), dtype=self.presence.dtype)
        presence = self._transfer.send(values)  # [admitted]
        row = {query: place for place, query in enumerate(self.screened)}
        found = torch.tensor([row[query] for query in self.queries], dtype=torch.int64)
        rows = self._transfer.send(found)
        return presence.index_copy_(0, rows, self.presence)

    def bound(self, ranks: slice) -> float:
        """The highest score that this and all later groups can reach at any pixel; synchronises."""
        return self._ranking.bounds[int(ranks.start)]

    def evidence(self, ranks: slice) -> Iterator[tuple[int, Evidence]]:
        """The queries of a group with the maps that count; synchronises.

        Gives each query's index in the vocabulary and its evidence.
        """
        sources = self._sources(self._decoded_pairs(ranks), ranks)
        pixels = self._model.pixels(sources.decoded, self._features.skips)  # [P, d, Hm, Wm]
        counts = (sources.weights <= 0).logical_not_()  # [P, 1 + Q]; NaN counts
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
            maps = at_least_float32(instance_masks(embeddings, kernels, offsets))  # [n, Hm, Wm]
            yield self.queries[place], Evidence(maps, weights)

    def weighted_maps(self, ranks: slice) -> tuple[Tensor, WeightedMaps]:
        """The queries of a group, int64 [P], with all their maps, also those that do not count.

        Synchronises where the decoder's output is not kept for every query.
        """
        if self._all_kept:
            sources = self._all_sources.part(ranks)
        else:
            sources = self._sources(self._decoded_pairs(ranks), ranks)
        maps = self._maps(sources)  # [P, 1 + Q, Hm, Wm]
        return sources.queries, WeightedMaps.of(maps, sources.offsets, sources.weights)

    def class_maps(self, places: Tensor, classes: int) -> ClassMaps:
        """The maps of all queries, also those that do not count, by class.

        places: int64 [queries of the vocabulary], which of the ``classes`` each query belongs to.
        Synchronises where all maps take more than ALL_MAPS_BYTES or the decoder's output is not
        kept for every query; then only the maps that count are there.
        """
        grid = self._features.skips.fine.shape[-2:]
        values = self._weights.numel() * grid.numel()
        if not self._all_kept or values * self._features.skips.fine.itemsize > ALL_MAPS_BYTES:
            return self._counted_maps(places, classes)
        sources = self._all_sources
        maps = sources.kernels.new_empty(*self._weights.shape, *grid)  # [K, 1 + Q, Hm, Wm]
        for ranks in self.groups():
            self._maps(sources.part(ranks), maps[ranks])
        of_query = places[sources.queries]  # [K]
        return ClassMaps.of(
            maps.flatten(0, 1),
            sources.offsets.flatten(),
            sources.weights.flatten(),
            of_query[:, None].expand_as(sources.weights).flatten(),
            classes=classes,
        )

    def _counted_maps(self, places: Tensor, classes: int) -> ClassMaps:
        found = [one for ranks in self.groups() for one in self.evidence(ranks)]
        queries = [query for query, one in found for _ in range(len(one.maps))]
        weights = torch.cat([one.weights for _, one in found])  # [M]
        return ClassMaps.of(
            torch.cat([one.maps for _, one in found]),
            torch.zeros_like(weights),
            weights,
            places[self._transfer.send(torch.tensor(queries, dtype=torch.int64))],
            classes=classes,
        )

    def _maps(self, sources: _MapSources, out: Tensor | None = None) -> Tensor:
        """All maps of the queries of ``sources`` without offsets: [P, 1 + Q, Hm, Wm]."""
        pixels = self._model.pixels(sources.decoded, self._features.skips)  # [P, d, Hm, Wm]
        # Channels are innermost in memory, so this is a view: [P, Hm * Wm, d].
        embeddings = pixels.permute(0, 2, 3, 1).flatten(1, 2)
        flat = None if out is None else out.flatten(2)
        maps: Tensor = torch.bmm(sources.kernels, embeddings.transpose(1, 2), out=flat).unflatten(
            -1, pixels.shape[-2:]
        )
        return maps

    @property
    def _all_kept(self) -> bool:
        return len(self._kept_places) == len(self.queries)

    @functools.cached_property
    def _all_sources(self) -> _MapSources:
        """The sources of all queries by rank: small tensors are faster to make all at once."""
        return self._sources(self._kept.of(self._ranked), slice(None))

    @functools.cached_property
    def _ranking(self) -> _Ranking:
        """Synchronises."""
        bounds, ranked = self._transfer.receive(self._bounds, self._ranked)
        return _Ranking(bounds.tolist(), ranked.tolist())

    @functools.cached_property
    def _row(self) -> dict[int, int]:
        """The row of each kept place in the decoder's output; synchronises."""
        (places,) = self._transfer.receive(self._kept_places)
        return {place: row for row, place in enumerate(places.tolist())}

    def _buckets(
        self, queries: Sequence[int], bucket_size: int
    ) -> Iterator[tuple[Sequence[int], DecodedPairs]]:
        """Queries and the decoder's output for them, bucket by bucket."""
        index = self._transfer.send(torch.tensor(queries))  # [K]
        for start in range(0, len(queries), bucket_size):
            stop = start + bucket_size
            yield queries[start:stop], self._decode(index[start:stop])

    def _screened_buckets(
        self, queries: Sequence[int], bucket_size: int, screening: Screening
    ) -> Iterator[tuple[Sequence[int], DecodedPairs]]:
        """As _buckets, for the queries that pass the screening; synchronises once per bucket.

        The bucket size does not change which queries pass.
        """
        for start in range(0, len(queries), screening.chunk):
            chunk = queries[start : start + screening.chunk]
            best: tuple[float, int, ScreenedPairs, bool] | None = None  # while none has passed
            passed = False
            for first in range(0, len(chunk), bucket_size):
                bucket = chunk[first : first + bucket_size]
                index = self._transfer.send(torch.tensor(bucket))  # [P]
                pairs = self._model.screen(self._features, self._prompts[index])
                (logits,) = self._transfer.receive(pairs.presence_logits)
                presence = at_least_float32(logits).sigmoid()  # [P], on the host
                self.screened |= dict(zip(bucket, presence.tolist(), strict=True))
                least = torch.tensor([screening.thresholds[query] for query in bucket])  # [P]
                above = (presence >= least.to(presence.dtype)).tolist()
                passed |= bool((presence >= screening.tau).any())
                row = int(presence.nan_to_num(-1.0).argmax())
                if not passed and (best is None or presence[row] > best[0]):
                    one = self._transfer.send(torch.tensor([row]))
                    best = (float(presence[row]), bucket[row], pairs.of(one), above[row])
                rows = [
                    place
                    for place, query in enumerate(bucket)
                    if (presence[place] >= screening.tau and above[place])
                    or query in screening.always
                ]
                if len(rows) < len(bucket):
                    pairs = pairs.of(self._transfer.send(torch.tensor(rows, dtype=torch.int64)))
                if rows:
                    decoded = self._model.decode_screened(self._features, pairs)
                    yield [bucket[place] for place in rows], decoded
            if not passed and best is not None:
                _, query, pairs, is_above = best
                if is_above and query not in screening.always:
                    yield [query], self._model.decode_screened(self._features, pairs)

    def _decode(self, index: Tensor) -> DecodedPairs:
        """The decoder's output for the queries with these indices, int64 [P]."""
        return self._model.decode(self._features, self._prompts[index])

    def _weights_of(self, bucket: Sequence[int], decoded: DecodedPairs) -> tuple[Tensor, Tensor]:
        """Presence [P] of a bucket's queries, and the weight of every map [P, 1 + Q]."""
        presence = at_least_float32(decoded.presence_logits).sigmoid()  # [P]
        probabilities = at_least_float32(decoded.logits).sigmoid() * presence[:, None]  # [P, Q]
        # "Not <=", so that NaN is kept and shows in the scores.
        kept = (probabilities <= self._confidence_threshold).logical_not_()
        weights = self._weigh(presence, torch.where(kept, probabilities, 0.0))  # [P, 1 + Q]
        if self._thresholds is not None:
            least = self._thresholds[self._transfer.send(torch.tensor(bucket))]  # [P]
            weights = weights.masked_fill((presence < least)[:, None], 0.0)  # NaN stays
        return presence, weights

    def _sources(self, decoded: DecodedPairs, ranks: slice) -> _MapSources:
        """What the maps of the queries with these ranks are made from."""
        ranked = self._ranked[ranks]
        kernels, offsets = self._model.mask_kernels(decoded.hidden)
        return _MapSources(decoded, kernels, offsets, self._weights[ranked], self._index[ranked])

    def _decoded_pairs(self, ranks: slice) -> DecodedPairs:
        """The decoder's output, kept or computed anew; synchronises unless all of it is kept."""
        if self._all_kept:
            return self._kept.of(self._ranked[ranks])
        places = self._ranking.places[ranks]
        gone = [place for place in places if place not in self._row]
        rows = [self._row[place] for place in places if place in self._row]
        parts = []
        if rows:
            parts.append(self._kept.of(self._transfer.send(torch.tensor(rows))))
        if gone:
            parts.append(self._decode(self._index[self._transfer.send(torch.tensor(gone))]))
        decoded = joined(parts)
        if not rows or not gone:
            return decoded
        found = [place for place in places if place in self._row] + gone
        order = [found.index(place) for place in places]
        return decoded.of(self._transfer.send(torch.tensor(order)))


class _Ranking(NamedTuple):
    """On the host, by rank: bounds in descending order, and the place of each query."""

    bounds: list[float]
    places: list[int]


class _MapSources(NamedTuple):
    """What the maps of P queries are made from.

    kernels: [P, 1 + Q, d]; offsets, weights: [P, 1 + Q]; queries: int64 [P].
    """

    decoded: DecodedPairs
    kernels: Tensor
    offsets: Tensor
    weights: Tensor
    queries: Tensor

    def part(self, ranks: slice) -> _MapSources:
        """Some of the queries, as views."""
        return _MapSources(
            DecodedPairs(*(part[ranks] for part in self.decoded)),
            self.kernels[ranks],
            self.offsets[ranks],
            self.weights[ranks],
            self.queries[ranks],
        )
