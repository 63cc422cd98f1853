"""The formulas of exclusive concept decoding (ActiveSAM 2).

A pixel's scores of all active classes are compared with the signature of each class. Two sets of
signatures vote, and where they disagree the class with the highest score wins.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

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
    """Decodes the pixels of one image, whose active classes and presence are known.

    Only n of the active classes have maps. The others score 0 everywhere, so that they win no pixel
    at which a class scores; but they are in the signatures.

    classes: int32 [n], indices of the classes with maps. signatures: [2n, n], winning ones above
    exclusive ones. biases: [2n], what each signature's fit starts from. calibrated: bool [n].
    unscored: int32 [1], the label of a pixel at which no class scores. background: index of the
    background's class, None where the null concept cannot win. null: its fit. null_shift: [n],
    turns a class's fit into what is compared with ``null``.
    """

    def __init__(
        self,
        signatures: DeviceSignatures,
        active: Tensor,
        presence: Tensor,
        rule: ConceptRule,
        with_maps: Tensor | None = None,
    ) -> None:
        """active: int64, ascending indices of the active classes. presence: of those classes.

        with_maps: int64 [n], ascending places in ``active`` of the classes with maps; None for all.
        """
        dtype = presence.dtype
        self.device, self.dtype = presence.device, dtype
        self.variance = rule.sigma**2
        chosen = slice(None) if with_maps is None else with_maps
        winning = signatures.winning[active][:, active].to(dtype)  # [active, active]
        exclusive = signatures.exclusive[active][:, active].to(dtype)  # [active, active]
        calibrated = signatures.calibrated[active]  # [active]
        mass = signatures.log_mass[active].to(dtype).exp()  # [active]
        prior = (presence * mass + PRIOR_EPS).log()  # [active]
        winning_bias = prior - self._half_norm(winning)  # [active]
        exclusive_bias = prior - self._half_norm(exclusive)  # [active]
        self.classes = active[chosen].int()
        self.calibrated = calibrated[chosen]
        self.signatures = torch.cat(
            (winning[chosen][:, chosen], exclusive[chosen][:, chosen])
        )  # [2n, n]
        self.biases = torch.cat((winning_bias[chosen], exclusive_bias[chosen]))  # [2n]
        self.unscored = active[:1].int()
        self.background: int | None = None
        self.null = 0.0
        self.null_shift = torch.zeros_like(self.biases[: len(self.classes)])
        if rule.background is not None and signatures.background_mass is not None:
            self.background = rule.background
            share = max(signatures.background_mass, BACKGROUND_MASS_EPS)
            self.null = torch.tensor(share, dtype=dtype).log().item() + rule.background_offset
            floored = (presence.clamp(min=PRIOR_EPS) * mass).log()  # [active]
            self.null_shift = (floored - prior)[chosen]
            unfit = floored[:1] - self._half_norm(winning)[:1] < self.null  # [1]
            self.unscored = self.unscored.masked_fill(unfit & calibrated[:1], rule.background)

    def _half_norm(self, signatures: Tensor) -> Tensor:
        """Half the squared norm of each row [n, n], in units of the variance: [n]."""
        return signatures.square().sum(dim=1) / (2 * self.variance)

    def labels(self, scores: Tensor) -> Tensor:
        """The class of each pixel, int32 [P] indices, from ``scores`` [n, P]; synchronises.

        Of equal classes the first wins (paper: section on exclusive concept decoding). Where a
        score is NaN, any class.
        """
        best, first = first_highest(scores)  # [P]
        in_range = bool((scores.amin() >= 0) & (best.amax() <= 1))
        clamped = scores if in_range else scores.clamp(0, 1)  # [n, P]
        fits = self._fits(clamped)  # [2, n, P]
        _, votes = first_highest(fits)  # [2, P]
        if not bool(clamped.gather(0, votes.long()).amin() > 0):
            # A class that scores 0 cannot win; leaving it out changes no other pixel.
            _, votes = first_highest(fits.masked_fill(clamped == 0, torch.finfo(fits.dtype).min))
        by_winning, by_exclusive = votes
        place = torch.where(by_winning == by_exclusive, by_winning, first)  # [P]
        known = self.calibrated[first] & self.calibrated[place]  # [P]
        place = torch.where(known, place, first)
        labels = self.classes[place]  # [P]
        if self.background is not None:
            # The null concept scores nothing anywhere: its signature is zero. The pixel's own
            # squared norm stands on both sides of the comparison and is left out.
            unclamped = (fits if in_range else self._fits(scores))[0]  # [n, P]
            fit = unclamped.gather(0, place[None].long())[0] + self.null_shift[place]  # [P]
            labels.masked_fill_((fit < self.null) & known, self.background)
        if in_range:
            labels = torch.where(best == 0, self.unscored, labels)
        return labels

    def _fits(self, scores: Tensor) -> Tensor:
        """How well both signatures of each class fit ``scores`` [n, P]: [2, n, P]."""
        fits = torch.addmm(
            self.biases[:, None], self.signatures, scores, alpha=1 / self.variance
        )  # [2n, P]
        return fits.view(2, len(scores), -1)


def first_highest(values: Tensor) -> tuple[Tensor, Tensor]:
    """The highest of n values [..., n, P] and, of equal ones, the first: both [..., P].

    The index is int32. As max(dim), but several times as fast on a CPU. NaN is the highest, and its
    index is any.
    """
    count = values.shape[-2]
    # The first of the highest has most places behind it.
    behind = torch.arange(count, 0, -1, dtype=values.dtype, device=values.device)  # [n]
    highest = values.amax(dim=-2, keepdim=True)  # [..., 1, P]
    # Comparing to a bool is several times as slow on a CPU.
    reached = torch.eq(values, highest, out=torch.empty_like(values))  # [..., n, P]
    left = reached.mul_(behind[:, None]).amax(dim=-2)  # [..., P]; 0 for NaN
    return highest.squeeze(-2), (count - left.int()).clamp_(max=count - 1)
