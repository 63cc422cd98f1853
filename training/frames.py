"""Frames of many drives at the size of the network, rendered once and kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from activesam_ros.demo.drive.options import TRAIN_SEEDS
from activesam_ros.errors import MissingDependencyError, UsageError
from activesam_ros.output_files import make_folder, whole_file
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.segmentation.pixels import network_pixels

# Frames of a drive are this far apart, because consecutive frames show nearly the same.
SECONDS_BETWEEN_FRAMES = 2.0
# Instances are renumbered in each frame, so that a byte holds a number.
MAX_INSTANCES = 255


@dataclass(frozen=True, eq=False)
class TrainingFrames:
    """F frames.

    pixels: uint8 [F, 3, S, S] as the network sees them at full resolution; labels: uint8
    [F, M, M], Cityscapes train ids, 255 unlabelled; instances: uint8 [F, M, M], from 1 in each
    frame, 0 where nothing is countable.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    instances: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.pixels)


def label_side(config: Sam3Config) -> int:
    """Side M of the label maps: twice the mask grid, so that a cell can hold several labels."""
    return config.resolution // config.patch_size * 8


def render_shards(
    folder: Path, config: Sam3Config, drives: int, frames_per_drive: int, workers: int
) -> tuple[Path, ...]:
    """Render one ``.npz`` file per drive in ``workers`` processes; existing files are kept."""
    make_folder(folder)
    seeds = TRAIN_SEEDS[:drives]
    paths = tuple(folder / f"drive_{seed:06d}_{config.resolution}.npz" for seed in seeds)
    missing = [(seed, path) for seed, path in zip(seeds, paths, strict=True) if not path.is_file()]
    if missing:
        work = partial(_render_shard, config=config, frames=frames_per_drive)
        with ProcessPoolExecutor(workers) as pool:
            for done, _ in enumerate(pool.map(work, missing), start=1):
                if done % 50 == 0 or done == len(missing):
                    print(f"rendered {done} of {len(missing)} drives", flush=True)
    return paths


def load_frames(paths: Sequence[Path], config: Sam3Config) -> TrainingFrames:
    """Read all frames into memory; raises UsageError for a file of another size."""
    side, labels = config.resolution, label_side(config)
    shards = [_read_shard(path) for path in paths]
    for path, shard in zip(paths, shards, strict=True):
        if shard.pixels.shape[1:] != (3, side, side) or shard.labels.shape[1:] != (labels, labels):
            raise UsageError(
                f"{path} holds frames of {shard.pixels.shape[-1]} px, the network takes {side}; "
                "give another --data folder, or delete the file to render it again."
            )
    return TrainingFrames(
        pixels=np.concatenate([shard.pixels for shard in shards]),
        labels=np.concatenate([shard.labels for shard in shards]),
        instances=np.concatenate([shard.instances for shard in shards]),
    )


def renumbered(instances: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Renumber the objects from 1; if there are too many, the smallest get 0."""
    numbers, inverse, counts = np.unique(instances, return_inverse=True, return_counts=True)
    order = np.argsort(np.where(numbers == 0, -1, counts), kind="stable")[::-1]
    table = np.zeros(len(numbers), dtype=np.uint8)
    kept = [index for index in order[:MAX_INSTANCES] if numbers[index] != 0]
    table[kept] = np.arange(1, len(kept) + 1)
    renamed: NDArray[np.uint8] = table[inverse].reshape(instances.shape)
    return renamed


def _render_shard(job: tuple[int, Path], config: Sam3Config, frames: int) -> None:
    try:
        from activesam_ros.demo.drive.options import DriveOptions
        from activesam_ros.demo.drive.sequence import Drive
    except ImportError as error:
        raise MissingDependencyError(
            f"Rendering needs the package {error.name!r}, which is not installed; render on "
            "another computer and copy the --data folder."
        ) from None
    seed, path = job
    torch.set_num_threads(1)
    drive = Drive(DriveOptions(seed=seed, frames=frames, rate_hz=1 / SECONDS_BETWEEN_FRAMES))
    pixels, labels, instances = [], [], []
    for index in range(frames):
        frame = drive.frame(index, instances=True)
        assert frame.instances is not None
        image = torch.from_numpy(np.ascontiguousarray(frame.images[0])).permute(2, 0, 1)[None]
        seen = network_pixels(image, config.resolution, torch.float32)
        pixels.append(((seen[0] * 0.5 + 0.5) * 255).round().byte().numpy())
        rows, columns = (_centers(length, label_side(config)) for length in frame.labels[0].shape)
        labels.append(frame.labels[0][rows[:, None], columns])
        instances.append(renumbered(frame.instances[0][rows[:, None], columns]))
    with whole_file(path) as stream:
        np.savez(
            stream,
            pixels=np.stack(pixels),
            labels=np.stack(labels),
            instances=np.stack(instances),
        )


def _centers(length: int, count: int) -> NDArray[np.int64]:
    """The indices of the pixels at the centres of ``count`` equal parts of ``length`` pixels."""
    return ((np.arange(count) + 0.5) * length / count).astype(np.int64)


def _read_shard(path: Path) -> TrainingFrames:
    try:
        with np.load(path) as file:
            return TrainingFrames(file["pixels"], file["labels"], file["instances"])
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"{path} holds no training frames ({error}); delete it to render it again."
        ) from None
