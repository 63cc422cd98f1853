"""Batches: images, the prompts for all of them, and the ground truth of every pair.

A batch depends only on the seed and the step, so that a resumed run sees the same batches as an
uninterrupted one.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from activesam_ros.demo.world.classes import CLASS_COUNT, ClassId
from activesam_ros.sam3.config import Sam3Config
from training.frames import TrainingFrames
from training.options import BatchOptions, TrainingOptions
from training.prompts import ABSENT, TrainingPrompts

# A class that covers less of a frame counts as neither present nor absent.
SMALLEST_SHARE = 0.0004
# Smaller objects are only part of the semantic map.
SMALLEST_OBJECT_CELLS = 6
CONTEXT_TOKENS = 4


@dataclass(frozen=True, eq=False)
class BatchTruth:
    """The ground truth of B images and K prompts on a mask grid of g x g cells.

    presence, presence_weight: float32 [B, K]. pairs: int64 [P], flat indices (image * K + prompt)
    of the pairs whose class is present. semantic: float32 [P, g, g], share of each cell that the
    class covers; valid: float32 [P, g, g], share that is labelled. Of the O objects: masks, float32
    [O, g, g]; boxes, float32 [O, 4] (cx, cy, w, h as fractions of the image); owners, int64 [O],
    indices into pairs.
    """

    presence: Tensor
    presence_weight: Tensor
    pairs: Tensor
    semantic: Tensor
    valid: Tensor
    masks: Tensor
    boxes: Tensor
    owners: Tensor

    def to(self, device: torch.device) -> BatchTruth:
        """A copy on ``device``."""
        return BatchTruth(*(value.to(device) for value in vars(self).values()))


_Batch = TypeVar("_Batch", bound="ImageBatch")


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """B images, which is all that stage 1 needs.

    pixels: uint8 [B, 3, S, S]. labels: uint8 [B, M, M]. gain, offset: float32 [B, 3, 1, 1], applied
    to the pixels. side: the resolution in pixels that the network sees.
    """

    pixels: Tensor
    labels: Tensor
    gain: Tensor
    offset: Tensor
    side: int

    def to(self: _Batch, device: torch.device) -> _Batch:
        """A copy on ``device``."""
        moved = {
            field.name: getattr(self, field.name).to(device)
            for field in dataclasses.fields(self)
            if field.name != "side"
        }
        return dataclasses.replace(self, **moved)


@dataclass(frozen=True, eq=False)
class Batch(ImageBatch):
    """B images and K prompts.

    vocabulary: int64 [V], rows of the prompt table; the first K are the prompts, all V can become
    neighbours. context: bool [K, 4], the context tokens to keep.
    """

    vocabulary: Tensor
    context: Tensor
    truth: BatchTruth


@dataclass(frozen=True, eq=False)
class StepBatches(Dataset[ImageBatch]):
    """The batches of the steps ``first`` to ``last`` (exclusive), for a DataLoader."""

    frames: TrainingFrames
    prompts: TrainingPrompts
    config: Sam3Config
    options: TrainingOptions
    first: int
    last: int

    def __len__(self) -> int:
        return max(self.last - self.first, 0)

    def __getitem__(self, index: int) -> ImageBatch:
        step, options = self.first + index, self.options
        if step < options.encoder_steps:
            rng = np.random.default_rng([options.seed, step])
            return make_images(rng, self.frames, self.config, options.encoder_batch)
        return make_batch(step, self.frames, self.prompts, self.config, options.batch, options.seed)


def make_images(
    rng: np.random.Generator, frames: TrainingFrames, config: Sam3Config, options: BatchOptions
) -> ImageBatch:
    """Randomly drawn images, half of them mirrored."""
    chosen, mirrored = _drawn(rng, frames, options)
    return _lit(
        rng,
        _taken(frames.pixels, chosen, mirrored),
        _taken(frames.labels, chosen, mirrored),
        config,
        options,
    )


def make_batch(
    step: int,
    frames: TrainingFrames,
    prompts: TrainingPrompts,
    config: Sam3Config,
    options: BatchOptions,
    seed: int,
) -> Batch:
    """The batch of a step, with prompts and ground truth."""
    rng = np.random.default_rng([seed, step])
    chosen, mirrored = _drawn(rng, frames, options)
    labels = _taken(frames.labels, chosen, mirrored)
    images = _lit(rng, _taken(frames.pixels, chosen, mirrored), labels, config, options)
    asked = _choose_prompts(rng, labels, prompts, options)
    is_full = images.side == config.resolution
    return Batch(
        **vars(images),
        vocabulary=torch.from_numpy(_vocabulary(rng, asked, prompts)),
        context=torch.from_numpy(_kept_context(rng, len(asked), is_full, options)),
        truth=make_truth(
            labels,
            _taken(frames.instances, chosen, mirrored),
            prompts.class_ids[asked],
            grid=images.side // config.patch_size * 4,
            most_objects=config.num_queries // 2,
        ),
    )


def _drawn(
    rng: np.random.Generator, frames: TrainingFrames, options: BatchOptions
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The indices of the frames [B], and whether each is mirrored [B]."""
    return rng.integers(len(frames), size=options.images), rng.random(options.images) < 0.5


