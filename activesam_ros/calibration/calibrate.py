"""Estimate signatures from the images of recordings, videos and image files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from activesam_ros.calibration.estimator import (
    CalibrationSettings,
    SignatureSums,
    pooled_scores,
    sums_of_image,
)
from activesam_ros.calibration.signature_files import Checkpoint
from activesam_ros.errors import ImageError
from activesam_ros.recordings.frame_pixels import rgb_decoder
from activesam_ros.recordings.recorded_frames import RecordedFrame
from activesam_ros.segmentation.segmenter import Segmenter

# An interrupted calibration loses at most the work of this time.
KEEP_INTERVAL_S = 30.0


def image_sums(
    segmenter: Segmenter, image: NDArray[np.uint8], settings: CalibrationSettings
) -> SignatureSums:
    """The sums of one image, uint8 RGB [H, W, 3], in the memory of its maps and one class map."""
    active: list[int] = []

    def maps() -> Iterator[Tensor]:
        for index, scores in segmenter.class_maps(image):
            active.append(index)
            yield scores

    scores = pooled_scores(maps(), (image.shape[0], image.shape[1]))
    classes = len(segmenter.prompts.vocabulary.classes)
    return sums_of_image(scores.cpu(), active, classes, settings)


def calibrate(
    segmenter: Segmenter,
    frames: Iterable[RecordedFrame],
    settings: CalibrationSettings,
    done: Checkpoint,
    keep: Callable[[Checkpoint], object],
    advance: Callable[[], object],
) -> Checkpoint:
    """The sums of all frames; goes on from what is ``done``.

    A frame that cannot be decoded is counted and left out. ``advance`` is called after each frame.
    ``keep`` is given what is done now and then, and when an error or Ctrl-C ends the work.
    """
    rules = segmenter.settings
    decode = rgb_decoder(rules.bit_depth, rules.max_image_pixels)
    kept_s = time.monotonic()
    try:
        for frame in islice(frames, done.images, None):
            totals, unusable = done.totals, done.unusable
            try:
                totals = totals + image_sums(segmenter, decode(frame), settings)
            except ImageError:
                unusable += 1
            done = Checkpoint(totals, done.images + 1, unusable)
            advance()
            if time.monotonic() - kept_s > KEEP_INTERVAL_S:
                keep(done)
                kept_s = time.monotonic()
    except BaseException:
        if done.images:
            keep(done)
        raise
    return done
