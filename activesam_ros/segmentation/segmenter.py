"""One frame's way through the method: preview, active set, decode, fuse, background."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from activesam_ros.errors import SettingsError
from activesam_ros.prompts.table import PromptTable
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.model import ImageFeatures, ImageTokens, Prompts, Sam3ImageModel
from activesam_ros.sam3.plan import ImagePlan
from activesam_ros.segmentation.active_set import Chooser, PreviewAll
from activesam_ros.segmentation.background import Background
from activesam_ros.segmentation.baselines import Method, recipe
from activesam_ros.segmentation.bucket_size import automatic, query_bytes
from activesam_ros.segmentation.decode import KEPT_ANSWERS, Decoding
from activesam_ros.segmentation.device_support import DeviceSupport
from activesam_ros.segmentation.fuse import ClassScores, Evidence, label_pixels
from activesam_ros.segmentation.pixels import NetworkInputs, upload
from activesam_ros.segmentation.presets import effective
from activesam_ros.segmentation.preview import presence_probabilities
from activesam_ros.segmentation.result import ActiveClass, Reason, Segmentation, Wanted
from activesam_ros.segmentation.timing import StageTimer
from activesam_ros.segmentation.transfer import Arrival
from activesam_ros.settings import Settings
from activesam_ros.sparsity.plan import image_plan

LABELS_ONLY = Wanted()
MAX_CLASSES_UINT8 = 255
MAX_ID_UINT8 = 255

# Of a class with several queries; the first holds.
_REASONS_BY_RANK = (Reason.UNPRUNED, Reason.CARRIED, Reason.PREVIEWED, Reason.PINNED)


class Segmenter:
    """Segments images of any size with one model, one vocabulary and one set of settings.

    Immutable and cheap to construct: for new settings or prompts make another on the same model.
    """

    def __init__(
        self,
        model: Sam3ImageModel,
        prompts: PromptTable,
        settings: Settings,
        method: Method = Method.ACTIVESAM,
        plan: ImagePlan | None = None,
        support: DeviceSupport | None = None,
    ) -> None:
        """``prompts`` must be on the model's device and in its dtype, ``model`` what the settings'
        preset wants (Network.model_for).

        plan: takes the place of what the settings say about sparsity. support: of the model's
        device; give the loaded network's, so that what is known of faster ways outlives settings.

        Raises SettingsError when a resolution is not a multiple of the patch size or a setting does
        not fit the network, VocabularyError when a pinned name is not in the vocabulary.
        """
        self.model = model
        self.prompts = prompts
        self.settings = settings
        self.method = method
        self._recipe = recipe(method)
        vocabulary = prompts.vocabulary
        self._classes = vocabulary.classes
        self._query_class = vocabulary.query_class
        self._ids = [entry.id for entry in self._classes]
        self.pinned_queries = vocabulary.pinned_queries(settings.pinned)
        config = model.config
        self.support = support or DeviceSupport.of(model.device)
        if plan is None:
            plan = image_plan(effective(settings), config, lambda: self.support.attention)
        self.plan = plan
        self.resolution = _resolution("resolution", settings.resolution, config.resolution, config)
        two_thirds = self.resolution * 2 // 3 // config.patch_size * config.patch_size
        self.preview_resolution = _resolution(
            "preview_resolution", settings.preview_resolution, two_thirds, config
        )
        self.bucket_size = (
            automatic(
                self.support.free_memory(model.device),
                query_bytes(config, model.dtype, self.resolution),
            )
            if isinstance(settings.bucket_size, str)
            else settings.bucket_size
        )
        self._transfer = self.support.transfer
        self._merge = self.support.merge
        self._most_unread = KEPT_ANSWERS
        dtype = torch.uint8 if self.small_labels else torch.int32
        self._class_id = self._transfer.send(torch.tensor(self._ids, dtype=dtype))
        classes = torch.tensor(self._query_class, dtype=torch.int32)
        self._class_of_query = self._transfer.send(classes)
        self._text = Prompts(prompts.features, prompts.padding)
        self._full = self._text
        if self._recipe.expands:
            self._full = Prompts(
                torch.cat((prompts.features, prompts.context), dim=1),
                torch.cat((prompts.padding, prompts.context_padding), dim=1),
            )

    @property
    def previews(self) -> bool:
        """Whether frames are previewed: pruning is on and the vocabulary large enough."""
        return self._recipe.previews and len(self._query_class) > self.settings.max_active

    @property
    def small_labels(self) -> bool:
        """Whether label maps are uint8: the number of classes and every id allow it."""
        return len(self._classes) <= MAX_CLASSES_UINT8 and self._highest_id <= MAX_ID_UINT8

    @property
    def _highest_id(self) -> int:
        return max(*self._ids, self.settings.background_id)

    def with_settings(self, settings: Settings) -> Segmenter:
        """The same network, prompts and method with other settings; raises as the constructor."""
        return Segmenter(self.model, self.prompts, settings, self.method, support=self.support)

    def with_bucket_size(self, bucket_size: int) -> Segmenter:
        """The same with other buckets; shares the prompts. Raises SettingsError out of range."""
        other = copy.copy(self)
        other.settings = self.settings.replace({"bucket_size": bucket_size})
        other.bucket_size = bucket_size
        return other

    def reading_back(self) -> Segmenter:
        """The same, but asking the device in every frame, after each few queries, whether further
        ones can still be seen; on a GPU that is otherwise done with many queries only.
        """
        other = copy.copy(self)
        other._most_unread = 0
        return other

    def segment(
        self,
        image: NDArray[np.uint8],
        wanted: Wanted = LABELS_ONLY,
        chooser: Chooser | None = None,
    ) -> Segmentation:
        """Segment one image, uint8 RGB [H, W, 3]; raises ImageError on another shape or dtype.

        chooser: of the queries to decode, None for what a preview of this image finds. Without
        effect where nothing is pruned.
        """
        (result,) = self.segment_batch([image], [wanted], [chooser])
        return result

    @torch.inference_mode()
    def segment_batch(
        self,
        images: Sequence[NDArray[np.uint8]],
        wanted: Sequence[Wanted],
        choosers: Sequence[Chooser | None],
    ) -> Iterator[Segmentation]:
        """Encode several images of any sizes at once and decode one after the other.

        One entry of ``wanted`` and ``choosers`` an image, as for :meth:`segment`. A stage that
        several images share counts in full for each. Yields the results in the order given, each
        as soon as it is there; "total" is the time since the call.
        """
        timer = StageTimer(self.model.device)
        with timer.stage("upload"):
            sources = [upload(image, self._transfer) for image in images]
            inputs = NetworkInputs(sources, self.model.dtype)
        everything = PreviewAll(self.settings, len(self._query_class), self.pinned_queries)
        own = [chooser or everything for chooser in choosers]
        shared = self.settings.preview_encoding == "shared"
        features = self._encode(inputs, len(images), timer) if shared else None
        previewed = self._choose_preview(images, own, timer)
        found = self._preview(inputs, previewed, features, timer)
        if features is None:
            # Before the preview is waited for, so that a GPU has something to do meanwhile.
            features = self._encode(inputs, len(images), timer)
        choices = self._choose(own, previewed, found)
        for place, (image, choice) in enumerate(zip(images, choices, strict=True)):
            size = (image.shape[0], image.shape[1])
            yield self._finish(features.image(place), size, choice, wanted[place], timer.branch())

    def _encode(self, inputs: NetworkInputs, images: int, timer: StageTimer) -> ImageFeatures:
        with timer.stage("encode"):
            pixels = inputs.batch(range(images), self.resolution)
            return self.model.encode_image(pixels, self.plan)

    def _finish(
        self,
        features: ImageFeatures,
        size: tuple[int, int],
        choice: _Choice,
        wanted: Wanted,
        timer: StageTimer,
    ) -> Segmentation:
        """Decode and fuse one image of ``size`` [height, width]."""
        scores = np.zeros((len(self._classes), *size), np.float16) if wanted.scores else None
        background = self._recipe.background(self.settings)
        active_classes = {self._query_class[query] for query in choice.active}
        recurring = len(active_classes) < len(choice.active)
        totals = ClassScores(
            size,
            self.model.device,
            background,
            scores,
            recurring=recurring,
            dtype=torch.promote_types(self.model.dtype, torch.float32),
        )
        with timer.stage("decode"):
            decoding = self._ask(features, choice.active)
        self._add_up(totals, decoding, choice, wanted, timer)
        with timer.stage("background"):
            labels = self._labels(totals, background)
            pixels = label_pixels(labels, self._highest_id)
            outputs: tuple[Tensor, ...] = (decoding.presence, pixels, labels)
            if wanted.confidence:
                outputs += (_confidence(totals.best),)
        with timer.stage("summary"):
            received = self._transfer.receive(*outputs)
            presence = dict(zip(choice.active, received[0].tolist(), strict=True))
            classes = self._active_classes(choice, presence, received[1].tolist())
            label_map = received[2].numpy()
        if choice.chooser is not None:
            choice.chooser.finish(presence)
        return Segmentation(
            labels=label_map if self.small_labels else label_map.astype(np.uint16),
            presence=choice.presence,
            active_queries=choice.active,
            classes=classes,
            timings_ms=timer.finish(),
            confidence=received[3].numpy() if wanted.confidence else None,
            scores=scores,
        )

    def _add_up(
        self,
        totals: ClassScores,
        decoding: Decoding,
        choice: _Choice,
        wanted: Wanted,
        timer: StageTimer,
    ) -> None:
        """Make the maps of the queries and take what they score.

        Where a kernel merges them and no more than some queries are active, without waiting for
        the device; else only as long as there is something to change, for which the device is
        asked. What every class scores is wanted of those too that cannot be seen.
        """
        in_layers = not wanted.scores and self._merge.fits(self.model.device)
        unread = in_layers and len(choice.active) <= self._most_unread
        for ranks in decoding.groups():
            if not unread and not wanted.scores:
                with timer.stage("fuse"):
                    if self._cannot_show(decoding.bound(ranks), totals, wanted):
                        return
            if in_layers:
                with timer.stage("masks"):
                    queries, layers = decoding.layers(ranks)
                with timer.stage("fuse"):
                    totals.add_layers(self._class_of_query[queries], layers, self._merge)
                continue
            for query, evidence in self._decoded(decoding.evidence(ranks), timer):
                with timer.stage("fuse"):
                    totals.add(self._query_class[query], evidence)

    def _choose_preview(
        self, images: Sequence[NDArray[np.uint8]], choosers: Sequence[Chooser], timer: StageTimer
    ) -> list[tuple[int, ...]]:
        """Which queries to preview in each image."""
        if not self.previews:
            return [() for _ in images]
        with timer.stage("scene_change"):
            return [
                chooser.choose_preview(image)
                for chooser, image in zip(choosers, images, strict=True)
            ]

    def _choose(
        self, choosers: Sequence[Chooser], previewed: Sequence[Sequence[int]], found: Arrival
    ) -> list[_Choice]:
        """Which queries to decode: all of them, or what the choosers take."""
        queries = len(self._query_class)
        if not self.previews:
            unpruned = dict.fromkeys(range(queries), Reason.UNPRUNED)
            return [_Choice(unpruned, (None,) * queries, None) for _ in choosers]
        arrived = iter(found.wait())
        choices = []
        for chooser, looked in zip(choosers, previewed, strict=True):
            presence = next(arrived) if looked else torch.empty(0)
            known = dict(zip(looked, presence.tolist(), strict=True))
            choices.append(
                _Choice(
                    chooser.choose_decode(presence), tuple(map(known.get, range(queries))), chooser
                )
            )
        return choices

    def _preview(
        self,
        inputs: NetworkInputs,
        previewed: Sequence[Sequence[int]],
        shared: ImageFeatures | None,
        timer: StageTimer,
    ) -> Arrival:
        """Presence probability of the queries to preview, of each image that has some, float32.

        shared: what the images were encoded to for decoding and is to be previewed; None to encode
        them once more, smaller.
        """
        places = [place for place, looked in enumerate(previewed) if looked]
        features: ImageTokens | None = shared
        if shared is None and places:
            with timer.stage("preview_encode"):
                pixels = inputs.batch(places, self.preview_resolution)
                features = self.model.encode_tokens(pixels, self.plan)
        if features is None or not places:
            return self._transfer.begin()
        with timer.stage("preview"):
            found = []
            for order, place in enumerate(places):
                prompts = self._text
                if len(previewed[place]) < len(prompts):
                    prompts = prompts[self._transfer.send(torch.tensor(previewed[place]))]
                one = features.image(order if shared is None else place)
                found.append(presence_probabilities(self.model, one, prompts, self.bucket_size))
            return self._transfer.begin(*found)

    def _ask(self, features: ImageFeatures, active: Sequence[int]) -> Decoding:
        return Decoding(
            self.model,
            features,
            self._full,
            active,
            bucket_size=1 if self._recipe.one_by_one else self.bucket_size,
            confidence_threshold=self.settings.confidence_threshold,
            weigh=self._recipe.weigh,
            transfer=self._transfer,
        )

    def _cannot_show(self, bound: float, totals: ClassScores, wanted: Wanted) -> bool:
        """Whether queries that score at most ``bound`` can change nothing that is wanted."""
        return bound <= 0 or bound < totals.settled_below(labels_only=not wanted.confidence)

    def _decoded(
        self, group: Iterator[tuple[int, Evidence]], timer: StageTimer
    ) -> Iterator[tuple[int, Evidence]]:
        while True:
            with timer.stage("masks"):
                query = next(group, None)
            if query is None:
                return
            yield query

    def _labels(self, totals: ClassScores, background: Background) -> Tensor:
        """Class ids [H, W], uint8 where those suffice, else int32."""
        # several times as fast as ids[totals.index]
        labels = self._class_id.index_select(0, totals.index.flatten()).view_as(totals.index)
        empty = background.empty(totals.best, totals.second)
        return labels if empty is None else labels.masked_fill_(empty, self.settings.background_id)

    def _active_classes(
        self, choice: _Choice, presence: Mapping[int, float], pixels: Sequence[int]
    ) -> tuple[ActiveClass, ...]:
        """presence: of every query that was decoded; pixels: of every id."""
        best: dict[int, float] = {}
        reasons: dict[int, list[Reason]] = {}
        for query, reason in choice.reasons.items():
            index = self._query_class[query]
            best[index] = max(best.get(index, 0.0), presence[query])
            reasons.setdefault(index, []).append(reason)
        return tuple(
            ActiveClass(
                id=entry.id,
                name=entry.name,
                presence=best.get(index),
                pixels=pixels[entry.id],
                reason=min(reasons.get(index, [Reason.UNPRUNED]), key=_REASONS_BY_RANK.index),
            )
            for index, entry in enumerate(self._classes)
            if index in best or pixels[entry.id]
        )


@dataclass(frozen=True, slots=True)
class _Choice:
    """Queries to decode, ascending, each with why; what the preview said of every query.

    chooser: who chose and is told of the outcome, None where nothing is pruned.
    """

    reasons: Mapping[int, Reason]
    presence: tuple[float | None, ...]
    chooser: Chooser | None

    @property
    def active(self) -> tuple[int, ...]:
        return tuple(self.reasons)


def _resolution(name: str, value: int, default: int, config: Sam3Config) -> int:
    """``value`` or, where that is 0, ``default``; a multiple of the patch size."""
    if value % config.patch_size:
        raise SettingsError(
            f"{name}={value} is not a multiple of the network's patch size "
            f"{config.patch_size}; give for example "
            f"{max(1, value // config.patch_size) * config.patch_size}."
        )
    return value or default


def _confidence(best: Tensor) -> Tensor:
    """Best class score as a share of 255, uint8 [H, W]."""
    return (best * 255).round_().clamp_(0, 255).byte()
