"""Step 5: the class of each pixel, by its best score or by exclusive concept decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from activesam_ros.segmentation.background import Background, scores_nothing
from activesam_ros.segmentation.decode import KEPT_QUERIES, Decoding
from activesam_ros.segmentation.device.support import DeviceSupport
from activesam_ros.segmentation.device.timing import StageTimer
from activesam_ros.segmentation.exclusive_decoding.bands import decode_concepts
from activesam_ros.segmentation.exclusive_decoding.decoder import (
    ConceptDecoder,
    ConceptRule,
    DeviceSignatures,
)
from activesam_ros.segmentation.fuse import ClassScores
from activesam_ros.segmentation.result import Wanted


@dataclass(frozen=True, eq=False, slots=True)
class PixelClasses:
    """The outcome for every pixel of an image.

    index: the class, an integer [H, W]. best: the best score of any class, [H, W]. empty: bool
    [H, W], true where the pixel is background although ``index`` names a class.
    """

    index: Tensor
    best: Tensor
    empty: Tensor


@dataclass(frozen=True, eq=False)
class Labeller:
    """Gives each pixel a class from the decoded queries of an image.

    query_class: the class index of each of the K queries; class_of_query: the same as int32 [K] on
    the device. concepts: signatures and their rule, None to take the class with the best score.
    early_exit_above: on a GPU, only above this number of decoded queries is it asked whether a
    remaining map can still win a pixel, because asking makes the host wait; a CPU always asks.
    """

    query_class: Sequence[int]
    class_of_query: Tensor
    background: Background
    support: DeviceSupport
    concepts: tuple[DeviceSignatures, ConceptRule] | None
    early_exit_above: int = KEPT_QUERIES

    def label(
        self,
        decoding: Decoding,
        admitted: Sequence[int],
        size: tuple[int, int],
        wanted: Wanted,
        scores: NDArray[np.float16] | None,
        timer: StageTimer,
    ) -> PixelClasses:
        """The classes of an image of ``size`` [height, width].

        admitted: the queries that the preview admitted, among them those that screening rejected.
        scores: zeros [classes, H, W] that receive the score maps of the classes, None if not
        wanted.
        """
        if not decoding.queries:  # every query is below its threshold
            best = decoding.presence.new_zeros(size)
            index = torch.zeros_like(best, dtype=torch.int32)
            return PixelClasses(index, best, scores_nothing(best))
        if self.concepts is None:
            return self._by_score(decoding, size, wanted, scores, timer)
        return self._by_concept(*self.concepts, decoding, admitted, size, scores, timer)

    def _by_score(
        self,
        decoding: Decoding,
        size: tuple[int, int],
        wanted: Wanted,
        scores: NDArray[np.float16] | None,
        timer: StageTimer,
    ) -> PixelClasses:
        classes = {self.query_class[query] for query in decoding.queries}
        presence = decoding.presence
        totals = ClassScores(
            size,
            presence.device,
            self.background,
            scores,
            recurring=len(classes) < len(decoding.queries),
            dtype=presence.dtype,
        )
        self._fuse(totals, decoding, wanted, timer)
        with timer.stage("background"):
            empty = self.background.empty(totals.best, totals.second)
            return PixelClasses(totals.index, totals.best, empty)

    def _by_concept(
        self,
        signatures: DeviceSignatures,
        rule: ConceptRule,
        decoding: Decoding,
        admitted: Sequence[int],
        size: tuple[int, int],
        scores: NDArray[np.float16] | None,
        timer: StageTimer,
    ) -> PixelClasses:
        """By signature; the classes of queries that screening rejected take part with score 0."""
        classes = sorted({self.query_class[query] for query in admitted})
        places = {index: place for place, index in enumerate(classes)}
        with_maps = sorted({self.query_class[query] for query in decoding.queries})
        with timer.stage("fuse"):
            send = self.support.transfer.send
            rows = send(torch.tensor([places[self.query_class[query]] for query in admitted]))
            presence = decoding.presence.new_zeros(len(classes)).scatter_reduce(
                0, rows, decoding.admitted_presence, "amax"
            )  # [active]
            decoder = ConceptDecoder(
                signatures,
                send(torch.tensor(classes)),
                presence,
                rule,
                send(torch.tensor([places[index] for index in with_maps])),
            )
        kernel = self.support.concepts
        own_place = {index: place for place, index in enumerate(with_maps)}
        if scores is None and kernel.fits(presence.device, presence.dtype):
            with timer.stage("masks"):
                of_query = [own_place.get(index, 0) for index in self.query_class]
                maps = decoding.class_maps(send(torch.tensor(of_query)), len(with_maps))
            with timer.stage("fuse"):
                index, best = kernel(decoder, maps, size)
        else:
            with timer.stage("masks"):
                evidence = [
                    (own_place[self.query_class[query]], one)
                    for ranks in decoding.groups()
                    for query, one in decoding.evidence(ranks)
                ]
            with timer.stage("fuse"):
                index, best = decode_concepts(decoder, evidence, size, scores)
        return PixelClasses(index, best, scores_nothing(best))

    def _fuse(
        self, totals: ClassScores, decoding: Decoding, wanted: Wanted, timer: StageTimer
    ) -> None:
        """Make the maps of the queries, group by group, and merge their scores into ``totals``.

        Stops when no later query can change the result. Wanted scores need all maps.
        """
        merge = self.support.merge
        by_kernel = not wanted.scores and merge.fits(decoding.presence.device)
        exits_early = not wanted.scores and (
            not by_kernel or len(decoding.queries) > self.early_exit_above
        )
        for ranks in decoding.groups():
            if exits_early:
                with timer.stage("fuse"):
                    bound = decoding.bound(ranks)
                    settled = totals.settled_below(labels_only=not wanted.confidence)
                    if bound <= 0 or bound < settled:
                        return
            if by_kernel:
                with timer.stage("masks"):
                    queries, maps = decoding.weighted_maps(ranks)
                with timer.stage("fuse"):
                    totals.add_weighted_maps(self.class_of_query[queries], maps, merge)
                continue
            evidence = decoding.evidence(ranks)
            while True:
                with timer.stage("masks"):  # a query's maps are made when it is asked for
                    one = next(evidence, None)
                if one is None:
                    break
                with timer.stage("fuse"):
                    totals.add(self.query_class[one[0]], one[1])
