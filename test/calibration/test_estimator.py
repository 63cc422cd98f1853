"""The estimator of signatures equals the authors' code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from activesam_ros.calibration.estimator import (
    CalibrationSettings,
    Group,
    SignatureSums,
    pooled_scores,
    signatures_of,
    sums_of_image,
)

CLASSES = 9
IMAGES = 5


@pytest.fixture
def golden(golden_v2_dir: Path) -> dict[str, Any]:
    with np.load(golden_v2_dir / "estimator_function.npz") as arrays:
        return dict(arrays)


def image_sums(golden: dict[str, Any], image: int, settings: CalibrationSettings) -> SignatureSums:
    maps = torch.from_numpy(golden[f"map{image}"])  # [C, H, W]
    active = golden[f"active{image}"].tolist()
    scores = pooled_scores((maps[index] for index in active), (maps.shape[1], maps.shape[2]))
    return sums_of_image(scores, active, CLASSES, settings)


def test_the_authors_signatures(golden: dict[str, Any]) -> None:
    settings = CalibrationSettings(
        float(golden["core_high"]), float(golden["core_low"]), int(golden["min_pixels"])
    )
    totals = SignatureSums.zeros(CLASSES)
    for image in range(IMAGES):
        totals += image_sums(golden, image, settings)
    for group, name in (
        (Group.WON, "argmax"),
        (Group.EXCLUSIVE, "exclusive"),
        (Group.CONFIDENT, "confident"),
    ):
        assert (totals.sizes[group] == golden[f"sizes_{name}"]).all()
        # An average that lies between two levels may be rounded to either.
        assert np.abs(totals.sums[group] - golden[f"sums_{name}"]).max() <= 0.05
    signatures = signatures_of(totals, settings, int(golden["background_label"]))
    assert np.abs(signatures.winning - golden["R_a"]).max() <= 3e-3
    assert np.abs(signatures.exclusive - golden["R_e"]).max() <= 3e-3
    assert np.abs(signatures.log_mass - golden["log_mass"]).max() <= 1e-6
    assert (signatures.calibrated == ~golden["uncalibrated"]).all()
    assert signatures.background_mass == float(golden["m_bg"])
    assert signatures_of(totals, settings, None).background_mass is None


def test_an_image_smaller_than_a_cell_adds_nothing() -> None:
    scores = pooled_scores([torch.ones(3, 40), torch.ones(3, 40)], (3, 40))
    totals = sums_of_image(scores, [0, 2], 3, CalibrationSettings())
    assert not totals.sizes.any()
    assert not totals.sums.any()
    signatures = signatures_of(totals, CalibrationSettings(), 0)
    assert (signatures.winning == 0.5).all()
    assert not signatures.calibrated.any()
