"""A frame's way through the method: preview, active set, decode, fuse, background."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from activesam_ros.errors import ScoreError, SettingsError
from activesam_ros.prompts.table import PromptTable
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.decoder import DecoderPart
from activesam_ros.sam3.model import ImageFeatures, ImageNetwork, ImageTokens, Prompts
from activesam_ros.sam3.plan import ImagePlan
from activesam_ros.segmentation.active_set import ActiveSet, Chooser, PreviewAll, Selection
from activesam_ros.segmentation.background import (
    MAX_ID_UINT8,
    background_class,
    background_label,
    has_small_ids,
)
from activesam_ros.segmentation.decode import Decoding, Screening
from activesam_ros.segmentation.device.bucket_size import automatic, query_bytes
from activesam_ros.segmentation.device.support import DeviceSupport
from activesam_ros.segmentation.device.timing import StageTimer
from activesam_ros.segmentation.device.transfer import PendingCopy
from activesam_ros.segmentation.exclusive_decoding.decoder import ConceptRule, DeviceSignatures
from activesam_ros.segmentation.fuse import Evidence, label_pixels, score_map
from activesam_ros.segmentation.labeller import Labeller
from activesam_ros.segmentation.methods import METHODS, Method, preset_settings
from activesam_ros.segmentation.pixels import NetworkInputs, upload
from activesam_ros.segmentation.preview import preview
from activesam_ros.segmentation.result import Segmentation, Wanted, active_classes
from activesam_ros.segmentation.signatures import Signatures, read_signatures, warn_of_doubts
from activesam_ros.settings import Settings
from activesam_ros.sparsity.plan import image_plan

LABELS_ONLY = Wanted()


class Segmenter:
    """Segments images of any size with one network, one vocabulary and one set of settings.

    Each image is segmented by itself; StreamingSegmenter carries the active set from frame to
    frame. Immutable and cheap to construct: for other settings or prompts make another one on the
    same network.
    """

    def __init__(
        self,
        model: ImageNetwork,
        prompts: PromptTable,
        settings: Settings,
        method: Method = Method.ACTIVESAM2,
        *,
        support: DeviceSupport | None = None,
        signatures: Signatures | None = None,
        fingerprint: Callable[[], str] | None = None,
    ) -> None:
        """``prompts`` must be on the model's device and in its dtype, ``model`` what the settings'
        preset wants (Network.model_for).

        support: of the loaded network, so that a failed kernel is remembered when settings change;
        None for a new one of the model's device. signatures: those of ``settings.signatures``, None
        to read that file. fingerprint: gives that of the model's weights, None where unknown; a
        file of signatures made with other weights is used with a warning.

        Raises SettingsError when ``streaming`` is on, a resolution is not a multiple of the patch
        size, a setting does not fit the network or background_id is a class; VocabularyError when a
        pinned name or the background_class is not in the vocabulary; SignaturesError when the
        signatures cannot be read or do not fit the vocabulary.
        """
        if settings.streaming:
            raise SettingsError(
                "streaming=true carries the active set from frame to frame, which a Segmenter does "
                "not do; make a StreamingSegmenter (network.streaming_segmenter), or set "
                "streaming=false."
            )
        self.model = model
        self.prompts = prompts
        self.settings = settings
        self.method = method
        self._steps = METHODS[method]
        self._vocabulary = prompts.vocabulary
        self._query_class = prompts.vocabulary.query_class
        self._ids = [entry.id for entry in prompts.vocabulary.classes]
        self.background_id = background_label(prompts.vocabulary, settings)
        self._highest_id = max(*self._ids, self.background_id)
        self.pinned_queries = prompts.vocabulary.pinned_queries(settings.pinned)
        config = model.config
        self.support = support or DeviceSupport.of(model.device)
        self.plan = image_plan(preset_settings(settings), config, lambda: self.support.attention)
        self.resolution = _resolution("resolution", settings.resolution, config.resolution, config)
        thirds = self.resolution * (1 if self._steps.by_presence else 2) // 3
        self.preview_resolution = _resolution(
            "preview_resolution",
            settings.preview_resolution,
            max(thirds // config.patch_size, 1) * config.patch_size,
            config,
        )
        self._preview_part = (
            DecoderPart(settings.preview_layers, settings.preview_queries)
            if self._steps.by_presence
            else None
        )
        self.signatures = signatures
        self._fingerprint = fingerprint
        if self.signatures is None and settings.signatures and self._steps.by_presence:
            path = Path(settings.signatures).expanduser()
            self.signatures = read_signatures(path)
            warn_of_doubts(self.signatures, path, fingerprint)
        self.bucket_size = (
            automatic(
                self.support.free_memory(model.device),
                query_bytes(config, model.dtype, self.resolution),
            )
            if isinstance(settings.bucket_size, str)
            else settings.bucket_size
        )
        dtype = torch.uint8 if self.small_labels else torch.int32
        send = self.support.transfer.send
        self._class_id = send(torch.tensor(self._ids, dtype=dtype))  # [classes]
        self._labeller = Labeller(
            self._query_class,
            send(torch.tensor(self._query_class, dtype=torch.int32)),  # [K]
            self._steps.background(settings),
            self.support,
            self._concepts(),
        )
        classes = self._vocabulary.classes
        self._query_thresholds = [classes[index].threshold for index in self._query_class]
        self._thresholds = None
        if any(self._query_thresholds):
            float_dtype = torch.promote_types(model.dtype, torch.float32)
            self._thresholds = send(torch.tensor(self._query_thresholds, dtype=float_dtype))  # [K]
        self._text = Prompts(prompts.features, prompts.padding)  # [K, T, d]
        self._expanded = self._text
        if self._steps.expands:
            self._expanded = Prompts(
                torch.cat((prompts.features, prompts.context), dim=1),  # [K, T + C, d]
                torch.cat((prompts.padding, prompts.context_padding), dim=1),  # [K, T + C]
            )

    @property
    def previews(self) -> bool:
        """Whether images are previewed; see MethodSteps.prunes."""
        return self._steps.prunes(self.settings, len(self._query_class))

    @property
    def small_labels(self) -> bool:
        """Whether label maps are uint8: the number of classes and every id allow it."""
        return has_small_ids(self._vocabulary) and self.background_id <= MAX_ID_UINT8

    @property
    def _shared_encoding(self) -> bool:
        return self.settings.preview_encoding == "shared"

    def _concepts(self) -> tuple[DeviceSignatures, ConceptRule] | None:
        """What exclusive concept decoding needs; None without signatures."""
        if self.signatures is None:
            return None
        classes = self._vocabulary.classes
        named = background_class(self._vocabulary, self.settings)
        rule = ConceptRule(
            self.settings.sigma,
            self.settings.background_offset,
            None if named is None else classes.index(named),
        )
        fitting = self.signatures.for_names([entry.name for entry in classes])
        return DeviceSignatures.of(fitting, self.model.device), rule

    def with_settings(self, settings: Settings) -> Segmenter:
        """The same network, prompts and method with other settings; raises as the constructor."""
        kept = self.signatures if settings.signatures == self.settings.signatures else None
        return Segmenter(
            self.model,
            self.prompts,
            settings,
            self.method,
            support=self.support,
            signatures=kept,
            fingerprint=self._fingerprint,
        )

    def with_bucket_size(self, bucket_size: int) -> Segmenter:
        """A copy with other buckets that shares the prompts; raises SettingsError out of range."""
        other = copy.copy(self)
        other.settings = self.settings.replace({"bucket_size": bucket_size})
        other.bucket_size = bucket_size
        return other

    def with_plan(self, plan: ImagePlan) -> Segmenter:
        """A copy that is sparse as ``plan`` says, whatever the settings say about sparsity."""
        other = copy.copy(self)
        other.plan = plan
        return other

    def early_exit(self, above: int = 0) -> Segmenter:
        """A copy with another Labeller.early_exit_above, by default one that always asks."""
        other = copy.copy(self)
        other._labeller = dataclasses.replace(self._labeller, early_exit_above=above)
        return other

    def segment(
        self,
        image: NDArray[np.uint8],
        wanted: Wanted = LABELS_ONLY,
        chooser: Chooser | None = None,
    ) -> Segmentation:
        """Segment one image, uint8 RGB [H, W, 3]; raises ImageError on another shape or dtype.

        Raises ScoreError where a score is NaN or infinite.

        chooser: chooses the active set; None uses PreviewAll. Ignored where nothing is pruned.
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

        ``wanted`` and ``choosers`` have one entry per image, as for :meth:`segment`. Yields the
        results in the order of the images, each as soon as it is there. The time of a stage that
        images share counts in full for each of them; "total" is the time since the call.
        """
        timer = StageTimer(self.model.device)
        features, active = self._admit(images, choosers, timer)
        for place, (image, active_set) in enumerate(zip(images, active, strict=True)):
            size = (image.shape[0], image.shape[1])
            one = features.image(place)
            yield self._segment_one(one, size, active_set, wanted[place], timer.branch())

    @torch.inference_mode()
    def class_maps(self, image: NDArray[np.uint8]) -> Iterator[tuple[int, Tensor]]:
        """The score map [H, W] of each active class of one image, uint8 RGB [H, W, 3].

        Gives the index of the class and its map, ascending, one at a time. Classes whose queries
        are all rejected by the screening are among them; their maps are 0. Raises ScoreError where
        a score is NaN or infinite.
        """
        timer = StageTimer(self.model.device)
        features, (active,) = self._admit([image], [None], timer)
        decoding = self._decoding(features.image(0), active)
        size = (image.shape[0], image.shape[1])
        found: dict[int, list[Evidence]] = {
            self._query_class[query]: [] for query in active.queries
        }
        for ranks in decoding.groups():
            for query, evidence in decoding.evidence(ranks):
                found[self._query_class[query]].append(evidence)
        for index in sorted(found):
            total = decoding.presence.new_zeros(size)  # [H, W]
            for evidence in found.pop(index):
                torch.maximum(total, score_map(evidence, size), out=total)
            _check_finite(total, "class score")
            yield index, total

    def _admit(
        self,
        images: Sequence[NDArray[np.uint8]],
        choosers: Sequence[Chooser | None],
        timer: StageTimer,
    ) -> tuple[ImageFeatures, list[ActiveSet]]:
        """The features of all images, and which queries to decode in each."""
        with timer.stage("upload"):
            sources = [upload(image, self.support.transfer) for image in images]  # [1, 3, H, W]
            inputs = self.network_inputs(sources)
        own = PreviewAll(
            Selection(self._steps.by_presence, self._steps.resolved(self.settings)),
            len(self._query_class),
            self._steps.admitted_always(self._vocabulary, self.settings),
        )
        every = [chooser or own for chooser in choosers]
        features = self._encode(inputs, len(images), timer) if self._shared_encoding else None
        previewed = self._choose_preview(images, every, timer)
        presence = self._preview(inputs, previewed, features, timer)
        if features is None:
            # Before the host waits for the preview, so that a GPU is not idle meanwhile.
            features = self._encode(inputs, len(images), timer)
        return features, self._choose_decode(every, previewed, presence)

    def network_inputs(self, sources: Sequence[Tensor]) -> NetworkInputs:
        """The images uint8 [1, 3, H, W] as the network sees them; to be overridden."""
        return NetworkInputs(sources, self.model.dtype)

    def _encode(self, inputs: NetworkInputs, images: int, timer: StageTimer) -> ImageFeatures:
        with timer.stage("encode"):
            pixels = inputs.batch(range(images), self.resolution)  # [B, 3, S, S]
            return self.model.encode_image(pixels, self.plan)

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

    def _preview(
        self,
        inputs: NetworkInputs,
        previewed: Sequence[Sequence[int]],
        shared: ImageFeatures | None,
        timer: StageTimer,
    ) -> PendingCopy:
        """Begin to preview those images that have queries to preview.

        shared: the encoding made for decoding, to be previewed too; None to encode the images once
        more at preview_resolution.
        """
        places = [place for place, queries in enumerate(previewed) if queries]
        if not places:
            return self.support.transfer.begin()
        tokens: list[ImageTokens]
        if shared is not None:
            tokens = [shared.image(place) for place in places]
        else:
            with timer.stage("preview_encode"):
                pixels = inputs.batch(places, self.preview_resolution)  # [B', 3, S', S']
                encoded = self.model.encode_tokens(pixels, self.plan)
                tokens = [encoded.image(order) for order in range(len(places))]
        queries = [previewed[place] for place in places]
        with timer.stage("preview"):
            return preview(
                self.model,
                tokens,
                queries,
                self._text,
                self._preview_part,
                self.bucket_size,
                self.support.transfer,
            )

    def _choose_decode(
        self,
        choosers: Sequence[Chooser],
        previewed: Sequence[Sequence[int]],
        pending: PendingCopy,
    ) -> list[ActiveSet]:
        """Which queries to decode in each image; synchronises where some were previewed."""
        queries = len(self._query_class)
        if not self.previews:
            return [ActiveSet.unpruned(queries) for _ in choosers]
        arrived = iter(pending.wait())
        active = []
        for chooser, some in zip(choosers, previewed, strict=True):
            presence = next(arrived) if some else torch.empty(0)  # [previewed]
            _check_finite(presence, "presence in the preview")
            active.append(ActiveSet.chosen(chooser, some, presence, queries))
        return active

    def _segment_one(
        self,
        features: ImageFeatures,
        size: tuple[int, int],
        active: ActiveSet,
        wanted: Wanted,
        timer: StageTimer,
    ) -> Segmentation:
        """Decode one image of ``size`` [height, width], fuse, calibrate and sum up."""
        scores = np.zeros((len(self._ids), *size), np.float16) if wanted.scores else None
        with timer.stage("decode"):
            decoding = self._decoding(features, active)
        classes = self._labeller.label(decoding, active.queries, size, wanted, scores, timer)
        with timer.stage("background"):
            # Several times as fast as ids[index].
            labels = self._class_id.index_select(0, classes.index.flatten())  # [H * W]
            labels = labels.view_as(classes.index).masked_fill_(
                classes.empty, self.background_id
            )  # [H, W]
            pixels = label_pixels(labels, self._highest_id)  # [highest id + 1]
            pixels = pixels.index_select(0, self._class_id.long())  # [classes]
            # NaN is the highest of all.
            outputs: tuple[Tensor, ...] = (decoding.presence, pixels, labels, classes.best.amax())
            if wanted.confidence:
                outputs += (_confidence(classes.best),)
        with timer.stage("summary"):
            received = self.support.transfer.receive(*outputs)
            _check_finite(received[0], "presence")
            _check_finite(received[3], "class score")
            presence = dict(zip(decoding.queries, received[0].tolist(), strict=True))
            label_map = received[2].numpy()
        if active.chooser is not None:
            active.chooser.finish(decoding.screened | presence)
        return Segmentation(
            labels=label_map if self.small_labels else label_map.astype(np.uint16),
            preview_presence=active.preview,
            active_queries=tuple(sorted(decoding.queries)),
            classes=active_classes(
                self._vocabulary,
                {query: active.reasons[query] for query in decoding.queries},
                presence,
                received[1].tolist(),
            ),
            timings_ms=timer.finish(),
            confidence=received[4].numpy() if wanted.confidence else None,
            scores=scores,
            admitted_queries=active.queries if decoding.screened else (),
            background_id=self.background_id,
        )

    def _decoding(self, features: ImageFeatures, active: ActiveSet) -> Decoding:
        settings = self.settings
        screening = None
        if self._steps.by_presence and self.previews:
            pinned = frozenset(self.pinned_queries)
            screening = Screening(
                settings.tau, settings.screening_chunk, pinned, self._query_thresholds
            )
        decoding = Decoding(
            self.model,
            features,
            self._expanded,
            active.queries,
            bucket_size=1 if self._steps.one_by_one else self.bucket_size,
            confidence_threshold=settings.confidence_threshold,
            weigh=self._steps.weigh,
            transfer=self.support.transfer,
            screening=screening,
            thresholds=self._thresholds,
        )
        # NaN is below tau: the query would count as absent.
        _check_finite(torch.tensor(list(decoding.screened.values())), "presence in the screening")
        return decoding


def _resolution(name: str, value: int, default: int, config: Sam3Config) -> int:
    """``value`` or, where that is 0, ``default``; a multiple of the patch size."""
    if value % config.patch_size:
        raise SettingsError(
            f"{name}={value} is not a multiple of the network's patch size "
            f"{config.patch_size}; give for example "
            f"{max(1, value // config.patch_size) * config.patch_size}."
        )
    return value or default


def _check_finite(values: Tensor, what: str) -> None:
    """Raise ScoreError if one of ``values`` is NaN or infinite; synchronises on a GPU."""
    if not values.isfinite().all():
        raise ScoreError(
            f"The network gives a {what} that is NaN or infinite, so this image gets no labels; "
            "try dtype=float32, preset=exact and compile=never, and other weights."
        )


def _confidence(best: Tensor) -> Tensor:
    """The best class scores x 255, uint8 [H, W]."""
    return (best * 255).round_().clamp_(0, 255).byte()
