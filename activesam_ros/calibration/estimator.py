"""The statistics from which signatures are estimated (ActiveSAM 2).

Images go in one after the other, in any order; nothing but sums is kept.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from activesam_ros.segmentation.signatures import SIGNATURE_EPS, Signatures
from activesam_ros.setting_table import Setting, check_fields, setting, settings_of

# Maps are averaged over cells of this many pixels a side.
CELL = 4
# Scores are rounded to this many levels.
LEVELS = 255
# The mean of a group without pixels.
UNKNOWN_MEAN = 0.5
MASS_EPS = 1e-6


class Group(enum.IntEnum):
    """The pixels whose scores a row of sums adds up, for each class.

    WON: the class scores most. EXCLUSIVE: it also scores more than core_high, and every other class
    less than core_low. CONFIDENT: it scores more than core_high, whether it scores most or not.
    """

    WON = 0
    EXCLUSIVE = 1
    CONFIDENT = 2


@dataclass(frozen=True)
class CalibrationSettings:
    """Which pixels count as exclusive, and how many a class needs.

    Raises SettingsError if a value has the wrong type or is out of range.
    """

    core_high: float = setting(
        0.5,
        "Calibration: a pixel is sure of its class if the class scores more than this there.",
        between=(0.0, 1.0),
    )
    core_low: float = setting(
        0.3,
        "Calibration: a pixel is of one class alone if every other class scores less than this.",
        between=(0.0, 1.0),
    )
    min_pixels: int = setting(
        2000,
        "Calibration: a class that wins fewer cells of 4 x 4 pixels than this is not calibrated.",
        between=(1, 1_000_000_000),
        unit="cells",
    )

    def __post_init__(self) -> None:
        check_fields(self, CALIBRATION_SETTINGS)


CALIBRATION_SETTINGS: tuple[Setting, ...] = settings_of(CalibrationSettings)


@dataclass(frozen=True, eq=False)
class SignatureSums:
    """Sums over images, for each group and class.

    sums: float64 [3, C, C], of the score vectors. sizes: float64 [3, C], numbers of cells.
    """

    sums: NDArray[np.float64]
    sizes: NDArray[np.float64]

    @classmethod
    def zeros(cls, classes: int) -> SignatureSums:
        """Of no image."""
        groups = len(Group)
        return cls(np.zeros((groups, classes, classes)), np.zeros((groups, classes)))

    def __add__(self, other: SignatureSums) -> SignatureSums:
        return SignatureSums(self.sums + other.sums, self.sizes + other.sizes)


def pooled_scores(maps: Iterable[Tensor], size: tuple[int, int]) -> Tensor:
    """The score maps [H, W] of n classes, averaged over cells: float32 [n, cells] in 0..1.

    Rounded half to even to LEVELS. An image of ``size`` with a side below CELL has no cell.
    """
    cells = (size[0] // CELL, size[1] // CELL)
    if 0 in cells:
        return torch.zeros(sum(1 for _ in maps), 0)
    rows = [F.adaptive_avg_pool2d(scores[None], cells)[0].flatten() for scores in maps]
    return torch.stack(rows).clamp(0, 1).mul(LEVELS).round().div(LEVELS)


def sums_of_image(
    scores: Tensor, active: Sequence[int], classes: int, settings: CalibrationSettings
) -> SignatureSums:
    """The sums of one image.

    scores: float32 [n, cells] of :func:`pooled_scores`; active: the n classes, ascending indices of
    0..classes - 1. Where no class scores, the first active one wins.
    """
    totals = SignatureSums.zeros(classes)
    if not scores.numel():
        return totals
    won = F.one_hot(scores.argmax(dim=0), len(active)).T.bool()  # [n, cells]
    competitor = scores.masked_fill(won, 0).amax(dim=0)  # [cells]
    confident = scores > settings.core_high  # [n, cells]
    members = torch.stack((won, won & confident & (competitor < settings.core_low), confident))
    members = members.to(scores.dtype)  # [3, n, cells]
    rows = np.asarray(active)
    for group in Group:
        totals.sums[group][np.ix_(rows, rows)] = (members[group] @ scores.T).cpu().numpy()
        totals.sizes[group][rows] = members[group].sum(dim=1, dtype=torch.float64).cpu().numpy()
    return totals


def signatures_of(
    totals: SignatureSums,
    settings: CalibrationSettings,
    background: int | None,
    names: tuple[str, ...] | None = None,
    weights: str = "",
) -> Signatures:
    """The signatures of all images.

    The exclusive signature of a class is the mean of its exclusive group, or of its confident one,
    whichever first has min_pixels; else that of the pixels that it wins. background: the index of
    its class, None for none. names, weights: see Signatures.
    """
    means = np.full_like(totals.sums, UNKNOWN_MEAN)
    sizes = totals.sizes
    np.divide(totals.sums, sizes[..., None], out=means, where=sizes[..., None] > 0)
    won, exclusive, confident = means
    enough = sizes >= settings.min_pixels  # [3, C]
    chosen = np.where(
        enough[Group.EXCLUSIVE, :, None],
        exclusive,
        np.where(enough[Group.CONFIDENT, :, None], confident, won),
    )
    share = sizes[Group.WON] / max(sizes[Group.WON].sum(), 1.0)  # [C]
    return Signatures(
        winning=_bounded(won),
        exclusive=_bounded(chosen),
        log_mass=np.log(np.maximum(share.astype(np.float32), np.float32(MASS_EPS))),
        calibrated=enough[Group.WON],
        background_mass=None if background is None else float(share[background]),
        names=names,
        weights=weights,
    )


def _bounded(means: NDArray[np.float64]) -> NDArray[np.float32]:
    eps = np.float32(SIGNATURE_EPS)
    return np.clip(means.astype(np.float32), eps, np.float32(1) - eps)
