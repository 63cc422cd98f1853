"""Exclusive concept decoding: which class each pixel gets, given signatures (ActiveSAM 2).

A pixel's scores of all active classes are compared with the signature of each class. Two sets of
signatures vote, and where they disagree the class with the highest score wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from activesam_ros.segmentation.fuse import STRIP_VALUES, Evidence, strip_of, whole_axes
from activesam_ros.segmentation.signatures import Signatures

PRIOR_EPS = 1e-3
BACKGROUND_MASS_EPS = 1e-6


@dataclass(frozen=True)
class ConceptRule:
    """The settings of exclusive concept decoding.

    sigma: how far scores spread around a signature. background_offset: what favours background.
    background: index of the background's class, None for none.
    """

    sigma: float
    background_offset: float
    background: int | None


@dataclass(frozen=True, eq=False)
class DeviceSignatures:
    """Signatures of C classes as tensors on a device; see Signatures."""

    winning: Tensor
    exclusive: Tensor
    log_mass: Tensor
    calibrated: Tensor
    background_mass: float | None

    @classmethod
    def of(cls, signatures: Signatures, device: torch.device) -> DeviceSignatures:
        """Copies on ``device``, in float32."""
        return cls(
            torch.from_numpy(signatures.winning).to(device),  # [C, C]
            torch.from_numpy(signatures.exclusive).to(device),  # [C, C]
            torch.from_numpy(signatures.log_mass).to(device),  # [C]
            torch.from_numpy(signatures.calibrated).to(device),  # [C]
            signatures.background_mass,
        )


class ConceptDecoder:
    """Decodes the pixels of one image, whose n active classes and presence are known."""

    def __init__(
        self, signatures: DeviceSignatures, active: Tensor, presence: Tensor, rule: ConceptRule
    ) -> None:
        """active: int64 [n], ascending indices of classes. presence: [n], of those classes."""
        dtype = presence.dtype
        self.device, self.dtype = presence.device, dtype
        self._active = active
        self._variance = rule.sigma**2
        self._winning = signatures.winning[active][:, active].to(dtype)  # [n, n]
        self._exclusive = signatures.exclusive[active][:, active].to(dtype)  # [n, n]
        self._calibrated = signatures.calibrated[active]  # [n]
        mass = signatures.log_mass[active].to(dtype).exp()  # [n]
        prior = (presence * mass + PRIOR_EPS).log()  # [n]
        self._winning_bias = prior - self._half_norm(self._winning)  # [n]
        self._exclusive_bias = prior - self._half_norm(self._exclusive)  # [n]
        self._background = rule.background
        if rule.background is not None and signatures.background_mass is not None:
            share = max(signatures.background_mass, BACKGROUND_MASS_EPS)
            self._null = torch.tensor(share, dtype=dtype).log().item() + rule.background_offset
            floored = (presence.clamp(min=PRIOR_EPS) * mass).log()  # [n]
            self._label_bias = floored - self._half_norm(self._winning)  # [n]
        else:
            self._background = None

    def _half_norm(self, signatures: Tensor) -> Tensor:
        """Half the squared norm of each row [n, n], in units of the variance: [n]."""
        return signatures.square().sum(dim=1) / (2 * self._variance)

    def labels(self, scores: Tensor) -> Tensor:
        """The class of each pixel, int64 [P] indices, from ``scores`` [n, P].

        Of equal classes the first wins (paper: section on exclusive concept decoding).
        """
        best = scores.argmax(dim=0)  # [P]
        clamped = scores.clamp(0, 1)  # [n, P]
        silent = clamped == 0  # [n, P]
        by_winning = self._decode(self._winning, self._winning_bias, clamped, silent)
        by_exclusive = self._decode(self._exclusive, self._exclusive_bias, clamped, silent)
        place = torch.where(by_winning == by_exclusive, by_winning, best)  # [P]
        known = self._calibrated[best] & self._calibrated[place]  # [P]
        place = torch.where(known, place, best)
        labels = self._active[place]  # [P]
        if self._background is None:
            return labels
        # The null concept scores nothing anywhere: its signature is zero. The pixel's own squared
        # norm stands on both sides of the comparison and is left out.
        fit = (self._winning @ scores / self._variance + self._label_bias[:, None]).gather(
            0, place[None]
        )[0]  # [P]
        return labels.masked_fill((fit < self._null) & known, self._background)

    def _decode(self, signatures: Tensor, bias: Tensor, scores: Tensor, silent: Tensor) -> Tensor:
        """The class whose signature is nearest, int64 [P] of 0..n - 1."""
        fit = (signatures @ scores).div_(self._variance).add_(bias[:, None])  # [n, P]
        return fit.masked_fill_(silent, torch.finfo(fit.dtype).min).argmax(dim=0)


def decode_concepts(
    decoder: ConceptDecoder,
    evidence: Sequence[tuple[int, Evidence]],
    size: tuple[int, int],
    classes: Sequence[int],
    scores: NDArray[np.float16] | None,
) -> tuple[Tensor, Tensor]:
    """The class of each pixel, int64 [H, W], and the best score of any class, [H, W].

    evidence: of the decoded queries, each with the place of its class in ``classes``, the n active
    classes. scores: zeros [classes, H, W] that receive every class's score map, None if not wanted.
    Works in strips of rows, so that memory does not grow with classes x pixels.
    """
    height, width = size
    device = decoder.device
    labels = torch.empty(size, dtype=torch.int64, device=device)
    best = torch.empty(size, dtype=decoder.dtype, device=device)
    step = max(1, STRIP_VALUES // (len(classes) * width))
    found = [(place, one) for place, one in evidence if len(one.maps)]
    axes = whole_axes(found[0][1].maps, size) if found else None
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        # [n, strip, W]
        strip = best.new_zeros(len(classes), rows.stop - rows.start, width)
        for place, one in found:
            assert axes is not None
            torch.maximum(strip[place], strip_of(one, axes, rows), out=strip[place])
        labels[rows] = decoder.labels(strip.flatten(1)).view(-1, width)
        best[rows] = strip.amax(dim=0)
        if scores is not None:
            scores[np.asarray(classes), rows] = strip.half().cpu().numpy()
    return labels, best
