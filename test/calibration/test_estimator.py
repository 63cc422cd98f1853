"""The estimator of signatures equals the authors' code."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from activesam_ros.calibration.estimator import (
    LEVELS,
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
    return sums_of_image(scores, active, settings)


def test_the_authors_signatures(golden: dict[str, Any]) -> None:
    settings = CalibrationSettings(
        float(golden["core_high"]), float(golden["core_low"]), int(golden["min_pixels"])
    )
    totals = SignatureSums.zeros()
    for image in range(IMAGES):
        totals.extend(image_sums(golden, image, settings))
    seen = totals.classes
    for group, name in (
        (Group.WON, "argmax"),
        (Group.EXCLUSIVE, "exclusive"),
        (Group.CONFIDENT, "confident"),
    ):
        assert golden[f"sizes_{name}"].sum() == totals.sizes[group].sum()
        assert (totals.sizes[group] == golden[f"sizes_{name}"][seen]).all()
        expected = golden[f"sums_{name}"][np.ix_(seen, seen)]
        # An average that lies between two levels may be rounded to either.
        assert np.abs(totals.sums[group] / LEVELS - expected).max() <= 0.05
    signatures = signatures_of(totals, CLASSES, settings, int(golden["background_label"]))
    assert np.abs(signatures.winning - golden["R_a"]).max() <= 3e-3
    assert np.abs(signatures.exclusive - golden["R_e"]).max() <= 3e-3
    assert np.abs(signatures.log_mass - golden["log_mass"]).max() <= 1e-6
    assert (signatures.calibrated == ~golden["uncalibrated"]).all()
    assert signatures.background_mass == float(golden["m_bg"])
    assert signatures_of(totals, CLASSES, settings, None).background_mass is None


def test_an_image_smaller_than_a_cell_adds_nothing() -> None:
    scores = pooled_scores([torch.ones(3, 40), torch.ones(3, 40)], (3, 40))
    totals = sums_of_image(scores, [0, 2], CalibrationSettings())
    assert not totals.sizes.any()
    assert not totals.sums.any()
    signatures = signatures_of(totals, 3, CalibrationSettings(), 0)
    assert (signatures.winning == 0.5).all()
    assert not signatures.calibrated.any()


@given(images=st.lists(st.sets(st.integers(0, 6), min_size=1), max_size=5), seed=st.integers(0, 99))
def test_images_add_up_in_any_order_and_any_parts(images: list[set[int]], seed: int) -> None:
    numbers = np.random.default_rng(seed)
    parts = []
    for active in images:
        maps = torch.from_numpy(numbers.random((len(active), 12, 20), np.float32))
        levels = pooled_scores(iter(maps), (12, 20))
        parts.append(sums_of_image(levels, sorted(active), CalibrationSettings()))
    whole, first, last = (SignatureSums.zeros() for _ in range(3))
    for part in parts:
        whole.extend(part)
    middle = int(numbers.integers(len(parts) + 1))
    for place in numbers.permutation(len(parts)):
        (first if place < middle else last).extend(parts[place])
    last.extend(first)
    for name in ("classes", "sums", "sizes", "images_won"):
        assert (getattr(last, name) == getattr(whole, name)).all()
    assert whole.classes.tolist() == sorted(set().union(*images))


def test_sums_are_exact_over_more_cells_than_a_float_counts() -> None:
    """Three maps of 4 million cells: a float32 sum of levels would lose the last digits."""
    numbers = torch.Generator().manual_seed(3)
    levels = torch.randint(0, 256, (3, 4_000_001), dtype=torch.uint8, generator=numbers)
    found = sums_of_image(levels, [1, 5, 8], CalibrationSettings())
    won = levels.argmax(dim=0)
    for row in range(3):
        expected = levels[:, won == row].sum(dim=1, dtype=torch.int64)
        assert found.sums[Group.WON, row].tolist() == expected.tolist()
        assert found.sizes[Group.WON, row] == (won == row).sum()


def test_an_image_costs_what_its_classes_cost_whatever_the_vocabulary() -> None:
    """Of 8,192 classes three are active: 3 x 8192 x 8192 sums would take 1.6 GB."""
    levels = torch.full((3, 64), 200, dtype=torch.uint8)
    tracemalloc.start()
    totals = SignatureSums.zeros()
    totals.extend(sums_of_image(levels, [7, 4000, 8191], CalibrationSettings()))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert totals.sums.shape == (3, 3, 3)
    assert peak_bytes < 1 << 20


def test_shrinkage_moves_signatures_of_few_cells_towards_the_own_score() -> None:
    sums = SignatureSums.zeros([0, 1])
    sums.sizes[Group.WON] = [9000, 100]
    sums.sums[Group.WON] = np.array([[0.8, 0.4], [0.6, 0.5]]) * LEVELS * [[9000], [100]]
    sums.sizes[Group.EXCLUSIVE] = [3000, 0]
    sums.sums[Group.EXCLUSIVE, 0] = np.array([1.0, 0.2]) * LEVELS * 3000
    found = signatures_of(sums, 3, CalibrationSettings(shrinkage=1000), None)
    # 9000 of 9000 + 1000, and 100 of 100 + 1000; no class scores alone where it was not seen.
    assert found.winning[0] == pytest.approx([0.8, 0.36, 0], abs=1e-5)
    assert found.winning[1] == pytest.approx([0.6 / 11, 0.5, 0], abs=1e-5)
    # 3000 of 3000 + 1000 towards the mean of the exclusive cells.
    assert found.exclusive[0] == pytest.approx([0.95, 0.24, 0], abs=1e-5)
    assert found.exclusive[1] == pytest.approx(found.winning[1])
    assert found.calibrated.tolist() == [True, True, False]
    plain = signatures_of(sums, 3, CalibrationSettings(), None)
    assert plain.winning[1] == pytest.approx([0.6, 0.5, 0], abs=1e-5)
    assert plain.exclusive[0] == pytest.approx([1, 0.2, 0], abs=1e-5)
    assert plain.calibrated.tolist() == [True, False, False]
