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

from activesam_ros.segmentation.fuse import STRIP_VALUES
from activesam_ros.segmentation.signatures import SIGNATURE_EPS, Signatures
from activesam_ros.setting_table import Setting, check_fields, setting, settings_of

# Maps are averaged over cells of this many pixels a side.
CELL = 4
# Scores are rounded to this many levels.
LEVELS = 255
# Sums of levels over so many cells are exact in float32, in any order: they stay below 2^24.
EXACT_CELLS = 2**24 // LEVELS - 1
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
    shrinkage: int = setting(
        0,
        "Calibration: 0 takes the authors' rule, which is min_pixels. Above 0 every class that won "
        "a cell is calibrated: of n cells, n / (n + shrinkage) of its signature is their mean, and "
        "the rest is its own mean score, with 0 for all other classes.",
        between=(0, 1_000_000_000),
        unit="cells",
    )

    @property
    def least_cells(self) -> int:
        """A class that won fewer is not calibrated."""
        return 1 if self.shrinkage else self.min_pixels

    def __post_init__(self) -> None:
        check_fields(self, CALIBRATION_SETTINGS)


CALIBRATION_SETTINGS: tuple[Setting, ...] = settings_of(CalibrationSettings)


@dataclass(eq=False)
class SignatureSums:
    """Sums over images, for each group and each class that was active in one of them.

    They are whole numbers, so that images can be added in any order. classes: int64 [n], ascending
    indices of the vocabulary's classes. sums: int64 [3, n, n], of the score vectors in LEVELS.
    sizes: int64 [3, n], numbers of cells. images_won: int64 [n], numbers
    of images where the class wins a cell.
    """

    classes: NDArray[np.int64]
    sums: NDArray[np.int64]
    sizes: NDArray[np.int64]
    images_won: NDArray[np.int64]

    @classmethod
    def zeros(cls, classes: Sequence[int] = ()) -> SignatureSums:
        """Of no image; ``classes`` ascend."""
        count = len(classes)
        return cls(
            np.array(classes, np.int64),
            np.zeros((len(Group), count, count), np.int64),
            np.zeros((len(Group), count), np.int64),
            np.zeros(count, np.int64),
        )

    @property
    def counts(self) -> tuple[NDArray[np.int64], ...]:
        """All arrays that are added up."""
        return self.sums, self.sizes, self.images_won

    def extend(self, later: SignatureSums) -> None:
        """Add the sums of other images."""
        if not np.isin(later.classes, self.classes).all():
            wider = SignatureSums.zeros(np.union1d(self.classes, later.classes).tolist())
            wider.extend(self)
            self.classes, self.sums = wider.classes, wider.sums
            self.sizes, self.images_won = wider.sizes, wider.images_won
        places = np.searchsorted(self.classes, later.classes)
        for group in Group:
            self.sums[group][np.ix_(places, places)] += later.sums[group]
        self.sizes[:, places] += later.sizes
        self.images_won[places] += later.images_won


