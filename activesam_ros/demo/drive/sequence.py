"""A drive as a sequence of frames, in order or by index."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from activesam_ros.demo.drive.options import DriveOptions
from activesam_ros.demo.rendering.camera import drive_cameras
from activesam_ros.demo.rendering.render import Renderer
from activesam_ros.demo.rendering.texture_atlas import DriveTextures
from activesam_ros.demo.world.world import World
from activesam_ros.errors import UsageError

MAX_WORKERS = 4


@dataclass(frozen=True)
class DriveFrame:
    """The images and labels of a moment, one entry per camera.

    images: uint8 RGB [H, W, 3].
    labels: uint8 [H, W], Cityscapes train ids, 255 unlabelled.
    instances: uint16 [H, W], 0 where there is no countable object, else a number that the
        object keeps for the whole drive; None unless requested.
    """

    index: int
    stamp_ns: int
    images: tuple[NDArray[np.uint8], ...]
    labels: tuple[NDArray[np.uint8], ...]
    instances: tuple[NDArray[np.uint16], ...] | None = None


class Drive:
    """The frames of one drive. Immutable; frames may be rendered from several threads."""

    def __init__(self, options: DriveOptions) -> None:
        self.options = options
        camera_rng = np.random.default_rng([options.seed, 1])
        self.cameras = drive_cameras(camera_rng, options.width, options.height, options.cameras)
        self._world = World(options.seed, duration_s=options.frames / options.rate_hz)
        textures = DriveTextures.of_seed(options.seed)
        self._looks_back = any(camera.looks_back for camera in self.cameras)
        self._renderers = tuple(
            Renderer(self._world, textures, camera, noise_key=(options.seed, 11, number))
            for number, camera in enumerate(self.cameras)
        )

    def __len__(self) -> int:
        return self.options.frames

    def __iter__(self) -> Iterator[DriveFrame]:
        return (self.frame(index) for index in range(len(self)))

    def frame(self, index: int, instances: bool = False) -> DriveFrame:
        """Render frame ``index``, counted from 0; it does not depend on the frames rendered before.

        Raises UsageError when the drive has no such frame.
        """
        if not 0 <= index < len(self):
            raise UsageError(f"The drive has no frame {index}; give 0 to {len(self) - 1}.")
        surroundings = self._world.surroundings(index / self.options.rate_hz, self._looks_back)
        views = [renderer.view(surroundings, index) for renderer in self._renderers]
        return DriveFrame(
            index=index,
            stamp_ns=self.options.stamp_ns(index),
            images=tuple(view.image for view in views),
            labels=tuple(view.labels for view in views),
            instances=tuple(view.instances for view in views) if instances else None,
        )


def frames_in_order(drive: Drive, workers: int | None = None) -> Iterator[DriveFrame]:
    """All frames in order, rendered ahead by ``workers`` threads (None: one a core, at most 4)."""
    count = workers or min(os.cpu_count() or 1, MAX_WORKERS)
    pending: deque[Future[DriveFrame]] = deque()
    with ThreadPoolExecutor(count) as pool:
        try:
            for index in range(len(drive)):
                pending.append(pool.submit(drive.frame, index))
                if len(pending) > count:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