def _taken(
    part: NDArray[np.uint8], chosen: NDArray[np.int64], mirrored: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    return np.stack(
        [
            part[index, ..., ::-1] if flip else part[index]
            for index, flip in zip(chosen, mirrored, strict=True)
        ]
    )


def _lit(
    rng: np.random.Generator,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    config: Sam3Config,
    options: BatchOptions,
) -> ImageBatch:
    """The images at one of the two resolutions, with a random gain and offset each."""
    side = config.resolution
    if rng.random() >= options.full_resolution_share:
        side = config.resolution * 2 // 3 // config.patch_size * config.patch_size
    light = rng.uniform(-options.light, options.light, (2, options.images, 1))
    tint = rng.uniform(-options.light, options.light, (2, options.images, 3)) / 3
    gain, offset = (light + tint).astype(np.float32)[..., None, None]
    return ImageBatch(
        pixels=torch.from_numpy(pixels),
        labels=torch.from_numpy(labels),
        gain=torch.from_numpy(1 + gain),
        offset=torch.from_numpy(offset),
        side=side,
    )


def make_truth(
    labels: NDArray[np.uint8],
    instances: NDArray[np.uint8],
    classes: NDArray[np.int64],
    grid: int,
    most_objects: int,
) -> BatchTruth:
    """The ground truth of every pair of an image and a class (or ABSENT).

    labels, instances: uint8 [B, M, M]. The pixels of a class without an instance number are one
    object: all of a stuff class, or the rest of a countable one.
    """
    shares = np.stack([(labels == wanted).mean((1, 2)) for wanted in classes], axis=1)
    shares[:, classes == ABSENT] = 0
    present = shares >= SMALLEST_SHARE
    semantic, valid, masks, boxes, owners = [], [], [], [], []
    pairs = np.argwhere(present)
    for owner, (image, prompt) in enumerate(pairs):
        region = labels[image] == classes[prompt]
        semantic.append(region)
        valid.append(labels[image] != ClassId.UNLABELLED)
        for mask in _objects(region, instances[image], most_objects):
            masks.append(mask)
            boxes.append(_box(mask))
            owners.append(owner)
    side = labels.shape[1]
    return BatchTruth(
        presence=torch.from_numpy(present.astype(np.float32)),
        presence_weight=torch.from_numpy((present | (shares == 0)).astype(np.float32)),
        pairs=torch.from_numpy(pairs @ np.array([len(classes), 1])),
        semantic=_cell_shares(semantic, side, grid),
        valid=_cell_shares(valid, side, grid),
        masks=_cell_shares(masks, side, grid),
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        owners=torch.tensor(owners, dtype=torch.int64),
    )


def _objects(
    region: NDArray[np.bool_], instances: NDArray[np.uint8], most: int
) -> list[NDArray[np.bool_]]:
    """The masks of the objects of a class, largest first."""
    numbers, counts = np.unique(instances[region], return_counts=True)
    order = np.argsort(counts, kind="stable")[::-1]
    large = [numbers[index] for index in order if counts[index] >= SMALLEST_OBJECT_CELLS]
    return [region & (instances == number) for number in large[:most]]


def _box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, bottom = rows[0] / height, (rows[-1] + 1) / height
    left, right = columns[0] / width, (columns[-1] + 1) / width
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def _cell_shares(masks: list[NDArray[np.bool_]], side: int, grid: int) -> Tensor:
    """The share of each cell that a mask covers, float32 [N, grid, grid]."""
    if not masks:
        return torch.zeros(0, grid, grid)
    stacked = torch.from_numpy(np.stack(masks)).float().reshape(-1, 1, side, side)
    return torch.nn.functional.adaptive_avg_pool2d(stacked, grid)[:, 0]


def _choose_prompts(
    rng: np.random.Generator,
    labels: NDArray[np.uint8],
    prompts: TrainingPrompts,
    options: BatchOptions,
) -> NDArray[np.int64]:
    """Rows of the table: present classes (rare ones more often), other classes, absent names."""
    counts = np.stack([np.bincount(image.ravel(), minlength=256) for image in labels])
    images_with = (counts[:, :CLASS_COUNT] > 0).sum(0)
    seen, unseen = np.flatnonzero(images_with), np.flatnonzero(images_with == 0)
    weight = 1 / np.sqrt(images_with[seen])
    count = min(options.present_prompts, len(seen))
    classes = list(rng.choice(seen, size=count, replace=False, p=weight / weight.sum()))
    missing = rng.permutation(unseen)[: options.prompts // 4]
    absent_rows = np.flatnonzero(prompts.class_ids == ABSENT)
    rows = [_name_of(rng, identity, prompts, options) for identity in (*classes, *missing)]
    absent = rng.choice(absent_rows, size=max(options.prompts - len(rows), 1), replace=False)
    return np.concatenate((np.array(rows, dtype=np.int64), absent))


def _name_of(
    rng: np.random.Generator, identity: int, prompts: TrainingPrompts, options: BatchOptions
) -> int:
    """A row for the class: a bundled name or a synonym."""
    of_class = prompts.class_ids == identity
    wanted = of_class & (prompts.bundled != (rng.random() < options.synonym_share))
    return int(rng.choice(np.flatnonzero(wanted if wanted.any() else of_class)))


def _vocabulary(
    rng: np.random.Generator, asked: NDArray[np.int64], prompts: TrainingPrompts
) -> NDArray[np.int64]:
    """The possible neighbours: the bundled names, in half of the batches also some others."""
    others = np.flatnonzero(prompts.bundled)
    if rng.random() < 0.5:
        rest = np.flatnonzero(~prompts.bundled)
        some = rng.choice(rest, size=int(rng.integers(len(rest))), replace=False)
        others = np.concatenate((others, some))
    return np.concatenate((asked, others[~np.isin(others, asked)]))


def _kept_context(
    rng: np.random.Generator, count: int, is_full: bool, options: BatchOptions
) -> NDArray[np.bool_]:
    """The context tokens to keep [K, 4]: most at full resolution, few in the preview."""
    plain_share = options.plain_share if is_full else 1 - options.plain_share
    keep = rng.random((count, CONTEXT_TOKENS)) >= options.context_drop
    keep[rng.random(count) < plain_share] = False
    return keep