def pooled_scores(maps: Iterable[Tensor], size: tuple[int, int]) -> Tensor:
    """The score maps [H, W] of n classes, averaged over cells: uint8 [n, cells], in LEVELS.

    Rounded half to even. An image of ``size`` with a side below CELL has no cell.
    """
    cells = (size[0] // CELL, size[1] // CELL)
    if 0 in cells:
        return torch.zeros(sum(1 for _ in maps), 0, dtype=torch.uint8)
    rows = [
        F.adaptive_avg_pool2d(scores[None], cells)[0].flatten().clamp(0, 1).mul(LEVELS).round()
        for scores in maps
    ]
    return torch.stack([row.to(torch.uint8) for row in rows])


def sums_of_image(
    levels: Tensor, active: Sequence[int], settings: CalibrationSettings
) -> SignatureSums:
    """The sums of one image.

    levels: uint8 [n, cells] of :func:`pooled_scores`; active: the n classes, ascending indices of
    the vocabulary's. Where no class scores, the first active one wins.
    """
    totals = SignatureSums.zeros(active)
    step = max(1, min(EXACT_CELLS, STRIP_VALUES // max(len(active), 1)))
    for strip in levels.split(step, dim=1) if levels.numel() else ():
        level = strip.float()  # [n, cells]
        scores = level / LEVELS
        won = torch.zeros_like(strip, dtype=torch.bool)  # [n, cells]
        won.scatter_(0, strip.argmax(dim=0, keepdim=True), True)
        competitor = scores.masked_fill(won, 0).amax(dim=0)  # [cells]
        confident = scores > settings.core_high  # [n, cells]
        exclusive = won & confident & (competitor < settings.core_low)  # [n, cells]
        for group, members in zip(Group, (won, exclusive, confident), strict=True):
            totals.sums[group] += (members.float() @ level.T).long().numpy()
            totals.sizes[group] += members.sum(dim=1).numpy()
    totals.images_won[:] = totals.sizes[Group.WON] > 0
    return totals


def signatures_of(
    totals: SignatureSums,
    classes: int,
    settings: CalibrationSettings,
    background: int | None,
    names: tuple[str, ...] | None = None,
    weights: str = "",
) -> Signatures:
    """The signatures of a vocabulary of so many ``classes``, from all images.

    The exclusive signature of a class is the mean of its exclusive group, or of its confident one,
    whichever first has min_pixels; else that of the pixels that it wins. With shrinkage, the mean
    of each group moves towards the next of these, as far as the group is small, and at last towards
    the class's own score alone. background: the index of its class, None for none. names, weights:
    see Signatures.
    """
    sizes = np.zeros((len(Group), classes))
    sizes[:, totals.classes] = totals.sizes
    if settings.shrinkage:
        trust = sizes / (sizes + settings.shrinkage)  # [3, C]
    else:
        trust = (sizes >= settings.min_pixels).astype(np.float64)  # [3, C]
        trust[Group.WON] = 1
    won = _means(totals, Group.WON, classes)
    alone = np.diag(np.diag(won))  # [C, C]
    won = _between(alone, won, trust[Group.WON])
    chosen = won
    for group in (Group.CONFIDENT, Group.EXCLUSIVE):
        chosen = _between(chosen, _means(totals, group, classes), trust[group])
    share = sizes[Group.WON] / max(sizes[Group.WON].sum(), 1.0)  # [C]
    return Signatures(
        winning=won,
        exclusive=chosen,
        log_mass=np.log(np.maximum(share.astype(np.float32), np.float32(MASS_EPS))),
        calibrated=sizes[Group.WON] >= settings.least_cells,
        background_mass=None if background is None else float(share[background]),
        names=names,
        weights=weights,
    )


def _means(totals: SignatureSums, group: Group, classes: int) -> NDArray[np.float32]:
    """The mean score of every class in each class's group, float32 [C, C] in 0..1, exclusive."""
    means = np.full((classes, classes), UNKNOWN_MEAN, np.float32)
    seen = totals.sizes[group] > 0  # [n]
    rows = totals.classes[seen]
    means[rows] = 0
    total = totals.sums[group][seen] / (LEVELS * totals.sizes[group][seen, None])  # [rows, n]
    means[np.ix_(rows, totals.classes)] = total
    return _bounded(means)


def _between(
    few: NDArray[np.float32], many: NDArray[np.float32], weights: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Rows of ``few``, moved towards those of ``many`` by the share ``weights`` [C]."""
    share = weights.astype(np.float32)[:, None]  # [C, 1]
    return _bounded((1 - share) * few + share * many)


def _bounded(means: NDArray[np.float32]) -> NDArray[np.float32]:
    eps = np.float32(SIGNATURE_EPS)
    return np.clip(means, eps, np.float32(1) - eps)
